"""Facts about `rtmpump check --unit rtmpump-gateway`, where `systemctl` is a stand-in."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.cli.conftest import Install, run, secret

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root may become the unit's user")

UNIT = "rtmpump-gateway.service"
TOKEN = "Gateway-Token-0123456789abcdef"
PORTS = '[http]\nlisten = "127.0.0.1:0"\n[gateway]\nlisten = "127.0.0.1:0"\n'


def config(etc: Path, text: str) -> None:
    """Write a configuration that every user may read."""
    (etc / "config.toml").write_text(PORTS + text)
    (etc / "config.toml").chmod(0o644)


def test_it_checks_what_the_gateway_needs(tmp_path: Path, etc: Path, install: Install) -> None:
    """No token of Slack, no spool; the tokens of programs are files of one folder."""
    config(etc, "[gateway.clients.helpdesk]\n")
    (etc / "gateway").mkdir(mode=0o700)
    secret(etc / "gateway" / "helpdesk", f"xoxb-{TOKEN}")
    secret(etc / "gateway" / ".helpdesk.swp", "no token")
    secret(etc / "broker-url", "amqp://rtm-gateway:pass-word@127.0.0.1:1/slack")
    done = run(tmp_path, install(UNIT), "check", "--unit", "rtmpump-gateway")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        f"{etc}/config.toml, as rtmpump-gateway.service runs it; what differs from the defaults:",
        "  broker.url                     = amqp://rtm-gateway:***@127.0.0.1:1/slack  "
        "(credential broker-url)",
        f"  http.listen                    = 127.0.0.1:0  ({etc}/config.toml:2)",
        f"  gateway.listen                 = 127.0.0.1:0  ({etc}/config.toml:4)",
        "  gateway.clients.helpdesk.token = ***  (credential gateway_helpdesk)",
        "port 127.0.0.1:0 of the gateway: free",
        "the configuration is fine",
    ]


def test_a_missing_token_is_named(tmp_path: Path, etc: Path, install: Install) -> None:
    """The folder may be missing, or lack the file: the unit starts, and the program says it."""
    config(etc, "[gateway.clients.helpdesk]\n")
    bin = install(UNIT)
    fix = "set token or token_file, or hand over the systemd credential gateway_helpdesk"
    wanted = f"rtmpump: {etc}/config.toml:5: gateway.clients.helpdesk: has no token; {fix}\n"
    for _ in range(2):
        done = run(tmp_path, bin, "check", "--unit", "rtmpump-gateway")
        assert (done.returncode, done.stderr) == (78, wanted)
        (etc / "gateway").mkdir(exist_ok=True)


def test_a_token_file_is_read_as_the_user_of_the_unit(
    tmp_path: Path, etc: Path, install: Install
) -> None:
    """One that root alone may read is named: a reload could not read it."""
    secret(etc / "bot-token", TOKEN)
    config(etc, f'[gateway.clients.bot]\ntoken_file = "{etc}/bot-token"\n')
    done = run(tmp_path, install(UNIT), "check", "--unit", "rtmpump-gateway")
    assert done.returncode == 78
    key = "gateway.clients.bot.token_file"
    problem = f"the user of {UNIT} can't read {etc}/bot-token: permission denied"
    assert done.stderr == f"rtmpump: {key}: {problem}\n"


def test_the_pumps_unit_needs_none_of_it(tmp_path: Path, etc: Path, install: Install) -> None:
    """The daemon runs, and is checked, where no token of a program is."""
    config(etc, f'[gateway.clients.bot]\ntoken_file = "{etc}/nowhere"\n')
    secret(etc / "slack-token", "xoxb-1")
    done = run(tmp_path, install(), "check", "--unit", "rtmpump")
    assert (done.returncode, done.stderr) == (0, "")
    assert "of the gateway" not in done.stdout


def test_it_asks_rabbitmq_alone(tmp_path: Path, etc: Path, install: Install) -> None:
    """With --connect: there is no token to ask Slack with."""
    config(etc, f'[gateway.clients.bot]\ntoken = "{TOKEN}"\n')
    secret(etc / "broker-url", "amqp://rtm-gateway:pass-word@127.0.0.1:1/slack")
    done = run(tmp_path, install(UNIT), "check", "--connect", "--unit", "rtmpump-gateway")
    assert done.returncode == 69
    assert "Slack" not in done.stdout + done.stderr
    assert "RabbitMQ is not reachable: 127.0.0.1:1" in done.stderr


def test_a_gateway_without_programs_would_not_start(
    tmp_path: Path, etc: Path, install: Install
) -> None:
    """So its unit is not fine."""
    config(etc, "")
    secret(etc / "broker-url", "amqp://rtm-gateway:pass-word@127.0.0.1:1/slack")
    done = run(tmp_path, install(UNIT), "check", "--unit", "rtmpump-gateway")
    told = "gateway: no program is configured; add a table [gateway.clients.NAME] with a token"
    assert (done.returncode, done.stderr) == (78, f"rtmpump: {etc}/config.toml: {told}\n")


def test_a_token_in_the_place_of_its_file_is_not_shown(
    tmp_path: Path, etc: Path, install: Install
) -> None:
    """The pump's unit does not read it, and shows only what surely is a file."""
    config(etc, f'[gateway.clients.bot]\ntoken_file = "{TOKEN}"\n')
    secret(etc / "slack-token", "xoxb-1")
    done = run(tmp_path, install(), "check", "--unit", "rtmpump")
    assert done.returncode == 0
    assert "gateway.clients.bot.token_file = ***" in done.stdout
    assert TOKEN not in done.stdout + done.stderr
