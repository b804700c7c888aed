"""What the tests of `--unit NAME` share.

`systemctl` is a stand-in that prints our own unit files, as `systemctl cat` would: nothing here may
talk to a systemd.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.cli import rtmpump
from tests.support.paths import ROOT

Install = Callable[..., Path]


@pytest.fixture
def etc() -> Iterator[Path]:
    """Give the folder that the units know as /etc/rtmpump; every user may look into it."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.fixture
def install(etc: Path, tmp_path: Path) -> Install:
    """Give what installs a unit file and drop-ins, and returns the folder of the stand-in."""

    def install(unit: str = "rtmpump.service", *drop_ins: str) -> Path:
        text = (ROOT / "systemd" / unit).read_text().replace("/etc/rtmpump", str(etc))
        cat = tmp_path / "unit.txt"
        # The unit has a /tmp of its own, and these files stand for some of /etc.
        shown = f"[Service]\nBindReadOnlyPaths={etc}\n"
        cat.write_text("\n".join([f"# /etc/systemd/system/{unit}", text, shown, *drop_ins]))
        program = tmp_path / "bin" / "systemctl"
        program.parent.mkdir()
        program.write_text(
            "#!/bin/sh\n"
            f'case "$*" in "cat --no-pager -- {unit.replace("@", "@acme")}")'
            f" exec cat {shlex.quote(str(cat))};; esac\n"
            'echo "No files found for $4." >&2; exit 1\n'
        )
        program.chmod(0o755)
        return program.parent

    return install


def run(
    folder: Path, bin: Path, *args: str, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command where `systemctl` is the stand-in."""
    path = {"PATH": f"{bin}:{os.environ['PATH']}"}
    return rtmpump(folder, *args, env={"RTMPUMP_HTTP_LISTEN": "127.0.0.1:0"} | path | (env or {}))


def secret(file: Path, text: str) -> None:
    """Write a file as the README has it: for root alone."""
    file.write_text(f"{text}\n")
    file.chmod(0o600)
