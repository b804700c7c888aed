"""Facts about `--unit NAME`: a command takes what the systemd unit takes.

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
from tests.support.pump import Broker

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may become the unit's user")

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
        cat.write_text("\n".join([f"# /etc/systemd/system/{unit}", text, *drop_ins]))
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


def config(etc: Path, text: str, name: str = "config.toml") -> None:
    """Write a configuration that every user may read, with a port that is free."""
    (etc / name).write_text(f'{text}\n[http]\nlisten = "127.0.0.1:0"\n')
    (etc / name).chmod(0o644)


@as_root
def test_check_takes_what_the_unit_takes(tmp_path: Path, etc: Path, install: Install) -> None:
    """Its credentials, and nothing of the environment of who asks; a bare check has no token."""
    config(etc, '[slack]\nmode = "socket"')
    secret(etc / "slack-token", "xoxb-of-the-unit")
    secret(etc / "slack-app-token", "xapp-of-the-unit")
    secret(etc / "broker-url", "amqp://rtm-pump:pass-word@127.0.0.1:1/slack")
    bin = install()
    strange = {"RTMPUMP_SLACK_MODE": "rtm", "SLACK_API_TOKEN": "xoxb-of-a-person"}
    done = run(tmp_path, bin, "check", "--unit", "rtmpump", env=strange)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        f"{etc}/config.toml, as rtmpump.service runs it; what differs from the defaults:",
        f"  slack.mode      = socket  ({etc}/config.toml:2)",
        "  slack.token     = ***  (credential slack-token)",
        "  slack.app_token = ***  (credential slack-app-token)",
        "  broker.url      = amqp://rtm-pump:***@127.0.0.1:1/slack  (credential broker-url)",
        f"  http.listen     = 127.0.0.1:0  ({etc}/config.toml:4)",
        "spool /var/lib/rtmpump/spool.db: can be used",
        "port 127.0.0.1:0: free",
        "the configuration is fine",
    ]
    assert rtmpump(tmp_path, "check", "-c", str(etc / "config.toml")).returncode == 78


@as_root
def test_check_reads_as_the_user_of_the_unit(tmp_path: Path, etc: Path, install: Install) -> None:
    """A configuration that was closed for all but root keeps the unit down, and check says so."""
    config(etc, "")
    (etc / "config.toml").chmod(0o640)
    secret(etc / "slack-token", "xoxb-1")
    done = run(tmp_path, install(), "check", "--unit", "rtmpump")
    assert done.returncode == 78
    problem = f"the user of rtmpump.service can't read {etc}/config.toml: permission denied"
    assert done.stderr == f"rtmpump: {problem}\n"


@as_root
def test_a_missing_secret_is_named_and_keeps_nothing_else_down(
    tmp_path: Path, etc: Path, install: Install
) -> None:
    """The unit gives a blank in its place; a token in the configuration counts then."""
    bin = install()
    config(etc, "")
    done = run(tmp_path, bin, "check", "--unit", "rtmpump")
    assert done.returncode == 78
    assert "the credential slack-token is blank (the unit's file for it is missing" in done.stderr
    config(etc, '[slack]\ntoken = "xoxb-1"')
    assert run(tmp_path, bin, "check", "--unit", "rtmpump").returncode == 0


@as_root
def test_an_instance_and_its_drop_in(tmp_path: Path, etc: Path, install: Install) -> None:
    """The instance's files count, and what a drop-in adds or resets."""
    config(etc, "", "acme.toml")
    secret(etc / "acme.slack-token", "xoxb-1")
    (etc / "vars").write_text("# of the drop-in\nRTMPUMP_OUTBOUND_RATE='2'\n")
    drop_in = (
        "[Service]\nEnvironment=RTMPUMP_LOG_LEVEL=debug\nEnvironment=\n"
        'Environment="RTMPUMP_LOG_LEVEL=warning" RTMPUMP_SPOOL_PATH=/srv/%i.db\n'
        f"EnvironmentFile=-{etc}/missing\nEnvironmentFile={etc}/vars\n[Other]\nEnvironment=A=b\n"
    )
    done = run(tmp_path, install("rtmpump@.service", drop_in), "check", "--unit", "rtmpump@acme")
    assert done.returncode == 1
    assert "log.level     = warning  (RTMPUMP_LOG_LEVEL)" in done.stdout
    assert "outbound.rate = 2.0  (RTMPUMP_OUTBOUND_RATE)" in done.stdout
    assert done.stderr == (
        "rtmpump: spool /srv/acme.db: the unit may write to /var/lib/rtmpump-acme only; "
        "add ReadWritePaths= to it or set spool.path\n"
    )


def test_a_unit_that_is_not_there(tmp_path: Path, install: Install) -> None:
    """The words of systemctl are passed on; without systemctl that is said."""
    done = run(tmp_path, install(), "status", "--unit", "rtmpmup")
    assert (done.returncode, done.stderr) == (
        1,
        "rtmpump: --unit rtmpmup.service: systemctl cat failed: "
        "No files found for rtmpmup.service.\n",
    )
    done = rtmpump(tmp_path, "status", "--unit", "rtmpump", env={"PATH": str(tmp_path)})
    assert done.stderr == "rtmpump: --unit needs systemd, and there is no systemctl here\n"


@as_root
def test_send_finds_the_broker_of_the_unit(
    tmp_path: Path, etc: Path, install: Install, broker_url: str, broker: Broker
) -> None:
    """Not that of the defaults: the command is queued where the unit looks for it."""
    config(etc, "")
    secret(etc / "broker-url", broker_url)
    broker.queue(name="rtm.outbound")
    done = run(tmp_path, install(), "send", "--unit", "rtmpump", "--no-wait", "general", "hello")
    assert (done.returncode, done.stderr) == (0, "")
    assert broker.get("rtm.outbound").json["text"] == "hello"
