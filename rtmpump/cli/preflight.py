"""What `run` would stumble over on this machine, besides the configuration: spool and port.

A spool or a port that the running daemon of this configuration holds is no mistake.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from rtmpump.cli.common import Loaded
from rtmpump.cli.status import ask
from rtmpump.cli.unit import UnitRun
from rtmpump.config import Http
from rtmpump.daemon.control_socket import addressed, socket_path
from rtmpump.errors import PortRefused, RtmpumpError, ServiceUnreachable, SpoolError
from rtmpump.http.server import Port
from rtmpump.spool.preflight import require_access, require_usable

_SECONDS: Final = 5.0
# pid, user and group (unix(7), SO_PEERCRED).
_UCRED: Final = struct.Struct("3i")


class Finding(NamedTuple):
    """One thing that `run` needs: what it is, and the error that `run` would end with, if any."""

    said: str
    error: RtmpumpError | None = None


def look(loaded: Loaded) -> Iterator[Finding]:
    """Look at the spool and at the port; nothing is made or changed."""
    unit = loaded.unit
    path = Path(unit.folder if unit else "", loaded.config.spool.path)
    daemon = _holder(path)
    yield _spool(unit, path, daemon)
    if (address := loaded.config.http.address) is not None:
        yield _port(loaded.config.http, address, daemon)


def _spool(unit: UnitRun | None, path: Path, daemon: int | None) -> Finding:
    if daemon is not None:
        return Finding(f"spool {path}: in use by the running rtmpump (pid {daemon})")
    try:
        if unit is None:
            require_usable(path)
        elif not unit.makes(path):
            if not unit.may_write(path):
                problem = f"the unit may write to {', '.join(unit.writable)} only"
                raise SpoolError(str(path), problem, "add ReadWritePaths= to it or set spool.path")
            with unit.as_user():
                require_access(path)
            require_usable(path)
        elif path.parent.is_dir():
            # systemd gives the folder to the service's user at the start.
            require_usable(path)
    except SpoolError as error:
        return Finding("", error)
    return Finding(f"spool {path}: can be used")


def _port(http: Http, address: tuple[str, int], daemon: int | None) -> Finding:
    try:
        Port(address).stop()
    except PortRefused as error:
        if daemon is not None and _pid_at(http) == daemon:
            return Finding(f"port {http.listen}: in use by the running rtmpump (pid {daemon})")
        return Finding("", error)
    return Finding(f"port {http.listen}: free")


def _pid_at(http: Http) -> int | None:
    try:
        return ask(http)[1].pid
    except ServiceUnreachable:
        return None


def _holder(path: Path) -> int | None:
    """Return the pid of the daemon whose control socket is beside this spool."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asker:
        asker.settimeout(_SECONDS)
        try:
            with addressed(socket_path(path)) as address:
                asker.connect(address)
            credentials = asker.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
        except OSError:
            return None
    pid: int = _UCRED.unpack(credentials)[0]
    return pid
