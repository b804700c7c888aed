"""Facts about quick tests, and the guard that keeps them so."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import threading
from pathlib import Path

import pytest

from tests.support import quick
from tests.support.paths import ROOT

pytest_plugins = ["pytester"]
pytestmark = pytest.mark.real

GUARD = quick.Guard()


def opens_socket() -> None:
    """Open a socket, and close it."""
    socket.socket().close()


def hides_a_socket() -> None:
    """Open a socket, and keep quiet when that is refused."""
    with contextlib.suppress(AssertionError):
        opens_socket()


def test_a_guard_refuses_sockets_and_processes() -> None:
    """While it is entered, and then no more."""
    with GUARD:
        with pytest.raises(AssertionError, match=r"socket\.__new__"):
            opens_socket()
        with pytest.raises(AssertionError, match=r"subprocess\.Popen"):
            subprocess.run(["true"], check=True)
    opens_socket()
    subprocess.run(["true"], check=True)


def test_threads_that_were_there_before_are_free() -> None:
    """One that a test starts is not."""
    go, done = threading.Event(), threading.Event()

    def old() -> None:
        go.wait()
        opens_socket()
        done.set()

    older = threading.Thread(target=old)
    older.start()
    with GUARD:
        go.set()
        older.join()
        assert done.is_set()
        assert GUARD.broken == ""
        younger = threading.Thread(target=hides_a_socket)
        younger.start()
        younger.join()
        assert GUARD.broken == "socket.__new__"


TESTS = """
import contextlib, socket
import pytest

def test_hides_it():
    with contextlib.suppress(Exception, AssertionError):
        socket.socket()

@pytest.fixture
def opened():
    return socket.socket()

def test_fixture(opened): ...

@pytest.mark.real
def test_real(): socket.socket().close()

@pytest.mark.slow
def test_slow(): ...

def test_quick(): ...
"""


def test_a_quick_test_that_opens_a_socket_fails_however_it_does_so(
    pytester: pytest.Pytester,
) -> None:
    """Also where the refusal is swallowed, and in a fixture; `--quick` leaves real and slow out."""
    _file(pytester, "tests/core/test_one.py", TESTS)
    done = pytester.runpytest_inprocess("-p", "tests.support.quick")
    done.assert_outcomes(passed=3, failed=1, errors=1)
    done = pytester.runpytest_inprocess("-p", "tests.support.quick", "--quick")
    done.assert_outcomes(passed=1, failed=1, errors=1, deselected=2)


def test_the_nearest_mark_decides(pytester: pytest.Pytester) -> None:
    """A file in a room of real tests can be quick, and a test in that file real."""
    start = "import pytest\npytestmark = pytest.mark.quick\n"
    more = "@pytest.mark.real\ndef test_real(): ...\ndef test_quick(): ...\n"
    _file(pytester, "tests/e2e/test_marked.py", start + more)
    _file(pytester, "tests/e2e/test_not_marked.py", "def test_it(): ...\n")
    _file(pytester, "tests/spool/test_other.py", "def test_it(): ...\n")
    done = pytester.runpytest_inprocess("-p", "tests.support.quick", "--quick")
    done.assert_outcomes(passed=2, deselected=1)


def test_the_rooms_are_there() -> None:
    """A room that was renamed has to be renamed here too."""
    assert [room for room in quick.REAL_ROOMS if not (ROOT / "tests" / room).is_dir()] == []


def _file(pytester: pytest.Pytester, name: str, text: str) -> None:
    file = Path(pytester.path / name)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
