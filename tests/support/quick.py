"""Which tests are quick, and a guard that holds them to it.

A quick test opens no socket, starts no process and takes about a second at most; `make quick` runs
these alone. A test is quick unless its room is one of `REAL_ROOMS` or it is marked `real` or
`slow`. The mark that is nearest to the test decides, so a file in such a room can say
`pytestmark = pytest.mark.quick`. The guard watches quick tests in every run, not only in
`make quick`: one that opens a socket or starts a process fails, and is told which mark it needs.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Generator
from pathlib import Path
from typing import Final

import pytest

REAL_ROOMS: Final = (
    "cli",
    "client",
    "clients",
    "daemon",
    "demo",
    "deploy",
    "e2e",
    "gateway",
    "http",
    "links/rabbitmq",
    "links/slack",
    "pumps",
    "sandbox",
)
_MARKS: Final = ("quick", "real", "slow")
# Python's own names for these acts: https://docs.python.org/3/library/audit_events.html
_REFUSED: Final = (
    "os.exec",
    "os.fork",
    "os.forkpty",
    "os.posix_spawn",
    "os.system",
    "socket.__new__",
    "subprocess.Popen",
)


class Guard:
    """While entered, refuse sockets and processes to this thread and to those that it starts.

    Threads that were there before may be left from another test, so they may do what they like.
    Audit hooks can't be removed: make one guard for a process, and enter it as often as needed.
    """

    def __init__(self) -> None:
        self.broken = ""
        self._free: set[int | None] | None = None
        sys.addaudithook(self._hear)

    def __enter__(self) -> Guard:
        self.broken = ""
        others = set(threading.enumerate()) - {threading.current_thread()}
        self._free = {thread.native_id for thread in others}
        return self

    def __exit__(self, *_: object) -> None:
        self._free = None

    def _hear(self, event: str, _arguments: object) -> None:
        free = self._free
        if free is None or event not in _REFUSED or threading.get_native_id() in free:
            return
        self.broken = event
        raise AssertionError(_advice(event))


def _advice(event: str) -> str:
    return (
        f"a quick test did this: {event}. Leave sockets and processes out, or mark the test with "
        "pytest.mark.real (see tests/support/quick.py)"
    )


# Where coverage measures there is none: while a hook runs Python, another thread that starts fails,
# for CPython 3.11 lets only one thread set its trace function.
_guard = None if sys.gettrace() else Guard()


def kind(item: pytest.Item) -> str:
    """Return `quick`, `real` or `slow`: the nearest mark, else what the room says."""
    for mark in item.iter_markers():
        if mark.name in _MARKS:
            return mark.name
    return "real" if _is_real(item.nodeid) else "quick"


def _is_real(name: str) -> bool:
    return name.startswith(tuple(f"tests/{room}/" for room in REAL_ROOMS))


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--quick`."""
    parser.addoption("--quick", action="store_true", help="run quick tests alone")


def pytest_configure(config: pytest.Config) -> None:
    """Make the marks known."""
    config.addinivalue_line("markers", "quick: opens no socket, starts no process, takes no time")
    config.addinivalue_line("markers", "real: opens sockets or starts processes")
    config.addinivalue_line("markers", "slow: takes more than a second")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Do not even import a file that has no quick test, since imports are half of the time."""
    if not config.getoption("--quick") or collection_path.suffix != ".py":
        return None
    name = collection_path.relative_to(config.rootpath).as_posix()
    left_out = _is_real(name) and "mark.quick" not in collection_path.read_text()
    return True if left_out else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out all that is not quick, if that is asked for."""
    if not config.getoption("--quick"):
        return
    left_out = [item for item in items if kind(item) != "quick"]
    items[:] = [item for item in items if kind(item) == "quick"]
    config.hook.pytest_deselected(items=left_out)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, None, None]:
    """Guard the fixtures of a quick test."""
    yield from _guarded(item)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, None, None]:
    """Guard the quick test."""
    yield from _guarded(item)


def _guarded(item: pytest.Item) -> Generator[None, None, None]:
    """Guard one step; fail it also when a thread, or a broad `except`, swallowed the refusal."""
    if _guard is None or kind(item) == "real":
        return (yield)
    with _guard:
        yield
    if _guard.broken:
        raise AssertionError(_advice(_guard.broken))
