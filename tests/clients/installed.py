"""Where the libraries are installed: one folder, that git ignores and `make clean` removes.

An installation is made once for each content of its file of pins; a half-made one is made anew.
"""

from __future__ import annotations

import fcntl
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.clients.libraries import NODE, PROGRAMS, Library
from tests.support.paths import ROOT

FOLDER: Final = ROOT / ".clients"
_SECONDS: Final = 540
_NODE_LEAST: Final = int(re.findall(r'"node": ">=(\d+)"', NODE.read_text())[0])


class NotHere(Exception):
    """A library can't run on this machine; the text says why, and what to do."""


def command(library: Library) -> list[str]:
    """Return what starts the program of a library, which is installed first where it is not.

    Raises:
        NotHere: what it needs can't be had on this machine.
    """
    if library.is_javascript:
        _have_node()
    FOLDER.mkdir(exist_ok=True)
    with _locked():
        if library.is_javascript:
            return ["node", str(_node() / library.program)]
        return [str(_environment(library.pins) / "bin" / "python"), str(library.path)]


def _environment(pins: Path) -> Path:
    folder = FOLDER / pins.stem
    if _is_whole(folder, pins):
        return folder
    _run([sys.executable, "-m", "venv", "--clear", str(folder)], FOLDER)
    pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet"]
    _run([*pip, "--disable-pip-version-check", "-r", str(pins)], FOLDER)
    _note(folder, pins)
    return folder


def _have_node() -> None:
    for tool in ("node", "npm"):
        if shutil.which(tool) is None:
            raise NotHere(f"there is no {tool} here: apt-get install nodejs npm")
    said = subprocess.run(["node", "--version"], capture_output=True, text=True, timeout=60).stdout
    if int(said.strip().lstrip("v").partition(".")[0] or 0) < _NODE_LEAST:
        raise NotHere(f"node is {said.strip()} here; these libraries need {_NODE_LEAST}")


def _node() -> Path:
    folder = FOLDER / "node"
    if not _is_whole(folder, NODE):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        shutil.copy(NODE, folder)
        npm = ["npm", "install", "--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts"]
        _run(npm, folder)
        _note(folder, NODE)
    # Node looks for packages from the folder of the program upwards.
    for program in PROGRAMS.glob("*.mjs"):
        here = folder / program.name
        if not here.exists() or here.read_bytes() != program.read_bytes():
            shutil.copy(program, here)
    return folder


def _is_whole(folder: Path, pins: Path) -> bool:
    mark = folder / ".installed"
    return mark.exists() and mark.read_text() == _state(pins)


def _note(folder: Path, pins: Path) -> None:
    (folder / ".installed").write_text(_state(pins))


def _state(pins: Path) -> str:
    """Return what an installation depends on: the pins, and whose Python it has."""
    return f"{sys.version}\n{pins.read_text()}"


def _run(command: list[str], folder: Path) -> None:
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=_SECONDS)
    except subprocess.TimeoutExpired:
        raise NotHere(f"{' '.join(command[:3])} took over {_SECONDS} s") from None
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["without a word"])[-1]
        raise NotHere(f"{' '.join(command[:3])} failed: {last}")


@contextmanager
def _locked() -> Iterator[None]:
    """Let one process at a time install: the tests run in several."""
    with (FOLDER / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
