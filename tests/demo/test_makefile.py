"""Facts about the Makefile: the demo installs what it needs alone, and nothing is installed twice.

The programs of `.venv` only note how they were called.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.paths import ROOT
from tests.support.waiting import SECONDS

NOTES = '#!/bin/sh\necho "${0##*/} $*" >>calls\n'
FROM_MAKE = ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "PYTHON", "ARGS", "CI")


class Checkout:
    """The Makefile in a folder of its own, with a `.venv` without packages."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("Makefile", "pyproject.toml", "constraints.txt"):
            shutil.copy(ROOT / name, folder)
        (folder / ".venv" / "bin").mkdir(parents=True)
        for name in ("python", "rtmpump"):
            program = folder / ".venv" / "bin" / name
            program.write_text(NOTES)
            program.chmod(0o755)

    def make(self, *arguments: str) -> list[str]:
        """Run make; return the calls."""
        calls = self.folder / "calls"
        calls.unlink(missing_ok=True)
        env = {name: value for name, value in os.environ.items() if name not in FROM_MAKE}
        done = subprocess.run(
            ["make", *arguments],
            cwd=self.folder,
            env=env,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert "ensure" not in done.stdout
        return calls.read_text().splitlines()


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    """A fresh one."""
    return Checkout(tmp_path)


def installed(calls: list[str]) -> list[str]:
    """Return what was installed, by the last word of each call of pip."""
    return [call.split()[-1] for call in calls if "pip install" in call]


def test_the_demo_installs_what_it_runs_with_once(checkout: Checkout) -> None:
    """Under a live line, without the packages of the tests; RabbitMQ is its own affair."""
    first = checkout.make("demo", "ARGS=--broker-url amqp://host/")
    assert installed(first) == ['"."']
    assert first[0].startswith(
        "python -m rtmpump.sandbox.live_line installing packages into .venv sh -ec "
    )
    assert first[1:] == ["rtmpump demo --broker-url amqp://host/"]
    assert checkout.make("demo") == ["rtmpump demo"]


def test_the_packages_of_the_tests_come_when_they_are_needed(checkout: Checkout) -> None:
    """After a demo they are added once, and the demo installs nothing then."""
    checkout.make("demo")
    assert installed(checkout.make("fuzz")) == ['".[dev]"']
    assert installed(checkout.make("fuzz", "demo")) == []


def test_who_has_the_packages_of_the_tests_has_those_of_the_demo(checkout: Checkout) -> None:
    """In a fresh checkout they are installed in one go."""
    assert installed(checkout.make("fuzz")) == ['".[dev]"']
    assert checkout.make("demo") == ["rtmpump demo"]
