"""Facts about `rtmpump init` and `rtmpump manifest`: from no app to a configuration that works."""

from __future__ import annotations

import os
import re
import stat
import sys
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from rtmpump.cli import main
from rtmpump.sandbox.slack.workspace import Workspace
from tests.support.cli import environment, rtmpump
from tests.support.terminal import Terminal


@pytest.fixture
def terminal(tmp_path: Path, workspace: Workspace) -> Iterator[Terminal]:
    """Give a person at a terminal who types `rtmpump init`; the simulated Slack answers."""
    env = environment(
        {"RTMPUMP_CONFIG": str(tmp_path / "c.toml"), "RTMPUMP_SLACK_API_URL": workspace.api_url}
    )
    with Terminal([sys.executable, "-m", "rtmpump", "init"], tmp_path, env) as terminal:
        yield terminal


def mode_of(path: Path) -> int:
    """Return the permissions of a file."""
    return stat.S_IMODE(path.stat().st_mode)


def test_a_person_is_led_from_the_app_to_a_checked_configuration(
    terminal: Terminal, tmp_path: Path, workspace: Workspace, broker_url: str
) -> None:
    """Mistakes are asked again; no secret is shown; the link opens Slack's page with a manifest."""
    terminal.answer("1 or 2 (1, 2) [1]: ", "")
    terminal.answer("Bot token (xoxb-…): ", workspace.app_token)
    terminal.wait("must begin with xox")
    terminal.answer("Bot token (xoxb-…): ", workspace.token)
    terminal.answer("App-level token (xapp-…): ", workspace.app_token)
    url = urllib.parse.urlsplit(broker_url)
    place = f"{url.hostname}:{url.port}{url.path}"
    terminal.answer("URL of RabbitMQ [amqp://guest:***@localhost:5672/%2F]: ", "localhost")
    terminal.wait("must be a URL that begins with amqp://")
    terminal.answer("%2F]: ", f"amqp://{url.username}@{place}")
    terminal.answer(f"Password of {url.username}: ", url.password or "")
    assert terminal.end() == 0
    shown = terminal.text
    assert not any(one in shown for one in (workspace.token, workspace.app_token))
    assert "Slack: apps.connections.open: the app-level token may use Socket Mode" in shown
    assert f"amqp://{url.username}:***@{place}" in shown
    assert f"rtmpump run -c {tmp_path}/c.toml" in shown
    (link,) = re.findall(r"manifest_yaml=(\S+)", shown)
    assert urllib.parse.unquote(link) == rtmpump(tmp_path, "manifest").stdout
    names = ("c.toml", "c.slack-token", "c.slack-app-token", "c.broker-url")
    assert {path.name: mode_of(path) for path in tmp_path.iterdir()} == dict.fromkeys(names, 0o600)
    assert "xox" not in (tmp_path / "c.toml").read_text()


def test_all_questions_are_options_too(tmp_path: Path) -> None:
    """Without a terminal, or with --yes, what is missing is named, and nothing is written."""
    env = {"RTMPUMP_CONFIG": str(tmp_path / "config.toml")}
    done = rtmpump(tmp_path, "init", env=env)
    assert (done.returncode, list(tmp_path.iterdir())) == (2, [])
    assert "There is no --token-file and no SLACK_API_TOKEN." in done.stderr
    (tmp_path / "t").write_text("xapp-1\n")
    done = rtmpump(tmp_path, "init", "--mode", "rtm", "--token-file", "t", env=env)
    assert (done.returncode, done.stderr) == (78, "rtmpump: --token-file: must begin with xox\n")
    env["SLACK_API_TOKEN"] = "xoxb-1"
    args = ("init", "--mode", "rtm", "--broker-url", "amqp://h/v", "--no-connect")
    done = rtmpump(tmp_path, *args, env=env)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "config.toml").read_text().splitlines()[1:] == [
        "",
        "[slack]",
        'mode = "rtm"',
        f'token_file = "{tmp_path}/slack-token"',
        "",
        "[broker]",
        'url = "amqp://h/v"',
    ]


def test_a_configuration_that_is_there_keeps_its_other_keys(tmp_path: Path) -> None:
    """Keys that would contradict the new ones are emptied, comments stay, and a second run too."""
    file = tmp_path / "config.toml"
    file.write_text(
        '[slack]\ntoken = "xoxb-old" # mine\n[broker]\n# the old one\nurl = "amqp://old"\n'
        "heartbeat = 20\n"
    )
    (tmp_path / "url").write_text("amqp://u:p@h\n")
    env = {"SLACK_API_TOKEN": "xoxb-1", "SLACK_APP_TOKEN": "xapp-1"}
    args = ("init", "-c", "config.toml", "--broker-url-file", "url", "--no-connect")
    for _ in range(2):
        done = rtmpump(tmp_path, *args, env=env)
        assert (done.returncode, done.stderr) == (0, "")
        assert file.read_text() == (
            f'[slack]\nmode = "socket"\ntoken = ""\ntoken_file = "{tmp_path}/slack-token"\n'
            f'app_token_file = "{tmp_path}/slack-app-token"\n[broker]\n'
            '# the old one\nurl = "amqp://guest:guest@localhost:5672/%2F"\n'
            f'url_file = "{tmp_path}/broker-url"\nheartbeat = 20\n'
        )


@pytest.mark.skipif(os.geteuid() != 0, reason="only root writes for a service")
@pytest.mark.parametrize("has_group", [False, True])
def test_for_a_service_the_secrets_are_where_its_unit_looks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_group: bool
) -> None:
    """As credentials of root's; with the package's user as files that this user may read."""
    etc = tmp_path / "etc"
    monkeypatch.setattr("rtmpump.cli.init._ETC", etc / "config.toml")
    monkeypatch.setattr("rtmpump.cli.init._GROUP", "daemon" if has_group else "no-such-group")
    monkeypatch.setattr("rtmpump.log.setup", lambda *_: None)
    env = {"SLACK_API_TOKEN": "xoxb-1", "SLACK_APP_TOKEN": "xapp-1"}
    args = ["init", "--yes", "--no-connect", "--broker-url", "amqp://u:p@h"]
    done = CliRunner().invoke(main, args, env=environment(env))
    assert done.exit_code == 0, done.output
    assert "systemctl enable --now rtmpump " in done.output
    modes = {path.name: mode_of(path) for path in etc.iterdir()}
    wanted = 0o640 if has_group else 0o600
    names = ("slack-token", "slack-app-token", "broker-url")
    assert modes == dict.fromkeys(names, wanted) | {"config.toml": 0o640 if has_group else 0o644}
    assert mode_of(etc) == 0o755
    text = (etc / "config.toml").read_text()
    assert ("token_file" in text, "url_file" in text) == (has_group, has_group)
    assert "xox" not in text


@pytest.mark.skipif(os.geteuid() != 0, reason="only root writes for a service")
def test_an_instance_can_read_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its user is another one than the package's, so the unit hands the secrets over."""
    etc = tmp_path / "etc"
    monkeypatch.setattr("rtmpump.cli.init._ETC", etc / "config.toml")
    monkeypatch.setattr("rtmpump.cli.init._GROUP", "daemon")
    monkeypatch.setattr("rtmpump.log.setup", lambda *_: None)
    args = ["init", "--yes", "--no-connect", "--mode", "rtm", "-c", str(etc / "acme.toml")]
    done = CliRunner().invoke(main, args, env=environment({"SLACK_API_TOKEN": "xoxb-1"}))
    assert done.exit_code == 0, done.output
    modes = {path.name: mode_of(path) for path in etc.iterdir()}
    assert modes == {"acme.toml": 0o644, "acme.slack-token": 0o600}
    assert "token_file" not in (etc / "acme.toml").read_text()
    assert "systemctl enable --now rtmpump@acme " in done.output
    assert "broker.url  = amqp://guest:***@localhost:5672/%2F  (default)" in done.output
    assert "spool " not in done.output


@pytest.mark.skipif(os.geteuid() != 0, reason="only root writes for a service")
def test_a_folder_that_the_service_cannot_enter_gets_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The daemon would find no configuration there."""
    etc = tmp_path / "etc"
    etc.mkdir(0o700)
    monkeypatch.setattr("rtmpump.cli.init._ETC", etc / "config.toml")
    monkeypatch.setattr("rtmpump.cli.init._GROUP", "no-such-group")
    env = {"SLACK_API_TOKEN": "xoxb-1", "SLACK_APP_TOKEN": "xapp-1"}
    done = CliRunner().invoke(main, ["init", "--yes", "--no-connect"], env=environment(env))
    assert done.exit_code == 1
    assert done.output.endswith(f"run `chmod 0755 {etc}` first\n")
    assert not [*etc.iterdir()]


@pytest.mark.parametrize(
    ("args", "events", "scopes"),
    [
        (["--events", "message"], 4, {"channels", "groups", "im", "mpim"}),
        (["--events", "app_mention,app_home_opened"], 2, {"app_mentions"}),
    ],
)
def test_a_manifest_has_the_least_scopes(
    tmp_path: Path, args: list[str], events: int, scopes: set[str]
) -> None:
    """Those of its events, to send, and to find a channel by its name."""
    command = ["--command", "/deploy", "--name", "Yes: it's"]
    found = yaml.safe_load(rtmpump(tmp_path, "manifest", *args, *command).stdout)
    assert len(found["settings"]["event_subscriptions"]["bot_events"]) == events
    granted = {scope.partition(":")[0] for scope in found["oauth_config"]["scopes"]["bot"]}
    assert granted == scopes | {"chat", "channels", "groups", "commands"}
    assert found["display_information"]["name"] == "Yes: it's"
    assert found["features"]["slash_commands"][0]["command"] == "/deploy"


@pytest.mark.parametrize("word", ["no", "123", "-", "null"])
def test_a_command_that_yaml_could_take_for_something_else(tmp_path: Path, word: str) -> None:
    """Its description is a text all the same."""
    done = rtmpump(tmp_path, "manifest", "--command", f"/{word}")
    (command,) = yaml.safe_load(done.stdout)["features"]["slash_commands"]
    assert (command["command"], command["description"]) == (f"/{word}", word)


@pytest.mark.parametrize(
    ("args", "problem"),
    [
        (["--events", ""], "there must be at least one event, such as app_mention"),
        (["--events", "user_typing"], "'user_typing' is no event that an app can subscribe to"),
        (["--events", "reaction_add"], "did you mean reaction_added?"),
        (["--command", "deploy"], "'deploy' must be / and up to 31 of"),
        (["--name", "x" * 36], "the name of an app has 1 to 35 characters"),
    ],
)
def test_a_manifest_that_slack_would_refuse(tmp_path: Path, args: list[str], problem: str) -> None:
    """It is wrong usage, and says what is right."""
    done = rtmpump(tmp_path, "manifest", *args)
    assert done.returncode == 2
    assert problem in done.stderr


WRONG = {
    "[slack\n": "can't read",
    "slack = 3\n": "slack: must be a table",
    "[brokr]\n": "config.toml:1: brokr: unknown section",
    "[broker]\nheartbeat = -1\n": "config.toml:2: broker.heartbeat: must be",
    "log = { level = 'info' }\nslack = { mode = 'rtm' }\n": "can't be set by one line",
}


@pytest.mark.parametrize("text", WRONG)
def test_nothing_changes_where_it_can_not_succeed(tmp_path: Path, text: str) -> None:
    """Neither the secrets of before nor the file that is wrong."""
    before = {"config.toml": text, "slack-token": "xoxb-old\n", "broker-url": "amqp://u:p@h\n"}
    for name, content in before.items():
        (tmp_path / name).write_text(content)
    args = ("init", "--yes", "-c", "config.toml", "--no-connect", "--broker-url", "amqp://h")
    env = {"SLACK_API_TOKEN": "xoxb-1", "SLACK_APP_TOKEN": "xapp-1"}
    done = rtmpump(tmp_path, *args, env=env)
    assert WRONG[text] in done.stderr
    assert "Traceback" not in done.stderr
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == before


def test_a_broker_that_is_not_given_stays(tmp_path: Path) -> None:
    """With its password and all of its nodes; a new one takes the place of all."""
    (tmp_path / "urls").write_text("amqp://u:p@a\namqp://u:p@b\n")
    file = tmp_path / "config.toml"
    file.write_bytes("\ufeff# \u2028\r\n[broker]\r\nurls = [\r\n 'amqp://x'\r\n]\r\n".encode())
    env = {"SLACK_API_TOKEN": "xoxb-1"}
    args = ("init", "--yes", "--mode", "rtm", "-c", "config.toml", "--no-connect")
    for more in (["--broker-url-file", "urls"], []):
        done = rtmpump(tmp_path, *args, *more, env=env)
        assert (done.returncode, done.stderr) == (0, "")
        assert (tmp_path / "broker-url").read_text() == "amqp://u:p@a\namqp://u:p@b\n"
        assert "broker.url       = ['amqp://u:***@a', 'amqp://u:***@b']" in done.stdout
    assert file.read_bytes().startswith("# \u2028\r\n[broker]\r\n".encode())
    assert b"amqp" not in file.read_bytes()


def test_files_keep_owner_and_mode_and_links_stay(tmp_path: Path) -> None:
    """As a person set them up, perhaps in a repository of their own."""
    real = tmp_path / "real.toml"
    real.write_text("[log]\n")
    real.chmod(0o640)
    owner = (4242, 4243) if os.geteuid() == 0 else (os.geteuid(), os.getegid())
    os.chown(real, *owner)
    (tmp_path / "config.toml").symlink_to("real.toml")
    args = ("init", "--yes", "--mode", "rtm", "-c", "config.toml", "--no-connect")
    done = rtmpump(tmp_path, *args, env={"SLACK_API_TOKEN": "xoxb-1"})
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "config.toml").is_symlink()
    status = real.stat()
    assert (status.st_uid, status.st_gid, mode_of(real)) == (*owner, 0o640)
    assert 'mode = "rtm"' in real.read_text() or "token_file" in real.read_text()


@pytest.fixture
def etc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the folder that stands for /etc/rtmpump, on a machine without the package's user."""
    etc = tmp_path / "etc"
    monkeypatch.setattr("rtmpump.cli.init._ETC", etc / "config.toml")
    monkeypatch.setattr("rtmpump.cli.init._GROUP", "no-such-group")
    monkeypatch.setattr("rtmpump.log.setup", lambda *_: None)
    return etc


@pytest.mark.skipif(os.geteuid() != 0, reason="only root writes for a service")
def test_a_secret_in_the_configuration_of_a_service_is_opened_to_nobody(etc: Path) -> None:
    """What `init` can move it moves; with the rest it says what to do, and changes nothing."""
    etc.mkdir()
    file = etc / "config.toml"
    file.touch(0o600)
    file.write_text('[slack]\nproxy = "http://me:pass-word@proxy:1"\n')
    args = ["init", "--yes", "--mode", "rtm", "--no-connect"]
    env = environment({"SLACK_API_TOKEN": "xoxb-1"})
    done = CliRunner().invoke(main, args, env=env)
    assert done.exit_code == 78
    assert f"{file}: slack.proxy: holds a secret, and" in done.output
    assert ([path.name for path in etc.iterdir()], mode_of(file)) == (["config.toml"], 0o600)
    file.write_text('[broker]\nurls = ["amqp://u:pass-word@a", "amqp://u:pass-word@b"]\n')
    done = CliRunner().invoke(main, args, env=env)
    assert done.exit_code == 0, done.output
    assert (mode_of(file), "pass-word" in file.read_text()) == (0o644, False)
    assert (etc / "broker-url").read_text().count("pass-word") == 2
    done = CliRunner().invoke(main, args, env=env)
    assert "(credential broker-url)" in done.output
    assert (etc / "broker-url").read_text().count("pass-word") == 2


@pytest.mark.skipif(os.geteuid() != 0, reason="only root writes for a service")
def test_what_a_service_has_is_checked_and_named(etc: Path) -> None:
    """Not the environment of who asks; the next steps are those of the unit."""
    args = ["init", "--yes", "--mode", "rtm", "--no-connect", "-c", str(etc / "acme.toml")]
    strange = {"RTMPUMP_BROKER_URL": "amqp://of-the-shell", "SLACK_API_TOKEN": "xoxb-1"}
    before = os.umask(0o077)
    try:
        done = CliRunner().invoke(main, args, env=environment(strange))
    finally:
        os.umask(before)
    assert done.exit_code == 0, done.output
    assert mode_of(etc) == 0o755
    assert "of-the-shell" not in done.output
    assert "  rtmpump tail --unit rtmpump@acme\n" in done.output
    (etc / "acme.toml").write_text('[broker]\nurl = "amqp://127.0.0.1:1"\n')
    args.remove("--no-connect")
    (etc / "acme.toml").write_text('[slack]\napi_url = "http://127.0.0.1:1/"\n')
    done = CliRunner().invoke(main, args, env=environment(strange))
    assert "  rtmpump check --connect --unit rtmpump@acme\n" in done.output


def test_nothing_half_written_is_left(tmp_path: Path) -> None:
    """Where a file can't be written the others of its folder are whole, and the words say which."""
    env = {"SLACK_API_TOKEN": "xoxb-1"}
    (tmp_path / "slack-token").mkdir()
    done = rtmpump(tmp_path, "init", "--mode", "rtm", "-c", "config.toml", env=env)
    assert done.returncode == 1
    assert done.stderr == f"rtmpump: can't write {tmp_path}/slack-token: Is a directory\n"
    assert [path.name for path in tmp_path.iterdir()] == ["slack-token"]
