"""Builds all packages of one version: `python deploy/debian/build.py dist`.

In the folder named there are then the sdist, the wheel, the Debian package for the Debian that this
runs on, and SHA256SUMS. Run it with a Python that has pip and hatchling: `make dist` does.

Laws:

- One commit, one Debian, one set of bytes. In a git clone the last commit is built, whatever lies
  beside it; elsewhere the folder as it is, and then SOURCE_DATE_EPOCH must say of when it is. No
  time, no path, no umask and no user of this machine gets into a package.
- What is compiled is for /usr/bin/python3, whichever Python runs this file.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).resolve().parents[2]
PYTHON: Final = "/usr/bin/python3"
PROGRAM: Final = "usr/lib/rtmpump"
CONFIG: Final = "etc/rtmpump/config.toml"
# Where the units have it, and where the package has it.
PLACES: Final = ("/opt/rtmpump/bin/rtmpump", "/usr/bin/rtmpump")
UNITS: Final = ("rtmpump.service", "rtmpump@.service", "rtmpump-gateway.service")
# The package makes this group, and closes the configuration for all others. The tokens of programs
# are files of it too, so that a reload can read them.
GROUP: Final = """\
[Service]
SupplementaryGroups=rtmpump
"""
COMPLETIONS: Final = {
    "bash": "usr/share/bash-completion/completions/rtmpump",
    "zsh": "usr/share/zsh/vendor-completions/_rtmpump",
    "fish": "usr/share/fish/vendor_completions.d/rtmpump.fish",
}
SCRIPTS: Final = ("postinst", "prerm", "postrm")
# Modes that differ from 0644 for a file and 0755 for a folder.
MODES: Final = {
    CONFIG: 0o640,
    "usr/bin/rtmpump": 0o755,
    **{f"DEBIAN/{script}": 0o755 for script in SCRIPTS},
}
MAINTAINER: Final = "rtmpump contributors <contributors@rtmpump.invalid>"
CONTROL: Final = """\
Package: rtmpump
Version: {version}
Architecture: {architecture}
Maintainer: {maintainer}
Installed-Size: {kibibytes}
Depends: python3 (>= {python}), python3 (<< {next_python}), libc6, adduser, ca-certificates
Suggests: rabbitmq-server
Section: net
Priority: optional
Description: bridge between Slack and RabbitMQ that loses no event
 rtmpump is a daemon that turns a Slack workspace into RabbitMQ exchanges,
 and a RabbitMQ queue into Slack messages. It stores each event on disk
 before it counts as received, and publishes it until RabbitMQ confirms.
 .
 The gateway, a service of its own, lets programs that were written with
 Slack's client libraries live behind RabbitMQ.
 .
 The Python libraries that both need are in the package.
"""


DEBIANS_CHANGELOG: Final = """\
rtmpump ({version}) stable; urgency=medium

  * CHANGELOG.md.gz beside this file says what changed.

 -- {maintainer}  {time}
"""


class CannotBuildError(Exception):
    """Something that the packages need is not there; the text says what, and what to do."""


class Target(NamedTuple):
    """What the Debian package is for: `version` such as 0.1.0~deb12, `python` such as (3, 11)."""

    version: str
    architecture: str
    python: tuple[int, int]


def run(*command: str | Path, cwd: Path = ROOT, env: Mapping[str, str] | None = None) -> str:
    """Run a program and return what it prints; its errors go where ours go.

    Raises:
        CannotBuildError: it failed.
    """
    done = subprocess.run(command, cwd=cwd, env=env, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        print(done.stdout, file=sys.stderr)
        raise CannotBuildError(f"this failed: {' '.join(map(str, command))}")
    return done.stdout


def the_source(scratch: Path) -> Path:
    """Return the folder to build: the last commit in a folder of its own, or ours without git.

    Raises:
        CannotBuildError: there is neither a commit nor SOURCE_DATE_EPOCH.
    """
    if not (ROOT / ".git").exists():
        if "SOURCE_DATE_EPOCH" not in os.environ:
            raise CannotBuildError("there is no git clone here: set SOURCE_DATE_EPOCH")
        return ROOT
    if run("git", "status", "--porcelain"):
        print("note: the last commit is built, without what was changed since", file=sys.stderr)
    os.environ["SOURCE_DATE_EPOCH"] = run("git", "log", "-1", "--format=%ct").strip()
    source = scratch / "source"
    source.mkdir()
    run("git", "archive", "--output", scratch / "source.tar", "HEAD")
    run("tar", "-xf", scratch / "source.tar", cwd=source)
    return source


def the_target(version: str) -> Target:
    """Return the Debian that we are on, for a version of the program.

    Raises:
        CannotBuildError: this is no Debian that is released, or it has no Python.
    """
    system = platform.freedesktop_os_release()
    release = system.get("VERSION_ID", "")
    if system["ID"] != "debian" or not release or not shutil.which("dpkg-deb"):
        raise CannotBuildError(
            f"this is {system['PRETTY_NAME']}: the Debian package is built on Debian 12 or later"
        )
    if not Path(PYTHON).exists():
        raise CannotBuildError(f"there is no {PYTHON}: apt-get install python3")
    asked = run(PYTHON, "-Ic", "import sys; print(*sys.version_info[:2])")
    major, minor = map(int, asked.split())
    architecture = run("dpkg", "--print-architecture").strip()
    return Target(f"{version}~deb{release}", architecture, (major, minor))


def commit_time() -> datetime:
    """Return SOURCE_DATE_EPOCH."""
    return datetime.fromtimestamp(int(os.environ["SOURCE_DATE_EPOCH"]), UTC)


def version_of(source: Path) -> str:
    """Return the version that pyproject.toml has."""
    project = tomllib.loads((source / "pyproject.toml").read_text())["project"]
    return str(project["version"])


def add(tree: Path, name: str, text: str) -> None:
    """Write a file of the package; one whose name ends with .gz is compressed."""
    path = tree / name
    path.parent.mkdir(parents=True, exist_ok=True)
    content = text.encode()
    path.write_bytes(gzip.compress(content, 9, mtime=0) if path.suffix == ".gz" else content)


def add_program(tree: Path, source: Path, wheel: Path) -> None:
    """Put the program with its libraries into the tree, in the versions of the constraints."""
    place = tree / PROGRAM
    pip = (sys.executable, "-m", "pip", "--python", PYTHON, "install", "--quiet", "--no-compile")
    versions = ("-c", source / "constraints.txt", "--only-binary", ":all:")
    quiet = ("--no-warn-script-location", "--root-user-action", "ignore")
    run(*pip, *versions, *quiet, "--target", place, f"{wheel}[gateway]")
    # Scripts of the libraries, and notes of pip: dpkg is the one that knows what is installed.
    shutil.rmtree(place / "bin")
    for notes in place.glob("*.dist-info"):
        for note in ("RECORD", "INSTALLER", "REQUESTED", "direct_url.json"):
            (notes / note).unlink(missing_ok=True)


def add_what_the_program_says(tree: Path, source: Path, version: str) -> None:
    """Put completions and man page into the tree: the program in it writes them itself."""
    start = f"import sys; sys.path.insert(0, {str(tree / PROGRAM)!r}); sys.argv[0] = 'rtmpump'; "
    env = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"}
    for shell, name in COMPLETIONS.items():
        code = start + "from rtmpump.cli import main; main(prog_name='rtmpump')"
        asked = env | {"_RTMPUMP_COMPLETE": f"{shell}_source"}
        add(tree, name, run(PYTHON, "-ISBc", code, env=asked))
    day = commit_time().date().isoformat()
    script = str(source / "deploy/debian/man_page.py")
    code = start + f"import runpy; runpy.run_path({script!r}, run_name='__main__')"
    page = run(PYTHON, "-ISBc", code, day, version, env=env)
    add(tree, "usr/share/man/man1/rtmpump.1.gz", page)


def add_files(tree: Path, source: Path) -> None:
    """Put launcher, units and configuration into the tree."""
    add(tree, "usr/bin/rtmpump", (source / "deploy/debian/rtmpump").read_text())
    for unit in UNITS:
        text = (source / "systemd" / unit).read_text()
        add(tree, f"usr/lib/systemd/system/{unit}", text.replace(*PLACES))
    add(tree, "usr/lib/systemd/system/rtmpump-gateway.service.d/group.conf", GROUP)
    add(tree, CONFIG, (source / "config.example.toml").read_text())


def add_documents(tree: Path, source: Path, version: str) -> None:
    """Put into the tree what Debian wants of each package, and the example of the configuration."""
    folder = "usr/share/doc/rtmpump"
    lines = (source / "LICENSE").read_text().strip().splitlines()
    licence = "\n ".join(line or "." for line in lines)
    copying = (source / "deploy/debian/copyright").read_text().replace("@LICENSE@", licence)
    add(tree, f"{folder}/copyright", copying)
    changes = DEBIANS_CHANGELOG.format(
        version=version, maintainer=MAINTAINER, time=format_datetime(commit_time())
    )
    add(tree, f"{folder}/changelog.gz", changes)
    add(tree, f"{folder}/CHANGELOG.md.gz", (source / "CHANGELOG.md").read_text())
    example = (source / "config.example.toml").read_text()
    add(tree, f"{folder}/examples/config.toml", example)


def add_control(tree: Path, source: Path, target: Target) -> None:
    """Put what dpkg needs to know into the tree, as the last part."""
    files = sorted(path for path in tree.rglob("*") if path.is_file())
    sums = ((hashlib.md5(one.read_bytes()).hexdigest(), one.relative_to(tree)) for one in files)
    major, minor = target.python
    control = CONTROL.format(
        version=target.version,
        architecture=target.architecture,
        maintainer=MAINTAINER,
        kibibytes=sum(-(-one.stat().st_size // 1024) for one in files),
        python=f"{major}.{minor}",
        next_python=f"{major}.{minor + 1}",
    )
    add(tree, "DEBIAN/control", control)
    add(tree, "DEBIAN/md5sums", "".join(f"{number}  {name}\n" for number, name in sums))
    add(tree, "DEBIAN/conffiles", f"/{CONFIG}\n")
    for script in SCRIPTS:
        add(tree, f"DEBIAN/{script}", (source / "deploy/debian" / script).read_text())


def make_equal(tree: Path) -> None:
    """Give all files and folders their modes and the time of the commit."""
    epoch = int(os.environ["SOURCE_DATE_EPOCH"])
    for path in (tree, *tree.rglob("*")):
        usual = 0o755 if path.is_dir() else 0o644
        path.chmod(MODES.get(str(path.relative_to(tree)), usual))
        os.utime(path, (epoch, epoch))


def build_deb(source: Path, wheel: Path, tree: Path, out: Path) -> Path:
    """Build the Debian package from a tree that is made for it, and return it.

    Raises:
        CannotBuildError: this is no Debian, or a library was not to be had.
    """
    version = version_of(source)
    target = the_target(version)
    add_program(tree, source, wheel)
    add_what_the_program_says(tree, source, version)
    add_files(tree, source)
    add_documents(tree, source, target.version)
    add_control(tree, source, target)
    make_equal(tree)
    deb = out / f"rtmpump_{target.version}_{target.architecture}.deb"
    # With several threads the bytes depend on how many there are.
    run("dpkg-deb", "--root-owner-group", "-Zxz", "--threads-max=1", "--build", tree, deb)
    return deb


def build(out: Path) -> list[Path]:
    """Build all packages into a folder, and return them.

    Raises:
        CannotBuildError: something that they need is not there.
    """
    out.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix="rtmpump-dist-") as folder:
        scratch = Path(folder)
        source = the_source(scratch)
        version = version_of(source)
        run(sys.executable, "-m", "hatchling", "build", "-d", out, cwd=source)
        sdist, wheel = (out / f"rtmpump-{version}{end}" for end in (".tar.gz", "-py3-none-any.whl"))
        packages = [sdist, wheel, build_deb(source, wheel, scratch / "tree", out)]
    sums = [f"{hashlib.sha256(one.read_bytes()).hexdigest()}  {one.name}\n" for one in packages]
    (out / "SHA256SUMS").write_text("".join(sums))
    return packages


def main() -> None:
    """Build them, and say what there is."""
    parser = argparse.ArgumentParser(description="Build all packages of one version.")
    parser.add_argument("out", type=Path, help="the folder for them")
    try:
        packages = build(parser.parse_args().out.resolve())
    except CannotBuildError as error:
        sys.exit(f"rtmpump's packages: {error}")
    print("\n".join(os.path.relpath(one) for one in packages))


if __name__ == "__main__":
    main()
