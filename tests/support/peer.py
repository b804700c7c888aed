"""A peer that is no server of anything: it says what the test gives it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress


@contextmanager
def peer(*answers: bytes, every: float = 0.0) -> Iterator[int]:
    """A port that answers each connection with these bytes and ends it; without any it is mute.

    With `every` it answers for ever, a piece in each so many seconds.
    """
    over = threading.Event()
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with suppress(OSError):
            while True:
                one, _ = server.accept()
                with one:
                    one.recv(4096)
                    _answer(one, answers, every, over)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield int(server.getsockname()[1])
    over.set()
    server.shutdown(socket.SHUT_RDWR)
    server.close()
    thread.join(100)


def _answer(
    one: socket.socket, answers: tuple[bytes, ...], every: float, over: threading.Event
) -> None:
    with suppress(OSError):
        for answer in answers:
            one.sendall(answer)
            while every and not over.wait(every):
                one.sendall(answer)
        if not answers:
            over.wait(100)
