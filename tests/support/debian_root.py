"""A small Debian of this machine's release in a folder, by debootstrap, with a false systemctl.

debootstrap needs most of a minute, so what it made is kept for some weeks, as a tar file that only
root can write, in the folder for caches. Nothing is mounted: `chroot` alone is enough for dpkg.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import time
from pathlib import Path
from typing import Final, NoReturn

import pytest

_SECONDS: Final = 900
_WEEKS: Final = 4
# What the package depends on; what is there without it is too little for dpkg to be content.
_INCLUDED: Final = "adduser,ca-certificates,python3"
# Where Debian's programs write about each package; passwd- and the like are copies of theirs.
_BOOKS: Final = (
    "var/lib/dpkg",
    "var/log",
    "var/cache",
    "etc/passwd-",
    "etc/group-",
    "etc/shadow-",
    "etc/gshadow-",
    "run/adduser",
    "systemctl.log",
)
# Large, and of no use here: what apt fetched, and texts for people.
_NEEDLESS: Final = (
    "var/cache/apt",
    "var/lib/apt/lists",
    "usr/share/doc",
    "usr/share/i18n",
    "usr/share/locale",
)
# It writes down how it was called. No unit is enabled or active, as in a system that was just made.
_SYSTEMCTL: Final = """\
#!/bin/sh
echo "$*" >>/systemctl.log
case $* in *is-enabled* | *is-active*) exit 1 ;; esac
"""


class DebianRoot:
    """A folder that `chroot` enters."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def make(self) -> None:
        """Unpack it; skip the test where it can't be made, but not in CI, which can."""
        if os.geteuid() != 0:
            pytest.skip("only root can make a Debian in a folder")
        if shutil.which("debootstrap") is None:
            _missing("there is no debootstrap here: apt-get install debootstrap")
        kept = _kept()
        if not _usable(kept):
            _bootstrap(self.folder.parent / "new", kept)
        self.folder.mkdir()
        subprocess.run(["tar", "-xpf", kept, "-C", self.folder, "--numeric-owner"], check=True)
        systemctl = self.folder / "usr/bin/systemctl"
        systemctl.write_text(_SYSTEMCTL)
        systemctl.chmod(0o755)
        (self.folder / "run/systemd/system").mkdir(parents=True)
        # Nobody needs this Debian after a power cut.
        (self.folder / "etc/dpkg/dpkg.cfg.d/quick").write_text("force-unsafe-io\n")

    def run(self, script: str, **environment: str) -> str:
        """Run a script of bash in it, which must succeed; return what it prints."""
        path = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}
        done = subprocess.run(
            ["chroot", self.folder, "bash", "-ec", script],
            env=path | {"DEBIAN_FRONTEND": "noninteractive"} | environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=_SECONDS,
        )
        assert done.returncode == 0, f"{script}\n{done.stdout}{done.stderr}"
        return done.stdout

    def asked_of_systemctl(self) -> list[str]:
        """Return how systemctl was called since it was last asked for this."""
        log = self.folder / "systemctl.log"
        lines = log.read_text().splitlines() if log.exists() else []
        log.unlink(missing_ok=True)
        return lines

    def paths(self) -> set[str]:
        """Return all paths but those where Debian's programs keep their books."""
        found = (str(path.relative_to(self.folder)) for path in self.folder.rglob("*"))
        return {path for path in found if not path.startswith(_BOOKS)}

    def dangling(self) -> set[str]:
        """Return the links that lead nowhere."""
        return set(self.run("find / -xdev -xtype l").split())


def _missing(why: str) -> NoReturn:
    if os.environ.get("CI"):
        pytest.fail(why)
    pytest.skip(why)


def _kept() -> Path:
    """Return where the tar file is kept."""
    system = platform.freedesktop_os_release()
    caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    name = f"debian-{system['VERSION_CODENAME']}-{platform.machine()}.tar"
    return Path(caches) / "rtmpump-tests" / name


def _usable(kept: Path) -> bool:
    """Return whether it is there, of root alone, and not old."""
    if not kept.exists():
        return False
    found = kept.stat()
    age = time.time() - found.st_mtime
    return found.st_uid == 0 and not found.st_mode & 0o022 and age < _WEEKS * 7 * 86_400


def _bootstrap(folder: Path, kept: Path) -> None:
    suite = platform.freedesktop_os_release()["VERSION_CODENAME"]
    command = ["debootstrap", "--variant=minbase", f"--include={_INCLUDED}", suite, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
    if done.returncode:
        _missing(f"debootstrap failed; is its mirror reachable? {done.stdout[-300:]}")
    kept.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    unfinished = kept.with_suffix(f".{os.getpid()}")
    unfinished.touch(mode=0o600)
    tar = ["tar", "-cf", str(unfinished), "--numeric-owner", "-C", str(folder)]
    left_out = [f"--exclude=./{path}/*" for path in _NEEDLESS]
    subprocess.run([*tar, *left_out, "."], check=True, timeout=_SECONDS)
    unfinished.replace(kept)
    shutil.rmtree(folder)
