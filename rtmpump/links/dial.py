"""Connects a TCP socket to a name that may have many addresses, within one deadline.

Laws:

- The deadline is for all of it, the name included, however many addresses are silent. An address
  that does not answer soon is not waited for alone: the next one is tried beside it (RFC 8305), and
  the first that answers wins.
- While it waits it calls `tick`, several times a second, on the thread that dials. What `tick`
  raises ends the attempt.
- A socket that is not returned is closed.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import threading
import time
from collections.abc import Callable
from typing import Any, Final, NamedTuple, TypeAlias

# The "Connection Attempt Delay" of RFC 8305.
_NEXT_AFTER: Final = 0.25

_Address: TypeAlias = tuple[int, int, int, str, Any]


class Deadline(NamedTuple):
    """A moment (seconds, monotonic) by which something must have happened."""

    at: float

    @classmethod
    def after(cls, seconds: float) -> Deadline:
        """Return the deadline that is so many seconds from now."""
        return cls(time.monotonic() + seconds)

    @property
    def left(self) -> float:
        """The seconds that are left.

        Raises:
            TimeoutError: it has passed.
        """
        left = self.at - time.monotonic()
        if left <= 0:
            raise TimeoutError("no answer in time")
        return left


def dial(
    host: str, port: int, deadline: Deadline, tick: Callable[[], None] = lambda: None
) -> socket.socket:
    """Return a connected socket; its timeout is what is left until the deadline.

    Raises:
        TimeoutError: nothing answered in time.
        OSError: the name can't be resolved, every address refused, or there is no free socket.
        RuntimeError: no thread can be started.
    """
    taken = _race(_resolve(host, port, deadline, tick), deadline, tick)
    try:
        taken.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        taken.settimeout(deadline.left)
    except OSError:
        taken.close()
        raise
    return taken


def _race(addresses: list[_Address], deadline: Deadline, tick: Callable[[], None]) -> socket.socket:
    """Return the first socket that connects."""
    coming = list(reversed(addresses))
    under_way: dict[int, socket.socket] = {}
    refused, next_at = OSError(errno.EADDRNOTAVAIL, "the name has no address"), 0.0
    try:
        while coming or under_way:
            if coming and (not under_way or time.monotonic() >= next_at):
                next_at = time.monotonic() + _NEXT_AFTER
                try:
                    begun = _begin(coming.pop())
                except OSError as error:
                    refused = error
                    continue
                under_way[begun.fileno()] = begun
            for number in _writable(under_way, min(_NEXT_AFTER, deadline.left)):
                one = under_way.pop(number)
                code = one.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                if not code:
                    return one
                one.close()
                refused = OSError(code, os.strerror(code))
            tick()
        raise refused
    finally:
        for loser in under_way.values():
            loser.close()


def _writable(sockets: dict[int, socket.socket], seconds: float) -> list[int]:
    poll = select.poll()
    for number in sockets:
        poll.register(number, select.POLLOUT)
    return [number for number, _ in poll.poll(1000 * seconds)]


def _begin(address: _Address) -> socket.socket:
    """Begin to connect to one address."""
    family, kind, protocol, _, where = address
    begun = socket.socket(family, kind, protocol)
    begun.setblocking(False)
    try:
        begun.connect(where)
    except BlockingIOError:
        return begun
    except OSError:
        begun.close()
        raise
    return begun


def _resolve(host: str, port: int, deadline: Deadline, tick: Callable[[], None]) -> list[_Address]:
    """Ask for the addresses of a name on a thread of its own: nothing else can end that wait."""
    answer: list[list[_Address] | OSError] = []
    thread = threading.Thread(target=_ask, args=(host, port, answer), daemon=True)
    thread.start()
    while not answer:
        thread.join(min(_NEXT_AFTER, deadline.left))
        tick()
    (addresses,) = answer
    if isinstance(addresses, OSError):
        raise addresses
    return addresses


def _ask(host: str, port: int, answer: list[list[_Address] | OSError]) -> None:
    try:
        found: Any = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        answer.append(found)
    except OSError as error:
        answer.append(error)
    except UnicodeError:
        answer.append(socket.gaierror(socket.EAI_NONAME, "Name or service not known"))
