"""Ports of 127.0.0.1 that no other program takes while a sandbox service is down.

A port of the kernel's ephemeral range is a trap: while its server restarts, the kernel can give it
to an outgoing connection, and a client that tries again and again can even connect to itself. So
ports are chosen outside that range.
"""

from __future__ import annotations

import secrets
import socket
from pathlib import Path

_EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")
_LOWEST = 10_000
_USUAL_EPHEMERAL_START = 32_768
_ROOM_NEEDED = 1_000
_TRIES = 200


def free_port(host: str = "127.0.0.1") -> int:
    """Return a TCP port of `host` that is free now and is never given to outgoing connections.

    Raises:
        OSError: no free port was found, or `host` is not an address of this machine.
    """
    top = _ephemeral_start()
    for _ in range(_TRIES):
        port = _LOWEST + secrets.randbelow(top - _LOWEST)
        if _is_free(host, port):
            return port
    return _any_port(host)


def _ephemeral_start() -> int:
    try:
        start = int(_EPHEMERAL.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        start = _USUAL_EPHEMERAL_START
    return start if start > _LOWEST + _ROOM_NEEDED else _USUAL_EPHEMERAL_START


def _is_free(host: str, port: int) -> bool:
    with _socket_for(host) as probe:
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def _any_port(host: str) -> int:
    with _socket_for(host) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def _socket_for(host: str) -> socket.socket:
    return socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
