"""Facts about the live line: always there, never in the way."""

from __future__ import annotations

import io
import re
import subprocess
import sys
import time

import pytest

from rtmpump.sandbox import live_line
from rtmpump.sandbox.live_line import LiveLine
from tests.support.cli import environment
from tests.support.waiting import SECONDS, wait_until

ERASE = "\r\x1b[K"


class Terminal(io.StringIO):
    """Text that says it is a terminal; it has the 80 columns of one that does not say how many."""

    def isatty(self) -> bool:
        """It is one."""
        return True


def test_on_a_terminal_it_is_rewritten_under_the_lines() -> None:
    """A line erases it and comes before it; in the end nothing of it stays."""
    out = Terminal()
    live = LiveLine(out, {})
    live.note = lambda: "3 wait " + "x" * 100
    with live.waiting("starting RabbitMQ"):
        live.say("a line")
        wait_until(lambda: len(set(out.getvalue().split(ERASE))) > 4)
    live.close()
    _, before, after = out.getvalue().partition(f"{ERASE}a line\n")
    assert before
    assert after.startswith(f"{ERASE}starting RabbitMQ, ")
    assert after.endswith(ERASE)
    assert {len(one) for one in after.split(ERASE) if one} == {79}


def test_several_waits_are_said_together() -> None:
    """Each with its own time; one that has ended is gone."""
    out = Terminal()
    live = LiveLine(out, {})
    with live.waiting("one"):
        with live.waiting("two"):
            pass
        assert re.search(r"one, [\d.]+ s; two, [\d.]+ s", out.getvalue())
        # The thread that redraws may have made its text before.
        wait_until(lambda: re.fullmatch(r"one, [\d.]+ s", out.getvalue().rpartition(ERASE)[2]))
    live.close()


@pytest.mark.parametrize("out", [io.StringIO(), Terminal()])
def test_elsewhere_it_is_a_line_now_and_then(
    out: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the begin, and again after a silence; a dumb terminal is none."""
    monkeypatch.setattr(live_line, "_PLAIN_EVERY", 0.3)
    live = LiveLine(out, {"TERM": "dumb"})
    with live.waiting("starting RabbitMQ"):
        began = time.monotonic()
        wait_until(lambda: out.getvalue().count("\n") >= 3)
        assert time.monotonic() - began > 0.5
    live.close()
    first, second, *_ = out.getvalue().splitlines()
    assert first == "starting RabbitMQ…"
    assert second.startswith("starting RabbitMQ, ")
    assert "\x1b" not in out.getvalue()


def run(*command: str) -> subprocess.CompletedProcess[str]:
    """Run a command under a live line, with the standard library alone."""
    return subprocess.run(
        [sys.executable, "-S", "-m", "rtmpump.sandbox.live_line", "installing", *command],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


@pytest.mark.real
def test_a_command_is_heard_only_if_it_fails() -> None:
    """With its exit code, and all that it wrote."""
    done = run("sh", "-c", "echo warning")
    assert (done.returncode, done.stderr) == (0, "")
    # A busy machine may take so long that the wait is told again.
    assert re.match(r"installing…\n(installing, [\d.]+ s\n)*installing: done in ", done.stdout)
    assert "warning" not in done.stdout
    failed = run("sh", "-c", "echo why; exit 7")
    assert (failed.returncode, failed.stderr) == (7, "why\n")
    assert "done" not in failed.stdout
