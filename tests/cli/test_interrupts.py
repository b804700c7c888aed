"""Facts about Ctrl-C before a command has begun: exit code 130, and nothing is printed."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from rtmpump.cli import interrupts, main
from tests.support.cli import environment
from tests.support.waiting import SECONDS

# Sends SIGINT to itself when the named module is searched for, so in the middle of an import.
PROGRAM = """
import os, signal, sys

module, handling, *rest = sys.argv[1:]

class Interrupt:
    def find_spec(self, name, path=None, target=None):
        if name == module:
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Interrupt())
if handling == "ignored":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
from rtmpump.cli import main
sys.argv[1:] = rest
main(prog_name="rtmpump")
"""


def run(*args: str) -> subprocess.CompletedProcess[str]:
    """Run the program above to its end."""
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, *args],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


@pytest.mark.real
@pytest.mark.parametrize("module", ["click", "rtmpump.cli.demo", "rtmpump.demo.show"])
def test_ctrl_c_during_an_import_is_130_without_a_word(module: str) -> None:
    """In the imports of the program itself and in those of a command."""
    done = run(module, "", "demo", "--help")
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


@pytest.mark.real
def test_where_ctrl_c_is_ignored_it_stays_so() -> None:
    """A shell starts its background jobs like that."""
    done = run("rtmpump.demo.show", "ignored", "demo", "--help")
    assert (done.returncode, done.stderr) == (0, "")


def test_the_handler_of_a_program_that_imports_us_stays() -> None:
    """A call with arguments is no program: its Ctrl-C is not ours."""
    before = signal.getsignal(signal.SIGINT)
    with interrupts.ending_at_once():
        assert (signal.getsignal(signal.SIGINT) is before) == (
            before is not signal.default_int_handler
        )
    with pytest.raises(SystemExit):
        main(["--version"])
    assert signal.getsignal(signal.SIGINT) is before
