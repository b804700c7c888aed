"""Facts about the ports of sandbox services."""

from __future__ import annotations

import socket
from pathlib import Path

from rtmpump.sandbox.ports import free_port


def test_a_port_is_free_and_no_outgoing_connection_gets_it() -> None:
    """It lies below the ephemeral range, so a client that retries can't connect to itself."""
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    for _ in range(20):
        port = free_port()
        assert port < max(lowest, 11_001)
        socket.create_server(("127.0.0.1", port)).close()


def test_a_port_that_is_taken_is_not_given() -> None:
    """Two services that hold theirs never get the same one."""
    held = [socket.create_server(("127.0.0.1", free_port())) for _ in range(20)]
    assert len({listener.getsockname()[1] for listener in held}) == 20
    for listener in held:
        listener.close()
