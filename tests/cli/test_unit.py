"""Facts about `--unit NAME`: a command takes what the systemd unit takes.

`systemctl` is a stand-in that prints our own unit files, as `systemctl cat` would: nothing here may
talk to a systemd.
"""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

import pytest

from tests.cli.conftest import Install, run, secret
from tests.support.broker import Broker
from tests.support.cli import Running, rtmpump
from tests.support.waiting import wait_until

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may become the unit's user")


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


@as_root
def test_no_copy_of_a_secret_is_on_the_disk(
    tmp_path: Path, etc: Path, install: Install, broker_url: str, broker: Broker
) -> None:
    """Not while the command waits, and not after a signal; tokens that it needs not aren't read."""
    config(etc, "")
    secret(etc / "broker-url", broker_url)
    (etc / "slack-token").mkdir()
    broker.queue(name="rtm.outbound")
    private = tmp_path / "private"
    private.mkdir(0o700)
    path = f"{install()}:{os.environ['PATH']}"
    args = ("send", "--unit", "rtmpump", "general", "hello")
    with Running(tmp_path, *args, env={"PATH": path, "TMPDIR": str(private)}) as asker:
        wait_until(lambda: broker.count("rtm.outbound") == 1, what="the command")
        assert list(private.iterdir()) == []
        asker.process.terminate()
        asker.wait()
    assert list(private.iterdir()) == []


@as_root
def test_check_sees_what_the_unit_would_stumble_over(
    tmp_path: Path, etc: Path, install: Install
) -> None:
    """A port that root may have, a file in a home that the service has not, another's folder."""
    if int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text()) <= 99:
        pytest.skip("every user may have every port here")
    (tmp_path / "config.toml").write_text("no TOML")
    (etc / "w").mkdir()
    config(etc / "w", "")
    secret(etc / "slack-token", "xoxb-1")
    drop_in = (
        f"[Service]\nWorkingDirectory={etc}/w\nExecStart=\nExecStart=/x/rtmpump run\n"
        "Environment=RTMPUMP_HTTP_LISTEN=127.0.0.1:99 RTMPUMP_SPOOL_PATH=/home/me/s.db\n"
    )
    bin = install("rtmpump.service", drop_in)
    env = {"RTMPUMP_HTTP_LISTEN": "", "TMPDIR": str(tmp_path)}
    done = run(tmp_path, bin, "check", "--unit", "rtmpump", env=env)
    assert done.returncode == 1
    assert done.stdout.startswith(f"{etc}/w/config.toml, as rtmpump.service runs it")
    assert "can't listen on 127.0.0.1:99: Permission denied" in done.stderr
    assert "spool /home/me/s.db: ProtectHome=yes hides it from the unit" in done.stderr
    cat = tmp_path / "unit.txt"
    with tempfile.NamedTemporaryFile("w", dir="/tmp") as token:
        token.write("xoxb-1")
        token.flush()
        cat.write_text(f"{cat.read_text()}Environment=RTMPUMP_SLACK_TOKEN_FILE={token.name}\n")
        done = run(tmp_path, bin, "check", "--unit", "rtmpump", env=env)
    assert done.returncode == 78
    assert f"can't read {token.name}: PrivateTmp=yes hides it; move it, or" in done.stderr


@as_root
def test_check_takes_what_systemd_takes(tmp_path: Path, etc: Path, install: Install) -> None:
    """Groups, a relative file, `--config=`, variables, a credential that systemd-creds decrypts."""
    (etc / "w").mkdir()
    config(etc / "w", '[slack]\nmode = "socket"\ntoken_file = "token"', "a.toml")
    secret(etc / "w/token", "xoxb-1")
    os.chown(etc / "w/token", 0, 4242)
    (etc / "w/token").chmod(0o640)
    (etc / "vars").write_bytes(b'NAME=a.toml # no comment\nRTMPUMP_SLACK_ANSWERED=["a", "b"]\n')
    drop_in = (
        f"[Service]\nWorkingDirectory={etc}/w\nSupplementaryGroups=4242\nExecStart=\n"
        "ExecStart=/x/rtmpump run \\\n# a comment\n  --config=${FILE}\nEnvironment=FILE=a.toml\n"
        f"EnvironmentFile={etc}/vars\nLoadCredentialEncrypted=slack-app-token:{etc}/sealed\n"
    )
    (etc / "sealed").write_text("sealed")
    bin = install("rtmpump.service", drop_in)
    (bin / "systemd-creds").write_text("#!/bin/sh\necho no key for $4 >&2; exit 1\n")
    (bin / "systemd-creds").chmod(0o755)
    done = run(tmp_path, bin, "check", "--unit", "rtmpump")
    assert (done.returncode, done.stderr) == (
        1,
        "rtmpump: --unit rtmpump.service: its credential slack-app-token is encrypted, and can't"
        f" be read here: systemd-creds decrypt: no key for {etc}/sealed\n",
    )
    (bin / "systemd-creds").write_text("#!/bin/sh\necho xapp-1\n")
    done = run(tmp_path, bin, "check", "--json", "--unit", "rtmpump")
    assert (done.returncode, json.loads(done.stdout)["problems"]) == (0, [])
    assert json.loads(done.stdout)["values"]["slack.answered"]["value"] == ["a", "b"]
    (etc / "vars").write_bytes(b"A=\xff\n")
    done = run(tmp_path, bin, "check", "--unit", "rtmpump")
    assert "vars is not UTF-8 text, which systemd refuses" in done.stderr


@as_root
def test_spool_looks_where_the_unit_has_it(tmp_path: Path, etc: Path, install: Install) -> None:
    """A relative path begins at WorkingDirectory=, not where the person is."""
    config(etc, '[spool]\npath = "s.db"')
    bin = install("rtmpump.service", f"[Service]\nWorkingDirectory={etc}\n")
    done = run(tmp_path, bin, "spool", "info", "--unit", "rtmpump")
    assert f"spool {etc}/s.db: there is no such file" in done.stderr
