"""What `rtmpump.config` promises: defaults, the file, the environment, what can't go together."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from rtmpump import config
from rtmpump.config import Config, Secret
from rtmpump.config.sections import kinds
from rtmpump.errors import ConfigError
from tests.support.config import ENV, EXAMPLE, TOKEN, at, error_text, load
from tests.support.paths import ROOT

# Every key and its default, as users are told; `token` is what ENV gives.
DEFAULTS: dict[str, dict[str, Any]] = {
    "slack": {
        "mode": "rtm",
        "token": Secret(TOKEN),
        "token_file": "",
        "app_token": Secret(""),
        "app_token_file": "",
        "connections": 2,
        "slash_answer": "",
        "answered": frozenset(),
        "answer_within": 2.5,
        "api_url": "https://slack.com/api/",
        "ping_interval": 15.0,
        "ping_timeout": 10.0,
        "hello_timeout": 15.0,
        "proxy": Secret(""),
        "ca_file": "",
        "batch_presence_aware": True,
        "insecure": False,
    },
    "broker": {
        "url": Secret("amqp://guest:guest@localhost:5672/%2F"),
        "urls": (Secret("amqp://guest:guest@localhost:5672/%2F"),),
        "url_file": "",
        "heartbeat": 15,
        "ca_file": "",
        "client_cert": "",
        "client_key": "",
        "auth": "plain",
        "declare": "active",
    },
    "events": {
        "exchange": "rtm.events",
        "type_exchange": "rtm.{type}",
        "unrouted": "rtm.unrouted",
        "ignore": frozenset(),
        "stream": "",
        "stream_max_age": "7D",
        "confirm_window": 1024,
        "backfill": False,
        "backfill_threads": 86_400.0,
    },
    "outbound": {
        "queue": "rtm.outbound",
        "dead_queue": "rtm.outbound.dead",
        "rate": 1.0,
        "burst": 3,
        "prefetch": 1000,
        "reply_timeout": 10.0,
        "max_attempts": 5,
        "on_uncertain": "resend",
        "api_methods": frozenset(),
        "api_rate": 0.8,
    },
    "spool": {
        "path": Path("rtmpump-spool.db"),
        "max_bytes": 1024 * 1024 * 1024,
        "when_full": "block",
        "sync": "full",
    },
    "retry": {"initial": 0.5, "max": 60.0, "jitter": "full", "healthy_after": 30.0},
    "ha": {"enabled": False, "lock": "rtmpump.lock"},
    "http": {"listen": "127.0.0.1:9464"},
    "gateway": {
        "listen": "127.0.0.1:9465",
        "public_url": "",
        "tls_cert": "",
        "tls_key": "",
    },
    "log": {"level": "info", "format": "auto"},
}

# One other good value for each key: as TOML, as environment text, as it is then in the Config.
OTHERS: dict[str, tuple[str, str, Any]] = {
    "slack.token": ('"xoxb-2"', "xoxb-2", Secret("xoxb-2")),
    "slack.token_file": ('"/run/token"', "/run/token", "/run/token"),
    "slack.app_token": ('"xapp-2"', "xapp-2", Secret("xapp-2")),
    "slack.app_token_file": ('"/run/app"', "/run/app", "/run/app"),
    "slack.connections": ("10", "10", 10),
    "slack.slash_answer": ('"Moment"', "Moment", "Moment"),
    "slack.answer_within": ('"2s"', "2", 2.0),
    "slack.api_url": ('"http://127.0.0.1:99/api"', "http://127.0.0.1:99/api", None),
    "slack.ping_interval": ('"2m"', "2m", 120.0),
    "slack.ping_timeout": ("3", "3", 3.0),
    "slack.hello_timeout": ("2.5", "2.5", 2.5),
    "slack.proxy": ('"http://p:3128"', "http://p:3128", Secret("http://p:3128")),
    "slack.ca_file": (f'"{__file__}"', __file__, __file__),
    "slack.batch_presence_aware": ("false", "False", False),
    "slack.insecure": ("true", "TRUE", True),
    "broker.url": ('"amqps://b"', "amqps://b", Secret("amqps://b")),
    "broker.urls": (
        '["amqp://b", "amqp://c"]',
        "amqp://b, amqp://c",
        (Secret("amqp://b"), Secret("amqp://c")),
    ),
    "broker.heartbeat": ('"1m"', "60", 60),
    "broker.declare": ('"passive"', "passive", "passive"),
    "events.exchange": ('"e"', "e", "e"),
    "events.type_exchange": ('"x.{type}.y"', "x.{type}.y", "x.{type}.y"),
    "events.unrouted": ('""', "", ""),
    "events.ignore": (
        '["user_typing", "message.channel_join"]',
        "user_typing,message.channel_join",
        frozenset({"user_typing", "message.channel_join"}),
    ),
    "events.stream": ('"s"', "s", "s"),
    "events.stream_max_age": ('"12h"', "12h", "12h"),
    "events.confirm_window": ("1", "1", 1),
    "events.backfill": ("true", "TRUE", True),
    "events.backfill_threads": ('"72h"', "72h", 259_200.0),
    "outbound.queue": ('"q"', "q", "q"),
    "outbound.dead_queue": ('"d"', "d", "d"),
    "outbound.rate": ("0.5", "0.5", 0.5),
    "outbound.burst": ("9", "9", 9),
    "outbound.prefetch": ("65535", "65535", 65_535),
    "outbound.reply_timeout": ('"500ms"', "500ms", 0.5),
    "outbound.max_attempts": ("1", "1", 1),
    "outbound.on_uncertain": ('"dead-letter"', "dead-letter", "dead-letter"),
    "outbound.api_methods": (
        '["reactions.add", "chat.postMessage"]',
        "reactions.add,chat.postMessage",
        frozenset({"reactions.add", "chat.postMessage"}),
    ),
    "outbound.api_rate": ("2", "2", 2.0),
    "spool.path": ('"/var/x.db"', "/var/x.db", Path("/var/x.db")),
    "spool.max_bytes": ('"16MiB"', "16777216", 16 * 1024 * 1024),
    "spool.when_full": ('"drop_oldest"', "drop_oldest", "drop_oldest"),
    "spool.sync": ('"normal"', "normal", "normal"),
    "retry.initial": ("1", "1", 1.0),
    "retry.max": ('"1h"', "1h", 3600.0),
    "retry.jitter": ('"none"', "none", "none"),
    "retry.healthy_after": ("0.1", "0.1", 0.1),
    "ha.enabled": ("true", "true", True),
    "ha.lock": ('"l"', "l", "l"),
    "http.listen": ('""', "", ""),
    "gateway.listen": ('"[::1]:9"', "[::1]:9", "[::1]:9"),
    "gateway.public_url": ('"https://g.example/"', "https://g.example", "https://g.example"),
    "log.level": ('"debug"', "debug", "debug"),
    "log.format": ('"json"', "json", "json"),
}
# These need another key or a file beside them and have tests of their own.
ALONE = {"broker.url_file", "broker.ca_file", "broker.client_cert", "broker.client_key"}
ALONE |= {"broker.auth", "slack.mode", "slack.answered", "gateway.tls_cert", "gateway.tls_key"}


def _everything(loaded: Config) -> dict[str, dict[str, Any]]:
    return {
        section: {key: at(loaded, f"{section}.{key}") for key in kinds()[section]}
        for section in loaded.__struct_fields__
    }


def test_defaults() -> None:
    """With a token and nothing else every key has the default of the contract, of the same type."""
    loaded = _everything(config.load(None, ENV))
    assert loaded == DEFAULTS
    for section, keys in DEFAULTS.items():
        assert {k: type(v) for k, v in loaded[section].items()} == {
            k: type(v) for k, v in keys.items()
        }


def test_example_equals_defaults() -> None:
    """config.example.toml loads and equals the defaults."""
    path = EXAMPLE
    assert config.load(path, ENV) == config.load(None, ENV)


def test_example_has_every_key_in_order() -> None:
    """config.example.toml sets each key of each section, in the order of the contract."""
    data = tomllib.loads(EXAMPLE.read_text())
    assert [(s, list(keys)) for s, keys in data.items()] == [
        (s, list(keys)) for s, keys in DEFAULTS.items()
    ]


def test_example_explains_every_key() -> None:
    """Each key of config.example.toml has exactly one line of comment, right above it."""
    lines = EXAMPLE.read_text().splitlines()
    for number, line in enumerate(lines):
        if "=" in line and not line.startswith("#"):
            assert lines[number - 1].startswith("# "), line
            assert not lines[number - 2].startswith("#"), line
        assert len(line) <= 105


def test_others_are_complete() -> None:
    """The table of other values leaves out only keys that have tests of their own."""
    names = {f"{section}.{key}" for section, keys in DEFAULTS.items() for key in keys}
    assert set(OTHERS) | ALONE == names
    assert not set(OTHERS) & ALONE


@pytest.mark.parametrize("name", OTHERS)
def test_file_sets_key(tmp_path: Path, name: str) -> None:
    """Each key can be set in the file."""
    section, key = name.split(".")
    toml, _, value = OTHERS[name]
    assert at(load(tmp_path, f"[{section}]\n{key} = {toml}\n"), name) == _expected(name, value)


@pytest.mark.parametrize("name", OTHERS)
def test_environment_sets_key(name: str) -> None:
    """Each key can be set by RTMPUMP_<SECTION>_<KEY> without a file."""
    _, text, value = OTHERS[name]
    variable = "RTMPUMP_" + name.replace(".", "_").upper()
    assert at(config.load(None, ENV | {variable: text}), name) == _expected(name, value)


def _expected(name: str, value: Any) -> Any:
    return "http://127.0.0.1:99/api/" if name == "slack.api_url" else value


def test_environment_beats_file(tmp_path: Path) -> None:
    """A variable overrides the same key of the file, and leaves the others."""
    loaded = load(
        tmp_path,
        "[outbound]\nburst = 7\nprefetch = 8\n[retry]\nmax = 9",
        {"RTMPUMP_OUTBOUND_BURST": "1"},
    )
    assert (loaded.outbound.burst, loaded.outbound.prefetch, loaded.retry.max) == (1, 8, 9.0)


def test_frozen(tmp_path: Path) -> None:
    """A loaded configuration can't be changed, and can be compared and hashed."""
    loaded = load(tmp_path)
    with pytest.raises(AttributeError):
        loaded.slack.ping_interval = 1.0  # type: ignore[misc]
    with pytest.raises(AttributeError):
        loaded.slack = config.Slack()  # type: ignore[misc]
    assert hash(loaded) == hash(load(tmp_path))


_CONTRADICTIONS = [
    ("[retry]\ninitial = 10\nmax = 9", "3: retry.max must be at least retry.initial"),
    ("[retry]\ninitial = 61", "2: retry.max must be at least retry.initial"),
    (
        "[events]\nunrouted = 'rtm.events'",
        "2: events.unrouted and events.exchange must differ",
    ),
    (
        "[outbound]\nqueue = 'rtm.outbound.dead'",
        "2: outbound.dead_queue and outbound.queue must differ",
    ),
    (
        "[events]\nstream = 'rtm.unrouted'",
        "2: events.stream and events.unrouted must differ",
    ),
    (
        "[ha]\nenabled = true\nlock = 'rtm.outbound'",
        "3: ha.lock and outbound.queue must differ",
    ),
    (
        "[slack]\nmode = 'socket'\napp_token = 'xapp-1'\n[ha]\nenabled = true",
        '5: ha.enabled is for slack.mode = "rtm"; in Socket Mode several pumps need no lock',
    ),
    (
        "[broker]\nheartbeat = 1\n[ha]\nenabled = true",
        "2: ha.enabled needs a broker.heartbeat of 2 seconds or more",
    ),
    (
        f"[broker]\nca_file = '{__file__}'",
        "2: broker.ca_file is for TLS: each broker URL must begin with amqps://",
    ),
    (
        f"[broker]\nurls = ['amqps://a', 'amqp://b']\nclient_cert = '{__file__}'",
        "3: broker.client_cert is for TLS: each broker URL must begin with amqps://",
    ),
    (
        f"[broker]\nurl = 'amqps://a'\nclient_key = '{__file__}'",
        "3: broker.client_key needs broker.client_cert",
    ),
    (
        "[broker]\nurl = 'amqps://a'\nauth = 'external'",
        '3: broker.auth = "external" needs broker.client_cert',
    ),
]


@pytest.mark.parametrize(("text", "wanted"), _CONTRADICTIONS)
def test_contradictions(tmp_path: Path, text: str, wanted: str) -> None:
    """Values that are each right but can't go together: the error has both names and a place."""
    assert error_text(tmp_path, text) == f"config.toml:{wanted}"


def test_contradiction_with_the_environment(tmp_path: Path) -> None:
    """A contradiction that comes from the environment: the error names its variable."""
    got = error_text(tmp_path, "[retry]\ninitial = 1", {"RTMPUMP_RETRY_MAX": "100ms"})
    assert got == "RTMPUMP_RETRY_MAX: retry.max must be at least retry.initial"


def test_answered_goes_with_socket_mode_alone(tmp_path: Path) -> None:
    """RTM asks nothing; and what is ignored nobody can answer."""
    socket = {"SLACK_APP_TOKEN": "xapp-1", "RTMPUMP_SLACK_MODE": "socket"}
    text = '[slack]\nanswered = ["slash_command", "interactive.view_submission"]\n'
    wanted = frozenset({"slash_command", "interactive.view_submission"})
    assert load(tmp_path, text, socket).slack.answered == wanted
    assert load(tmp_path, "", socket | {"RTMPUMP_SLACK_ANSWERED": "a, b.c"}).slack.answered == {
        "a",
        "b.c",
    }
    assert error_text(tmp_path, text).endswith('is for slack.mode = "socket": RTM asks nothing')
    text += '[events]\nignore = ["slash_command"]\n'
    assert error_text(tmp_path, text, socket).endswith(
        "slack.answered and events.ignore both name slash_command, so nobody could answer it"
    )


def test_tls_with_all_it_needs(tmp_path: Path) -> None:
    """A URL with amqps, certificate, key and "external" is accepted."""
    broker = load(
        tmp_path,
        f"[broker]\nurl = 'amqps://a'\nauth = 'external'\nca_file = '{__file__}'\n"
        f"client_cert = '{__file__}'\nclient_key = '{__file__}'\n",
    ).broker
    assert (broker.auth, broker.ca_file) == ("external", __file__)
    assert broker.client_cert == broker.client_key == __file__


def test_find_order(tmp_path: Path) -> None:
    """The file is --config, else RTMPUMP_CONFIG, else the first place that has one, else none."""
    a, b, c, d = (tmp_path / name for name in "abcd")
    for path in (a, b, c, d):
        path.touch()
    env = {"RTMPUMP_CONFIG": str(b)}
    assert config.find(str(a), env, (c, d)) == a
    assert config.find(None, env, (c, d)) == b
    assert config.find(None, {"RTMPUMP_CONFIG": ""}, (c, d)) == c
    c.unlink()
    assert config.find(None, {}, (c, d)) == d
    assert config.find(None, {}, (c, d / "below")) is None


def test_find_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any word of where, ./config.toml of the working folder is taken."""
    monkeypatch.chdir(tmp_path)
    Path("config.toml").touch()
    assert config.find(None, {}) == Path("config.toml")


@pytest.mark.parametrize(
    ("explicit", "env", "wanted"),
    [
        ("/no/such.toml", {}, "--config: no such file: /no/such.toml"),
        ("/no/such.toml", {"RTMPUMP_CONFIG": "/"}, "--config: no such file: /no/such.toml"),
        (None, {"RTMPUMP_CONFIG": "/no/x"}, "RTMPUMP_CONFIG: no such file: /no/x"),
    ],
)
def test_find_named_but_missing(explicit: str | None, env: dict[str, str], wanted: str) -> None:
    """A file that is named must exist."""
    with pytest.raises(ConfigError) as caught:
        config.find(explicit, env)
    assert str(caught.value) == wanted


def test_spool_under_systemd(tmp_path: Path) -> None:
    """Under systemd the spool is in the first $STATE_DIRECTORY, unless a path was chosen."""
    env = {"STATE_DIRECTORY": "/var/lib/rtmpump:/var/lib/other"}
    assert load(tmp_path, "", env).spool.path == Path("/var/lib/rtmpump/spool.db")
    example = EXAMPLE.read_text()
    assert load(tmp_path, example, env).spool.path == Path("/var/lib/rtmpump/spool.db")
    assert load(tmp_path, "[spool]\npath = 'x.db'\n", env).spool.path == Path("x.db")
    assert load(tmp_path, "", {"STATE_DIRECTORY": ""}).spool.path == Path("rtmpump-spool.db")


@pytest.mark.real
def test_import_stays_light() -> None:
    """Importing the configuration brings in none of the heavy libraries."""
    code = (
        "import sys, rtmpump.config\n"
        "print([m for m in ('slack_sdk', 'pika', 'structlog', 'asyncio') if m in sys.modules])"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


def test_find_what_cannot_be_looked_at(tmp_path: Path) -> None:
    """A place that can't be checked is not passed over: `load` says why."""
    place = tmp_path / "config.toml"
    place.symlink_to(place)
    assert config.find(None, {}, (place,)) == place
    with pytest.raises(ConfigError) as caught:
        config.load(place, ENV)
    assert str(caught.value) == f"{place}: can't read it: too many levels of symbolic links"
