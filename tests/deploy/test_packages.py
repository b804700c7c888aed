"""Facts about what `make dist` leaves: the same bytes each time, with all that belongs there."""

from __future__ import annotations

import gzip
import os
import platform
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import click
import pytest

from rtmpump.cli import main
from tests.support.packages import TIME, Packages, build, copy_of_the_sources
from tests.support.paths import ROOT

PROGRAM = "usr/lib/rtmpump"
MAN_PAGE = "usr/share/man/man1/rtmpump.1.gz"
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


def test_what_is_built_has_the_names_and_the_checksums_that_it_should(packages: Packages) -> None:
    """One file of each kind, for this Debian and its processor, and sha256sum is content."""
    release = platform.freedesktop_os_release()["VERSION_ID"]
    architecture = subprocess.check_output(["dpkg", "--print-architecture"], text=True).strip()
    deb = f"rtmpump_{VERSION}~deb{release}_{architecture}.deb"
    files = {f"rtmpump-{VERSION}.tar.gz", f"rtmpump-{VERSION}-py3-none-any.whl", deb}
    assert {file.name for file in packages.folder.iterdir()} == files | {"SHA256SUMS"}
    command = ["sha256sum", "--check", "--strict", "SHA256SUMS"]
    done = subprocess.run(command, cwd=packages.folder, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.count(": OK\n")) == (0, len(files)), done.stderr


def test_one_commit_gives_the_same_bytes_everywhere(packages: Packages, tmp_path: Path) -> None:
    """Another folder, time zone, language and umask change nothing, nor what is not committed."""
    sources = copy_of_the_sources(tmp_path / "in/another/place")
    out, old = tmp_path / "out", os.umask(0o077)
    try:
        done = build(
            sources, out, SOURCE_DATE_EPOCH=TIME, TZ="Asia/Tokyo", LC_ALL="C", PYTHONHASHSEED="7"
        )
    finally:
        os.umask(old)
    assert done.returncode == 0, done.stderr
    names = sorted(file.name for file in packages.folder.iterdir())
    assert sorted(file.name for file in out.iterdir()) == names
    same = [name for name in names if (out / name).read_bytes() == _bytes(packages, name)]
    assert same == names


def _bytes(packages: Packages, name: str) -> bytes:
    return (packages.folder / name).read_bytes()


def test_without_a_commit_the_time_must_be_given(tmp_path: Path) -> None:
    """Else two builds of an sdist would differ, and nobody would know of when they are."""
    (tmp_path / "deploy/debian").mkdir(parents=True)
    shutil.copy(ROOT / "deploy/debian/build.py", tmp_path / "deploy/debian")
    done = subprocess.run(
        [sys.executable, "deploy/debian/build.py", "out"],
        cwd=tmp_path,
        env={name: value for name, value in os.environ.items() if name != "SOURCE_DATE_EPOCH"},
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert done.returncode == 1
    assert done.stderr == (
        "rtmpump's packages: there is no git clone here: set SOURCE_DATE_EPOCH\n"
    )


def test_the_program_is_that_of_the_wheel_with_the_libraries_of_the_constraints(
    packages: Packages,
) -> None:
    """Byte for byte; each library has the version that is tested; no bytecode, no notes of pip."""
    inside = packages.members()
    with zipfile.ZipFile(packages.wheel) as wheel:
        ours = [name for name in wheel.namelist() if name.startswith("rtmpump/")]
        assert [one for one in ours if inside[f"{PROGRAM}/{one}"][1] != wheel.read(one)] == []
    found = {re.match(rf"{PROGRAM}/([^/]+)-([^-/]+)\.dist-info$", name) for name in inside}
    libraries = {match[1].lower(): match[2] for match in found if match}
    pinned = dict(re.findall(r"^(\S+)==(\S+)$", _constraints(), re.MULTILINE))
    assert {"msgspec", "pika", "click", "slack_sdk", "aiohttp"} < libraries.keys()
    assert libraries == {"rtmpump": VERSION} | {
        name: pinned[name] for name in libraries if name in pinned
    }
    wrong = re.compile(r"\.pyc$|__pycache__|/(RECORD|INSTALLER|direct_url\.json)$")
    assert [name for name in inside if wrong.search(name)] == []


def _constraints() -> str:
    return (ROOT / "constraints.txt").read_text().lower().replace("-client==", "_client==")


def test_no_path_of_the_machine_that_built_it_is_inside(packages: Packages) -> None:
    """Neither where the sources lay nor where pip worked."""
    base = str(packages.folder.parent).encode()
    places = (base, b"rtmpump-dist-", str(Path(sys.executable).parent).encode())
    inside = packages.members()
    assert [
        name for name, (_, content) in inside.items() if any(p in content for p in places)
    ] == []


def test_all_files_are_of_root_and_only_the_launcher_can_be_run(packages: Packages) -> None:
    """The configuration may hold secrets: it is for nobody else."""
    members = {name: one for name, (one, _) in packages.members().items()}
    assert {(one.uid, one.gid, one.mtime) for one in members.values()} == {(0, 0, int(TIME))}
    files = {name: one.mode for name, one in members.items() if one.isfile()}
    assert {name for name, mode in files.items() if mode & 0o111} == {"usr/bin/rtmpump"}
    unusual = {name: mode for name, mode in files.items() if mode not in (0o644, 0o755)}
    assert unusual == {"etc/rtmpump/config.toml": 0o640}
    assert members["etc/rtmpump"].mode == 0o755


def test_the_units_are_ours_but_for_the_place_of_the_program(packages: Packages) -> None:
    """Else what is tested of them would not hold for the package."""
    inside = packages.members()
    units = sorted(path.name for path in (ROOT / "systemd").iterdir())
    assert units == ["rtmpump-gateway.service", "rtmpump.service", "rtmpump@.service"]
    for unit in units:
        ours = (ROOT / "systemd" / unit).read_text()
        theirs = inside[f"usr/lib/systemd/system/{unit}"][1].decode()
        command = "gateway" if unit == "rtmpump-gateway.service" else "run"
        assert f"\nExecStart=/usr/bin/rtmpump {command} -c /etc/rtmpump/" in theirs
        assert theirs == ours.replace("/opt/rtmpump/bin/rtmpump", "/usr/bin/rtmpump")


def test_the_gateway_may_read_what_the_group_may(packages: Packages) -> None:
    """The package closes the configuration for all but the group; a drop-in lets the gateway in."""
    place = "usr/lib/systemd/system/rtmpump-gateway.service.d/group.conf"
    drop_in = packages.members()[place][1].decode()
    assert drop_in == "[Service]\nSupplementaryGroups=rtmpump\n"


def test_the_configuration_is_the_example(packages: Packages) -> None:
    """Under /etc, where dpkg asks before it replaces it, and among the documents."""
    example = (ROOT / "config.example.toml").read_bytes()
    inside = packages.members()
    assert inside["etc/rtmpump/config.toml"][1] == example
    assert inside["usr/share/doc/rtmpump/examples/config.toml"][1] == example


def test_it_depends_on_the_python_that_it_was_built_for(packages: Packages) -> None:
    """The libraries are compiled for one version and no other."""
    inside = packages.members()
    compiled = [name for name in inside if name.endswith(".so")]
    minors = {re.search(r"cpython-3(\d+)-", name)[1] for name in compiled}  # type: ignore[index]
    (minor,) = map(int, minors)
    depends = packages.field("Depends").split(", ")
    assert depends[:2] == [f"python3 (>= 3.{minor})", f"python3 (<< 3.{minor + 1})"]
    asked = ["/usr/bin/python3", "-c", "import sys; print(sys.version_info[1])"]
    assert subprocess.check_output(asked, text=True) == f"{minor}\n"


def test_the_man_page_has_each_command_and_groff_has_no_complaint(
    packages: Packages, tmp_path: Path
) -> None:
    """Made from the help of the program that is in the package."""
    page = gzip.decompress(packages.members()[MAN_PAGE][1]).decode()
    commands = set(main.list_commands(click.Context(main)))
    assert set(re.findall(r"^\.SS rtmpump ([a-z]+)", page, re.MULTILINE)) == commands
    if shutil.which("groff") is None:
        pytest.skip("there is no groff here: apt-get install groff-base")
    command = ["groff", "-man", "-ww", "-Tutf8", "-Kutf8", "-P-c"]
    done = subprocess.run(command, input=page, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    # Lines of an example stay as they are, and signs of the shell too.
    text = re.sub(r".\x08", "", done.stdout)
    assert "rtmpump tail --since 1h --json | jq .body.text\n" in text
    assert "\n       --connect\n" in text
