"""Take the shell blocks of Markdown files apart, and run them in a world of their own."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, NamedTuple

from tests.support.markdown import Page
from tests.support.paths import ROOT

ELSEWHERE: Final = {
    "apt-get": "needs root and the network",
    "chgrp": "needs the group that the package makes",
    "debian": "needs root, the network and minutes",
    "git": "needs the network",
    "journalctl": "needs systemd",
    "pip": "needs the network",
    "python3": "makes a virtual environment, which needs minutes",
    "rabbitmqctl": "needs root on the broker's machine",
    "rabbitmq-diagnostics": "likewise",
    "rabbitmq-plugins": "likewise",
    "rabbitmq-queues": "likewise",
    "kubectl": "needs a cluster",
    "ln": "needs root",
    "docker": "needs a Docker engine",
    "rm": "removes what is installed; only its paths are looked at",
    "run": "enters the folder that .ci/debian makes, which is not there",
    "systemctl": "needs root and systemd",
}
"""Programs that a block may call and that are replaced by one that does nothing, each with why."""

OTHER_SHELLS: Final = {
    'eval "$(_RTMPUMP_COMPLETE=zsh_source': "is for zsh",
    "_RTMPUMP_COMPLETE=fish_source": "is for fish",
}
"""Beginnings of statements that are for another shell; tests/cli/test_cli.py tries completion."""

# What may be named: `mount` does nothing here, and /deploy is a slash command.
_OF_THIS_MACHINE = ("/dev", "/proc", "/tmp", "/deploy")
_HEREDOC = re.compile(r"<<'?(\w+)'?")
_OUTSIDE = re.compile(r"(?<![\w.:/$-])/(?=(?:etc|opt|srv|var|usr/local)/)")
_ABSOLUTE = re.compile(r"(?:^|[\s=])(/[^\s'\"]+)")


class Statement(NamedTuple):
    """What a person enters before the next prompt, and where it stands."""

    text: str
    where: str

    @property
    def is_for_another_shell(self) -> bool:
        """Return whether bash can't run it."""
        return self.text.startswith(tuple(OTHER_SHELLS))

    def commands(self) -> Iterator[list[str]]:
        """Yield the words of each simple command, without assignments in front."""
        text = self.text.partition("<<")[0]
        lexer = shlex.shlex(text, posix=True, punctuation_chars=";|&")
        lexer.whitespace_split = True
        words: list[str] = []
        for word in [*lexer, ";"]:
            if word.strip(";|&"):
                words.append(word)
            elif words:
                yield _without_assignments(words)
                words = []


def _without_assignments(words: list[str]) -> list[str]:
    while words and re.match(r"\w+=", words[0]):
        words = words[1:]
    return words


def statements(page: Page) -> list[Statement]:
    """Return all statements of the shell blocks of a page, in order."""
    found: list[Statement] = []
    for block in page.blocks("sh", "bash", "console"):
        lines = iter(enumerate(block.text.splitlines(), block.line))
        found += (Statement(text, f"{page.name}:{at}") for at, text in _joined(lines))
    return found


def _joined(lines: Iterator[tuple[int, str]]) -> Iterator[tuple[int, str]]:
    """Join the lines of one statement: continuations, and a document behind `<<`."""
    for at, line in lines:
        text = line
        while text.endswith("\\"):
            text += "\n" + next(lines)[1]
        document = _HEREDOC.search(text)
        while document and text.rpartition("\n")[2] != document[1]:
            text += "\n" + next(lines)[1]
        if text.strip() and not text.lstrip().startswith("#"):
            yield at, text


class World:
    """A folder that stands for `/`, a checkout, and programs that replace what is elsewhere.

    `environment` is what the statements run with; what they export stays in it. `port` stands for
    that of `http.listen`, `gateway_port` for that of `gateway.listen`.
    """

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self.root = folder / "root"
        self.checkout = folder / "checkout"
        self.programs = folder / "bin"
        for made in (self.root, self.checkout, self.programs, self.root / "opt/rtmpump/bin"):
            made.mkdir(parents=True)
        for entry in ROOT.iterdir():
            if not entry.name.startswith("."):
                (self.checkout / entry.name).symlink_to(entry)
        path = f"{self.programs}:{os.environ['PATH']}"
        self.environment = {**environment, "PATH": path, "HOME": str(folder)}
        self.port = 9464
        self.gateway_port = 9465
        self._make_programs()

    def _make_programs(self) -> None:
        for name in ELSEWHERE:
            self.program(self.programs / name, "exit 0")
        self.program(self.programs / "systemctl", self._cat_of_the_unit())
        self.program(self.programs / "make", f'exec "{shutil.which("make")}" -n -C "{ROOT}" "$@"')
        for folder in (self.programs, self.root / "opt/rtmpump/bin"):
            self.program(folder / "rtmpump", f'exec "{sys.executable}" -m rtmpump "$@"')
        self.program(self.root / "opt/rtmpump/bin/pip", "exit 0")
        for path in (self.checkout / ".ci/debian", self.root / "opt/trixie/outside/run"):
            path.parent.mkdir(parents=True)
            self.program(path, "exit 0")
        for folder in (self.root / "etc/systemd/system", self.root / "var/lib"):
            folder.mkdir(parents=True)

    def _cat_of_the_unit(self) -> str:
        """Return a script that prints our unit for `cat`, as if it were installed in this world.

        Its user is that of the test, who alone may look into these folders.
        """
        kept = ("RTMPUMP_BROKER_URL", "RTMPUMP_HTTP_LISTEN", "RTMPUMP_SLACK_API_URL")
        given = " ".join(f"{name}=${name}" for name in (*kept, "RTMPUMP_SPOOL_PATH"))
        edits = (
            f"s#/etc/#{self.root}/etc/#; s#/var/#{self.root}/var/#; /^DynamicUser/d;"
            f" s#^User=.*#User=root#; /^Protect/d; /^PrivateTmp/d;"
            f" s#^.Service.#&\\nEnvironment={given}#"
        )
        units = self.checkout / "systemd"
        return f'[ "$1" = cat ] || exit 0\nexec sed "{edits}" "{units}/$4"'

    @staticmethod
    def program(path: Path, text: str) -> None:
        """Write a shell script that can be run."""
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o700)

    def inside(self, text: str) -> str:
        """Return the text with the paths of this world; AssertionError if one leads out of it."""
        moved = _OUTSIDE.sub(f"{self.root}/", text).replace(":9464", f":{self.port}")
        moved = moved.replace(":9465", f":{self.gateway_port}")
        for path in _ABSOLUTE.findall(moved.partition("<<")[0]):
            allowed = (str(self.root), *_OF_THIS_MACHINE)
            assert path.startswith(allowed), f"{path} is of this machine"
        return moved

    def run(self, text: str, typed: str, seconds: float) -> subprocess.CompletedProcess[str]:
        """Run one statement in the checkout, at a terminal into which this is typed."""
        script = f"set -euo pipefail\n{self.inside(text)}\n"
        self._keep_exports(text)
        terminal, stdin = os.openpty()
        try:
            os.write(terminal, typed.encode())
            return subprocess.run(
                ["bash", "--norc", "-c", script],
                cwd=self.checkout,
                env=self.environment,
                stdin=stdin,
                capture_output=True,
                text=True,
                timeout=seconds,
                check=False,
                # So a password is asked for at this terminal, not at that of who runs tests.
                start_new_session=True,
            )
        finally:
            os.close(terminal)
            os.close(stdin)

    def _keep_exports(self, text: str) -> None:
        found = re.match(r"export (\w+)=(\S+)", text)
        if found:
            self.environment[found[1]] = self.inside(found[2])
