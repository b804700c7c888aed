"""The packages of the work tree, built by deploy/debian/build.py, and what is in the deb."""

from __future__ import annotations

import fcntl
import os
import platform
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Final

import pytest

from tests.support.paths import ROOT

SECONDS: Final = 300
# Any time will do: 2026-11-27.
TIME: Final = "1795737600"


def copy_of_the_sources(folder: Path) -> Path:
    """Copy the work tree as git would add it, changes that are not committed too, without .git."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=SECONDS,
    )
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    return folder


def _commit(sources: Path) -> None:
    """Make a git clone of a folder, with one commit that is of TIME."""
    date = {f"GIT_{who}_DATE": f"{TIME} +0000" for who in ("AUTHOR", "COMMITTER")}
    settings = ("user.name=test", "user.email=test@test.invalid", "commit.gpgsign=false")
    given = [word for setting in settings for word in ("-c", setting)]
    for words in (("init", "--quiet"), ("add", "."), ("commit", "--quiet", "--message=all")):
        command = ["git", *given, *words]
        subprocess.run(command, cwd=sources, env=os.environ | date, check=True, timeout=SECONDS)


def build(sources: Path, out: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Build all packages; `environment` is added to ours."""
    return subprocess.run(
        [sys.executable, "deploy/debian/build.py", out],
        cwd=sources,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
    )


def skip_where_none_can_be_built() -> None:
    """Skip the test where this is no Debian, or no clone."""
    if shutil.which("dpkg-deb") is None or platform.freedesktop_os_release()["ID"] != "debian":
        pytest.skip("Debian packages are built on Debian only")
    if not (ROOT / ".git").exists():
        pytest.skip("this is no git clone")


@contextmanager
def _alone(file: Path) -> Iterator[None]:
    with file.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield


class Packages:
    """A folder with all packages of the work tree; the first worker of pytest builds them."""

    def __init__(self, base: Path) -> None:
        self.folder = base / "packages"
        with _alone(base / "packages.lock"):
            if not (self.folder / "SHA256SUMS").exists():
                sources = copy_of_the_sources(base / "sources")
                _commit(sources)
                (sources / "rtmpump/not_committed.py").touch()
                done = build(sources, self.folder)
                assert done.returncode == 0, done.stderr
        (self.deb,) = self.folder.glob("*.deb")
        (self.wheel,) = self.folder.glob("*.whl")

    def members(self) -> dict[str, tuple[tarfile.TarInfo, bytes]]:
        """Return what the deb holds: each path with what tar says of it, and its content."""
        done = subprocess.run(
            ["dpkg-deb", "--fsys-tarfile", self.deb], capture_output=True, check=True
        )
        with tarfile.open(fileobj=BytesIO(done.stdout)) as tar:
            return {one.name.removeprefix("./"): (one, _content(tar, one)) for one in tar}

    def field(self, name: str) -> str:
        """Return a field of the deb's control file."""
        done = subprocess.run(
            ["dpkg-deb", "--field", self.deb, name], capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    def newer(self, folder: Path) -> Path:
        """Make a deb of version 9 out of ours, whose configuration has one line more."""
        tree, made = folder / "newer", folder / "newer.deb"
        subprocess.run(["dpkg-deb", "--raw-extract", self.deb, tree], check=True)
        control = tree / "DEBIAN" / "control"
        version = self.field("Version")
        control.write_text(control.read_text().replace(f"\nVersion: {version}", "\nVersion: 9"))
        with (tree / "etc/rtmpump/config.toml").open("a") as config:
            config.write("# new in version 9\n")
        command = ["dpkg-deb", "--root-owner-group", "-Znone", "--build", str(tree), str(made)]
        subprocess.run(command, check=True, capture_output=True)
        return made


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(member)
    return file.read() if file else b""
