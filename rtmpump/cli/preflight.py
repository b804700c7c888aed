"""What `run` would stumble over on this machine, besides the configuration: spool and port.

A spool or a port that the running daemon of this configuration holds is no mistake.
"""

from __future__ import annotations

import json
import os
import socket
import struct
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Final, NamedTuple

from rtmpump.cli.common import Loaded
from rtmpump.cli.status import ask
from rtmpump.cli.unit import UnitRun
from rtmpump.config import Http
from rtmpump.daemon.control_socket import CONFIG, addressed, socket_path
from rtmpump.errors import PortRefused, RtmpumpError, ServiceUnreachable, SpoolError, SpoolLocked
from rtmpump.http.server import Port
from rtmpump.spool.preflight import require_access, require_usable

_SECONDS: Final = 5.0
_ONE_EACH: Final = "one spool serves one rtmpump: stop the other or set spool.path"
# pid, user and group (unix(7), SO_PEERCRED).
_UCRED: Final = struct.Struct("3i")


class Finding(NamedTuple):
    """One thing that `run` needs: what it is, and the error that `run` would end with, if any."""

    said: str
    error: RtmpumpError | None = None


def look(loaded: Loaded) -> Iterator[Finding]:
    """Look at the spool and at the port of the pump; nothing is made or changed."""
    if not loaded.has_pump:
        return
    unit = loaded.unit
    path = Path(unit.folder if unit else "", loaded.config.spool.path)
    holder = _holder(path)
    daemon = holder.pid if holder and holder.runs_with(loaded.file) else None
    if holder is not None and daemon is None:
        yield Finding("", SpoolLocked(str(path), holder.in_words(), _ONE_EACH))
    else:
        yield _spool(unit, path, daemon)
    if (address := loaded.config.http.address) is not None:
        yield _port(unit, loaded.config.http, address, daemon)


class _Holder(NamedTuple):
    """Who listens at the control socket: what it said of itself, None for no answer in time."""

    pid: int
    said: Mapping[str, object] | None

    def runs_with(self, file: Path | None) -> bool:
        """Return whether its configuration is this file; None is that of the environment alone."""
        if self.said is None:
            return False
        return self.said.get("file", "") == (os.path.realpath(file) if file else None)

    def in_words(self) -> str:
        """Say which other rtmpump it is."""
        if self.said is None:
            return f"process {self.pid} holds it and does not say with which configuration"
        name = self.said.get("file") or "no configuration file"
        return f"another rtmpump holds it (pid {self.pid}, with {name})"


def _spool(unit: UnitRun | None, path: Path, daemon: int | None) -> Finding:
    if daemon is not None:
        return Finding(f"spool {path}: in use by the running rtmpump (pid {daemon})")
    try:
        if unit is None:
            require_usable(path)
        elif not unit.makes(path):
            if not unit.may_write(path):
                raise SpoolError(str(path), *_not_writable(unit, path))
            with unit.as_user():
                require_access(path)
            require_usable(path)
        elif path.parent.is_dir():
            # systemd gives the folder to the service's user at the start.
            require_usable(path)
    except SpoolError as error:
        return Finding("", error)
    except PermissionError:
        return Finding(f"spool {path}: only root can look at it")
    return Finding(f"spool {path}: can be used")


def _not_writable(unit: UnitRun, path: Path) -> tuple[str, str]:
    if setting := unit.places.hides(str(path)):
        return f"{setting} hides it from the unit", "set spool.path to another"
    problem = f"the unit may write to {', '.join(unit.places.writable)} only"
    return problem, "add ReadWritePaths= to it or set spool.path"


def _port(
    unit: UnitRun | None, http: Http, address: tuple[str, int], daemon: int | None
) -> Finding:
    try:
        # This loads what turns a host into an address, which the unit's user need not be able to.
        "host".encode("idna")
        with unit.as_user(to_listen=True) if unit else nullcontext():
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


def _holder(path: Path) -> _Holder | None:
    """Ask the daemon whose control socket is beside this spool; return None if there is none."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asker:
        asker.settimeout(_SECONDS)
        try:
            with addressed(socket_path(path)) as address:
                asker.connect(address)
            credentials = asker.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
        except OSError:
            return None
        pid: int = _UCRED.unpack(credentials)[0]
        return _Holder(pid, _said(asker))


def _said(asker: socket.socket) -> Mapping[str, object] | None:
    try:
        asker.sendall(f"{CONFIG}\n".encode())
        with asker.makefile("rb") as lines:
            said = json.loads(next(lines, b"null"))
    except (OSError, ValueError):
        return None
    return said if isinstance(said, dict) else None
