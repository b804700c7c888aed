"""A TCP line between two real peers on which all can vanish, with no end of the connection."""

from __future__ import annotations

import contextlib
import socket
import threading
import time


class Line:
    """Carries connections to a port of this machine until `freeze`; `port` is our end.

    At a given `port` it is also a peer that was away and comes.
    """

    def __init__(self, to: int, port: int = 0, *, is_narrow: bool = False) -> None:
        """Begin at full speed; a narrow one takes little in advance."""
        self._to = to
        self.pause = 0.0
        """How long it rests after each 4 KiB that go up (seconds)."""
        self._flows = threading.Event()
        self._flows.set()
        self._over = False
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._server = socket.socket()
        self._server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if is_narrow:
            self._server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32_768)
        self._server.bind(("127.0.0.1", port))
        self._server.listen()
        self._server.settimeout(0.05)
        self.port = int(self._server.getsockname()[1])
        self._begin(self._accept)

    def freeze(self) -> None:
        """From now on nothing comes through, and connections are taken and go nowhere."""
        self._flows.clear()

    def thaw(self) -> None:
        """What was held back comes through, and all that follows."""
        self._flows.set()

    def __enter__(self) -> Line:
        return self

    def __exit__(self, *_: object) -> None:
        self._over = True
        self._flows.set()
        with self._lock:
            sockets = [*self._sockets, self._server]
        for one in sockets:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(100)
        for one in sockets:
            one.close()

    def _begin(self, body: object, *args: object) -> None:
        thread = threading.Thread(target=body, args=args, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._over:
            try:
                ours, _ = self._server.accept()
            except TimeoutError:
                continue
            except OSError:
                return
            with self._lock:
                self._sockets.append(ours)
            self._begin(self._carry_both, ours)

    def _carry_both(self, ours: socket.socket) -> None:
        self._flows.wait()
        if self._over:
            return
        try:
            theirs = socket.create_connection(("127.0.0.1", self._to))
        except OSError:
            ours.close()
            return
        with self._lock:
            self._sockets.append(theirs)
        if self._over:  # since we looked: nobody else ends this one
            theirs.close()
            return
        self._begin(self._carry, theirs, ours)
        self._carry(ours, theirs, up=True)

    def _carry(self, source: socket.socket, target: socket.socket, up: bool = False) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(4096):
                self._flows.wait()
                time.sleep(self.pause if up else 0)
                target.sendall(data)
        self._flows.wait()
        for one in (source, target):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
