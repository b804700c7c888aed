"""A Unix socket beside the spool, through which a running daemon answers questions about it.

Only the process that holds the spool may open it, so a command that wants to look asks that
process. It sends a word of `daemon.spool_report.ANSWERS` and a line feed, or `config` for which
configuration the daemon runs with. The answer is the lines of that report, then `{"end": ""}`, with
the problem in place of "" if there was one.

Laws:

- Mode 0600 from the first moment on: for the daemon's own user and root, like the spool itself.
- Only the process that holds the spool's lock makes the socket, replaces one that a dead daemon
  left, and removes it.
- No client delays the daemon: each is served by a thread of its own, a few at once, and a client
  that does not read in time is dropped. If the socket can't be made, that is logged and the daemon
  goes on.
"""

from __future__ import annotations

import json
import os
import socket
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from rtmpump import log
from rtmpump.daemon.spool_report import ANSWERS
from rtmpump.errors import RtmpumpError
from rtmpump.spool import Spool

_ASK_SECONDS: Final = 5.0
_READ_SECONDS: Final = 60.0
_ASK_BYTES: Final = 64
_AT_ONCE: Final = 4
_REST: Final = 1.0
CONFIG: Final = "config"
"""The word that asks for `file` (null: none, the environment alone) and `unit` (of systemd)."""
# What fits into sockaddr_un.sun_path with its last NUL (unix(7)).
_ADDRESS_BYTES: Final = 107

_log = log.get("spool")


def socket_path(spool: Path) -> Path:
    """Return where the socket of the daemon that holds this spool is."""
    real = Path(os.path.realpath(spool))
    return real.with_name(f"{real.name}.sock")


@contextmanager
def addressed(path: Path) -> Iterator[str]:
    """Give an address for a socket at `path`, however long that is.

    Raises:
        OSError: the folder can't be opened.
    """
    if len(os.fsencode(path)) <= _ADDRESS_BYTES:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


class ControlSocket:
    """Listens from when it is made, answers from `start` until `stop`."""

    def __init__(self, spool: Spool, config_file: Path | None = None) -> None:
        """Make the socket of a spool that this process holds; `config_file` is what it runs with.

        Raises:
            OSError: it can't be made.
        """
        self._spool = spool
        self._identity = _identity(config_file)
        self._path = socket_path(spool.path)
        self._places = threading.BoundedSemaphore(_AT_ONCE)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="spool-port", daemon=True)
        self._listener = _listener(self._path)

    @classmethod
    def beside(cls, spool: Spool, config_file: Path | None = None) -> ControlSocket | None:
        """Make the socket; if that fails, log it and return None."""
        try:
            return cls(spool, config_file)
        except OSError as error:
            path, problem = str(socket_path(spool.path)), error.strerror or str(error)
            _log.warning("spool.no_socket", path=path, problem=problem)
            return None

    def start(self) -> None:
        """Answer from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Remove the socket and answer no more; do not wait for answers under way."""
        self._stopped.set()
        with suppress(OSError):
            self._path.unlink()
        with suppress(OSError):
            # This wakes the thread; a close alone would not.
            self._listener.shutdown(socket.SHUT_RDWR)
        if self._thread.is_alive():
            self._thread.join()
        self._listener.close()

    def _serve(self) -> None:
        while not self._stopped.is_set():
            try:
                asker, _ = self._listener.accept()
            except OSError:
                # Too many open files, or the end.
                self._stopped.wait(_REST)
                continue
            self._begin(asker)

    def _begin(self, asker: socket.socket) -> None:
        if not self._places.acquire(blocking=False):
            asker.settimeout(0)
            with suppress(OSError), asker:
                asker.sendall(_end("too many ask at once; try again soon"))
            return
        thread = threading.Thread(
            target=self._answer, args=(asker,), name="spool-answer", daemon=True
        )
        try:
            thread.start()
        except RuntimeError:
            # No thread is to be had.
            self._places.release()
            asker.close()

    def _answer(self, asker: socket.socket) -> None:
        try:
            with suppress(OSError), asker:
                self._answer_in_time(asker)
        finally:
            self._places.release()

    def _answer_in_time(self, asker: socket.socket) -> None:
        asker.settimeout(_ASK_SECONDS)
        word = _word(asker)
        make = ANSWERS.get(word)
        asker.settimeout(_READ_SECONDS)
        if word == CONFIG:
            asker.sendall(self._identity + _end(""))
            return
        if make is None:
            asker.sendall(_end("this version of the daemon does not know that question"))
            return
        try:
            for lines in make(self._spool):
                asker.sendall(lines)
                if self._stopped.is_set():
                    raise RtmpumpError("the daemon is stopping")
            problem = ""
        except RtmpumpError as error:
            problem = "the daemon is stopping" if self._stopped.is_set() else str(error)
        asker.sendall(_end(problem))


def _identity(config_file: Path | None) -> bytes:
    file = None if config_file is None else os.path.realpath(config_file)
    # systemd gives its services this variable (systemd.exec(5)), and a socket or none to notify.
    facts = {"file": file, "unit": "INVOCATION_ID" in os.environ}
    return json.dumps(facts).encode() + b"\n"


def _listener(path: Path) -> socket.socket:
    with suppress(FileNotFoundError):
        if stat.S_ISSOCK(path.lstat().st_mode):
            path.unlink()
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        # The file that bind makes gets the mode of the socket (less the umask): it is never wider.
        os.fchmod(listener.fileno(), 0o600)
        with addressed(path) as address:
            listener.bind(address)
        listener.listen(_AT_ONCE)
    except BaseException:
        listener.close()
        raise
    return listener


def _word(asker: socket.socket) -> str:
    said = b""
    while not said.endswith(b"\n") and len(said) < _ASK_BYTES:
        some = asker.recv(_ASK_BYTES)
        if not some:
            break
        said += some
    return said.decode("ascii", "replace").strip()


def _end(problem: str) -> bytes:
    return json.dumps({"end": problem}).encode() + b"\n"
