"""Facts about `rtmpump check`: what it shows, what it finds, and what Slack and RabbitMQ said."""

from __future__ import annotations

import json
import os
import socket
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from rtmpump.sandbox.slack.faults import HttpAnswer
from rtmpump.sandbox.slack.workspace import Workspace
from rtmpump.spool import Spool
from tests.conftest import StartPump
from tests.support.cli import config_file, rtmpump
from tests.support.paths import ROOT

IF_ROOT = ", if the user that runs rtmpump is its owner or in its group" * (os.geteuid() == 0)
NOBODY = "amqp://guest:pass-word@127.0.0.1:1/%2F"


def check(folder: Path, *args: str, **env: str) -> tuple[int, str, str]:
    """Run `rtmpump check` with a token; return its exit code and what it prints."""
    done = rtmpump(folder, "check", *args, env={"SLACK_API_TOKEN": "xoxb-very-secret"} | env)
    assert "very-secret" not in done.stdout + done.stderr
    assert "pass-word" not in done.stdout + done.stderr
    return done.returncode, done.stdout, done.stderr


def test_it_shows_what_differs_from_the_defaults(tmp_path: Path) -> None:
    """Of the sixty keys of the example those that were changed; the password is left out."""
    text = (ROOT / "config.example.toml").read_text()
    text = text.replace("amqp://guest:guest@localhost:5672/%2F", "amqp://me:pass-word@host/slack")
    file = tmp_path / "config.toml"
    file.write_text(text)
    file.chmod(0o600)
    code, out, errors = check(tmp_path, RTMPUMP_SLACK_PING_INTERVAL="7s")
    line = text[: text.index("amqp://me")].count("\n") + 1
    assert (code, errors) == (0, "")
    assert out.splitlines() == [
        "config.toml; what differs from the defaults:",
        "  slack.token         = ***  (SLACK_API_TOKEN)",
        "  slack.ping_interval = 7.0  (RTMPUMP_SLACK_PING_INTERVAL)",
        f"  broker.url          = amqp://me:***@host/slack  (config.toml:{line})",
        "spool rtmpump-spool.db: can be used",
        "port 127.0.0.1:9464: free",
        "the configuration is fine",
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["config.toml"]


def test_it_reports_all_mistakes_at_once(tmp_path: Path) -> None:
    """Names, values and what can't go together, in the order of the lines, then the rest."""
    (tmp_path / "config.toml").write_text(
        '[slack]\nmode = "sock"\npingg_interval = 3\n[brokr]\nurl = "amqp://h"\n'
        "[outbound]\nrate = -1\n[retry]\ninitial = 5\nmax = 2\n"
    )
    code, out, errors = check(tmp_path, RTMPUMP_LOG_LEVL="info", SLACK_API_TOKEN="'xoxb-1'")
    starts = [line.removeprefix("rtmpump: ").partition("; ")[0] for line in errors.splitlines()]
    assert (code, out) == (78, "")
    assert starts == [
        'config.toml:2: slack.mode: must be "rtm" or "socket", found \'sock\'',
        "config.toml:3: slack.pingg_interval: unknown key",
        "config.toml:4: brokr: unknown section",
        "config.toml:7: outbound.rate: must be a number above 0 and at most 100000, found -1",
        "config.toml:10: retry.max must be at least retry.initial",
        "RTMPUMP_LOG_LEVL: unknown variable",
        "SLACK_API_TOKEN: slack.token: stands in quotes",
    ]
    problems = json.loads(rtmpump(tmp_path, "check", "--json").stdout)["problems"]
    assert len(problems) == len(starts) - 1


def test_without_a_file_it_names_the_places_and_init(tmp_path: Path) -> None:
    """The first thing that a new user misses is the file, not the token."""
    done = rtmpump(tmp_path, "check")
    assert done.returncode == 78
    assert "no configuration file (config.toml and /etc/rtmpump/config.toml" in done.stderr
    assert "`rtmpump init`" in done.stderr


@pytest.mark.parametrize(
    ("token", "variable"), [("xapp-1", "SLACK_API_TOKEN"), ("xoxb-2", "SLACK_APP_TOKEN")]
)
def test_tokens_that_were_exchanged(tmp_path: Path, token: str, variable: str) -> None:
    """Each begins in its own way."""
    env = {"RTMPUMP_SLACK_MODE": "socket", "SLACK_APP_TOKEN": "xapp-1", variable: token}
    code, _, errors = check(tmp_path, **env)
    assert code == 78
    assert "so it is the other token of the app" in errors


def test_a_spool_that_run_could_not_open(tmp_path: Path) -> None:
    """A missing folder and a file of a newer version; words and exit code are those of run."""
    file = tmp_path / "spool.db"
    for path in (tmp_path / "nowhere" / "spool.db", file):
        if path is file:
            Spool.open(file, max_bytes=1 << 24, when_full="block", sync="full").close()
            with closing(sqlite3.connect(file)) as db:
                db.execute("PRAGMA user_version=99")
        env = {"RTMPUMP_SPOOL_PATH": str(path), "SLACK_API_TOKEN": "xoxb-1"}
        code, _, errors = check(tmp_path, **env)
        run = rtmpump(tmp_path, "run", env=env)
        assert (code, errors) == (run.returncode, run.stderr.splitlines()[-1] + "\n")
        assert code == 1


def test_a_port_that_another_program_has(tmp_path: Path) -> None:
    """It is found before the start, in the words of the start."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        listen = f"127.0.0.1:{other.getsockname()[1]}"
        code, _, errors = check(tmp_path, RTMPUMP_HTTP_LISTEN=listen)
    assert code == 1
    assert errors.startswith(f"rtmpump: http.listen: can't listen on {listen}: ")


def test_what_the_running_daemon_holds_is_no_mistake(tmp_path: Path, start_pump: StartPump) -> None:
    """Spool and port are in use, by the daemon of this configuration; no other may have them."""
    pump = start_pump()
    code, out, errors = check(tmp_path, "-c", str(pump.config))
    assert (code, errors) == (0, "")
    assert f"spool {pump.spool}: in use by the running rtmpump (pid {pump.pid})" in out
    with socket.create_server(("127.0.0.1", 0)) as other:
        listen = f"127.0.0.1:{other.getsockname()[1]}"
        code, _, _ = check(tmp_path, "-c", str(pump.config), RTMPUMP_HTTP_LISTEN=listen)
    assert code == 1


def test_a_spool_that_another_configuration_holds(tmp_path: Path, start_pump: StartPump) -> None:
    """It is said before the start; a link to the same configuration is the same one."""
    pump = start_pump()
    other, link = tmp_path / "other.toml", tmp_path / "link.toml"
    other.write_text(pump.config.read_text())
    link.symlink_to(pump.config)
    code, _, errors = check(tmp_path, "-c", str(other))
    assert code == 1
    assert f"another rtmpump holds it (pid {pump.pid}, with {pump.config}); " in errors
    assert check(tmp_path, "-c", str(link))[0] == 0


def test_a_spool_that_is_no_file(tmp_path: Path) -> None:
    """A pipe, a device or a folder: `check` says what `run` says, and nothing is left beside it."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path in (str(pipe), "/dev/null", str(tmp_path)):
        env = {"RTMPUMP_SPOOL_PATH": path, "SLACK_API_TOKEN": "xoxb-1"}
        code, _, errors = check(tmp_path, **env)
        run = rtmpump(tmp_path, "run", env=env)
        assert (code, errors) == (run.returncode, run.stderr.splitlines()[-1] + "\n")
        assert (
            errors == f"rtmpump: spool {path}: it is no regular file; set spool.path to another\n"
        )
    assert rtmpump(tmp_path, "spool", "info", "--path", str(pipe)).returncode == 1
    assert list(tmp_path.iterdir()) == [pipe]


def test_check_warns_of_a_secret_that_all_may_read(tmp_path: Path) -> None:
    """One line with file, mode and key, and what to do; it is no error, and --json has it too."""
    file = config_file(tmp_path, NOBODY)
    file.chmod(0o644)
    done = rtmpump(tmp_path, "check", "-c", str(file), env={"SLACK_API_TOKEN": "xoxb-1"})
    assert (done.returncode, done.stderr) == (
        0,
        f"rtmpump: warning: {file} (mode 0644): broker.url: all users may read it;"
        f" chmod o= {file}{IF_ROOT}\n",
    )
    done = rtmpump(tmp_path, "check", "--json", "-c", str(file), env={"SLACK_API_TOKEN": "xoxb-1"})
    (risk,) = json.loads(done.stdout)["risks"]
    assert (risk["key"], risk["mode"]) == ("broker.url", "0644")


def test_check_warns_of_a_rate_that_is_too_low_for_the_prefetch(tmp_path: Path) -> None:
    """RabbitMQ would end the consumer again and again; it is no error, for nothing is lost."""
    env = {"SLACK_API_TOKEN": "xoxb-1", "RTMPUMP_OUTBOUND_RATE": "0.1"}
    done = rtmpump(tmp_path, "check", env=env)
    assert (done.returncode, done.stderr) == (
        0,
        "rtmpump: warning: outbound.rate: outbound.prefetch (1,000) commands take 2h 46m, and"
        " RabbitMQ's consumer_timeout is 30m 0s; set outbound.prefetch to 180 or less, or raise"
        " consumer_timeout\n",
    )


def test_check_knows_what_slack_can_be_answered_on(tmp_path: Path) -> None:
    """An event of the Events API has no answer; in RTM nothing has."""
    env = {
        "RTMPUMP_SLACK_ANSWERED": "interactive.view_submission,message,interactive.block_actions"
    }
    code, _, errors = check(tmp_path, RTMPUMP_SLACK_MODE="socket", SLACK_APP_TOKEN="xapp-1", **env)
    told = [line.partition(", so")[0] for line in errors.splitlines()]
    assert (code, told) == (
        0,
        [
            f"rtmpump: warning: slack.answered: Slack shows no answer to {key}"
            for key in ("interactive.block_actions", "message")
        ],
    )
    code, _, errors = check(tmp_path, **env)
    assert code == 78
    assert 'slack.answered is for slack.mode = "socket"' in errors


def test_check_names_each_source_of_the_token(tmp_path: Path) -> None:
    """It is that which `run` would take: file before credential."""
    (tmp_path / "slack-token").write_text("xoxb-1\n")
    (tmp_path / "own").write_text("xoxb-2\n")
    env = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    both = env | {"RTMPUMP_SLACK_TOKEN_FILE": str(tmp_path / "own")}
    credential = rtmpump(tmp_path, "check", env=env).stdout
    assert "slack.token = ***  (credential slack-token)" in credential
    assert f"({tmp_path / 'own'})" in rtmpump(tmp_path, "check", env=both).stdout


def test_check_json_of_a_wrong_config_tells_the_problem(tmp_path: Path) -> None:
    """The object says so, and the exit code is 78."""
    done = rtmpump(tmp_path, "check", "--json")
    assert done.returncode == 78
    assert json.loads(done.stdout)["ok"] is False
    assert "there is no Slack token" in json.loads(done.stdout)["problems"][0]


def test_check_connect_says_what_slack_and_rabbitmq_said(
    tmp_path: Path, workspace: Workspace, broker_url: str
) -> None:
    """Before the first run the exchanges are not there yet, which is no fault."""
    file = config_file(tmp_path, broker_url, token=workspace.token, api_url=workspace.api_url)
    done = rtmpump(tmp_path, "check", "--connect", "-c", str(file))
    assert (done.returncode, done.stderr) == (0, "")
    assert "Slack: auth.test: the token is good" in done.stdout
    assert "Slack: rtm.connect: this token may use RTM" in done.stdout
    assert f"vhost {broker_url.rpartition('/')[2]}" in done.stdout
    assert "rtm.outbound is not there yet; `rtmpump run` declares it" in done.stdout
    assert workspace.connections == 0
    assert workspace.token not in done.stdout


def test_check_connect_json_after_a_run_finds_all(
    tmp_path: Path, start_pump: StartPump, workspace: Workspace
) -> None:
    """What `run` declared is there; machines get one object."""
    pump = start_pump()
    done = rtmpump(tmp_path, "check", "--connect", "--json", "-c", str(pump.config))
    report = json.loads(done.stdout)
    assert (done.returncode, report["ok"]) == (0, True)
    assert report["slack"]["team"] == workspace.team
    names = ("rtm.events", "rtm.outbound", "rtm.outbound.dead")
    assert report["rabbitmq"]["there"] == dict.fromkeys(names, True)
    assert workspace.token not in done.stdout


def test_check_connect_fails_where_passive_finds_nothing(
    tmp_path: Path, workspace: Workspace, broker_url: str
) -> None:
    """With declare = "passive" the queues must exist already."""
    file = config_file(tmp_path, broker_url, token=workspace.token, api_url=workspace.api_url)
    env = {"RTMPUMP_BROKER_DECLARE": "passive"}
    done = rtmpump(tmp_path, "check", "--connect", "-c", str(file), env=env)
    assert done.returncode == 1
    assert "rtmpump: RabbitMQ misses rtm.events" in done.stderr


def test_check_connect_asks_for_socket_mode(
    tmp_path: Path, workspace: Workspace, broker_url: str
) -> None:
    """Both tokens are checked, named by their source and never shown; no WebSocket is opened."""
    file = config_file(tmp_path, broker_url, token=workspace.token, api_url=workspace.api_url)
    env = {"RTMPUMP_SLACK_MODE": "socket", "SLACK_APP_TOKEN": workspace.app_token}
    done = rtmpump(tmp_path, "check", "--connect", "-c", str(file), env=env)
    assert (done.returncode, done.stderr) == (0, "")
    assert "slack.app_token = ***  (SLACK_APP_TOKEN)" in done.stdout
    assert "Slack: auth.test: the token is good" in done.stdout
    assert "Slack: apps.connections.open: the app-level token may use Socket Mode" in done.stdout
    assert workspace.connections == 0
    assert workspace.app_token not in done.stdout
    assert {call.method for call in workspace.calls} == {"auth.test", "apps.connections.open"}


def test_check_connect_is_69_where_the_broker_is_away(tmp_path: Path, workspace: Workspace) -> None:
    """Slack is still asked, and the password still hidden."""
    file = config_file(tmp_path, NOBODY, token=workspace.token, api_url=workspace.api_url)
    done = rtmpump(tmp_path, "check", "--connect", "-c", str(file))
    assert done.returncode == 69
    assert "rtmpump: RabbitMQ is not reachable: 127.0.0.1:1: connection refused" in done.stderr
    assert "Slack: rtm.connect: this token may use RTM" in done.stdout
    assert "pass-word" not in done.stdout + done.stderr


def test_check_connect_is_78_where_slack_refuses_the_token(
    tmp_path: Path, workspace: Workspace
) -> None:
    """A refused token outweighs a broker that is away: waiting does not help."""
    file = config_file(tmp_path, NOBODY, token="xoxb-wrong", api_url=workspace.api_url)
    done = rtmpump(tmp_path, "check", "--connect", "-c", str(file))
    assert done.returncode == 78
    assert "rtmpump: Slack refused the token (invalid_auth)" in done.stderr
    assert "xoxb-wrong" not in done.stdout + done.stderr


def test_check_connect_says_that_a_new_kind_of_token_has_no_rtm(
    tmp_path: Path, workspace: Workspace, broker_url: str
) -> None:
    """The method auth.test accepts such a token; only rtm.connect refuses it."""
    workspace.faults.api_errors["rtm.connect"].append("not_allowed_token_type")
    file = config_file(tmp_path, broker_url, token=workspace.token, api_url=workspace.api_url)
    done = rtmpump(tmp_path, "check", "--connect", "-c", str(file))
    assert done.returncode == 78
    assert "not_allowed_token_type" in done.stderr
    assert "classic app" in done.stderr


def test_check_connect_is_69_where_slack_is_away(
    tmp_path: Path, workspace: Workspace, broker_url: str
) -> None:
    """A server error of Slack is one to wait for."""
    workspace.faults.api_errors["auth.test"].append(HttpAnswer(503))
    file = config_file(tmp_path, broker_url, token=workspace.token, api_url=workspace.api_url)
    done = rtmpump(tmp_path, "check", "--connect", "-c", str(file))
    assert done.returncode == 69
    assert "rtmpump: Slack is not reachable: " in done.stderr
