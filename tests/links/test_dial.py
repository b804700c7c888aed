"""links.dial: one deadline for a name, however many of its addresses are silent."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from rtmpump.links.dial import Deadline, dial
from rtmpump.sandbox.ports import free_port
from tests.support.silence import Silence, resolve_to

pytestmark = pytest.mark.real
NAME = "many.example"


@pytest.fixture
def silence() -> Iterator[Silence]:
    """Eight addresses that answer nothing, on one port."""
    with Silence(8) as silence:
        yield silence


def test_one_deadline_for_eight_silent_addresses(
    silence: Silence, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not one for each; progress is reported all the time."""
    resolve_to(monkeypatch, NAME, silence.hosts)
    ticks: list[float] = []
    began = time.monotonic()
    with pytest.raises(TimeoutError):
        dial(NAME, silence.port, Deadline.after(4.0), lambda: ticks.append(time.monotonic()))
    assert time.monotonic() - began >= 4.0
    assert len(ticks) >= 3


def test_the_one_that_answers_is_found_behind_the_silent_ones(
    silence: Silence, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is the last of nine, and no silent address is waited for to its end."""
    with socket.create_server(("127.0.0.99", silence.port)):
        resolve_to(monkeypatch, NAME, [*silence.hosts, "127.0.0.99"])
        with dial(NAME, silence.port, Deadline.after(60)) as one:
            assert one.getpeername()[0] == "127.0.0.99"
            assert 0 < (one.gettimeout() or 0) < 60


def test_a_refusal_moves_on_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only silence costs time."""
    with socket.create_server(("127.0.0.9", 0)) as server:
        resolve_to(monkeypatch, NAME, ["127.0.0.7", "127.0.0.8", "127.0.0.9"])
        with dial(NAME, server.getsockname()[1], Deadline.after(60)) as one:
            assert one.getpeername()[0] == "127.0.0.9"


def test_all_refuse() -> None:
    """The refusal is the error."""
    with pytest.raises(ConnectionRefusedError):
        dial("127.0.0.1", free_port(), Deadline.after(60))


@pytest.mark.parametrize("name", ["nobody.invalid", "a" * 64 + ".example", "..", ""])
def test_a_name_that_is_none(name: str) -> None:
    """An OSError too, whatever Python raises for it."""
    with pytest.raises(socket.gaierror):
        dial(name, free_port(), Deadline.after(60))


def test_a_resolver_that_never_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """The deadline holds for the name as well."""
    asked = threading.Event()

    def never(*_: Any, **__: Any) -> list[Any]:
        asked.wait(100)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", never)
    with pytest.raises(TimeoutError):
        dial(NAME, 1, Deadline.after(0.2))
    asked.set()


def test_a_tick_ends_it(silence: Silence, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it raises comes out at once."""
    resolve_to(monkeypatch, NAME, silence.hosts)

    def stop() -> None:
        raise KeyError

    with pytest.raises(KeyError):
        dial(NAME, silence.port, Deadline.after(1000), stop)


def test_the_losers_are_closed(silence: Silence, monkeypatch: pytest.MonkeyPatch) -> None:
    """No socket is left open, for Python would warn of it."""
    made: list[socket.socket] = []
    real = socket.socket

    class Kept(real):  # type: ignore[misc, valid-type]
        def __init__(self, *args: Any, **more: Any) -> None:
            super().__init__(*args, **more)
            made.append(self)

    with ExitStack() as stack:
        stack.enter_context(socket.create_server(("127.0.0.99", silence.port)))
        resolve_to(monkeypatch, NAME, [*silence.hosts[:3], "127.0.0.99"])
        monkeypatch.setattr(socket, "socket", Kept)
        won = stack.enter_context(dial(NAME, silence.port, Deadline.after(60)))
        assert [one for one in made if one.fileno() != -1] == [won]
