"""Tokens and URLs: their sources, their mistakes, and that nothing of them is ever shown."""

from __future__ import annotations

import copy
import io
import json
import pickle
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
import structlog

from rtmpump import config, log
from rtmpump.config import Config, Secret
from rtmpump.errors import ConfigError
from tests.support.config import ENV, EXAMPLE, TOKEN, error_text, load, refused, table


@pytest.fixture
def token_env(tmp_path: Path) -> dict[str, str]:
    """Return an environment in which each source has a token of its own."""
    (tmp_path / "token").write_text("xoxb-file\n")
    (tmp_path / "slack-token").write_text("xoxb-credential\r\n")
    return {
        "RTMPUMP_SLACK_TOKEN": "xoxb-key",
        "SLACK_API_TOKEN": "xoxb-variable\n",
        "RTMPUMP_SLACK_TOKEN_FILE": str(tmp_path / "token"),
        "CREDENTIALS_DIRECTORY": str(tmp_path),
    }


def test_token_order(token_env: dict[str, str]) -> None:
    """The first source counts: slack.token, SLACK_API_TOKEN, slack.token_file, the credential."""
    for wanted in ("key", "variable", "file", "credential"):
        assert config.load(None, token_env).slack.token.reveal() == f"xoxb-{wanted}"
        token_env.pop(next(iter(token_env)))
    with pytest.raises(ConfigError) as caught:
        config.load(EXAMPLE, token_env)
    assert str(caught.value) == (
        f"{EXAMPLE}:9: slack.token: there is no Slack token; "
        "set SLACK_API_TOKEN, slack.token, slack.token_file or the systemd credential slack-token"
    )


def test_app_token_order(tmp_path: Path) -> None:
    """In Socket Mode the app-level token has the same kinds of sources, in the same order."""
    (tmp_path / "token").write_text("xapp-file\n")
    (tmp_path / "slack-app-token").write_text("xapp-credential\r\n")
    sources = {
        "RTMPUMP_SLACK_APP_TOKEN": "xapp-key",
        "SLACK_APP_TOKEN": "xapp-variable\n",
        "RTMPUMP_SLACK_APP_TOKEN_FILE": str(tmp_path / "token"),
        "CREDENTIALS_DIRECTORY": str(tmp_path),
    }
    env = ENV | {"RTMPUMP_SLACK_MODE": "socket"}
    for wanted in ("key", "variable", "file", "credential"):
        loaded = config.load(None, env | sources)
        assert loaded.slack.mode == "socket"
        assert loaded.slack.app_token.reveal() == f"xapp-{wanted}"
        assert loaded.slack.token.reveal() == TOKEN
        sources.pop(next(iter(sources)))
    with pytest.raises(ConfigError) as caught:
        config.load(EXAMPLE, env)
    assert str(caught.value).partition(": ")[2] == (
        "slack.app_token: there is no Slack app-level token; set SLACK_APP_TOKEN, slack.app_token, "
        "slack.app_token_file or the systemd credential slack-app-token"
    )


def test_rtm_asks_for_no_app_token() -> None:
    """The default needs one token, as ever, and does not look for the other."""
    assert config.load(None, ENV | {"RTMPUMP_SLACK_APP_TOKEN_FILE": "/nowhere"}).slack.mode == "rtm"


@pytest.mark.parametrize("value", ["0", "11", "many"])
def test_wrong_connections(value: str) -> None:
    """Slack keeps ten connections of an app at most."""
    with pytest.raises(ConfigError, match=r"RTMPUMP_SLACK_CONNECTIONS: slack\.connections"):
        config.load(None, ENV | {"RTMPUMP_SLACK_CONNECTIONS": value})


def test_empty_sources_are_passed_over(token_env: dict[str, str]) -> None:
    """An empty source gives no token, and the next one is asked."""
    token_env |= {"RTMPUMP_SLACK_TOKEN": "", "SLACK_API_TOKEN": "\n"}
    assert config.load(None, token_env).slack.token.reveal() == "xoxb-file"
    token_env["RTMPUMP_SLACK_TOKEN_FILE"] = ""
    assert config.load(None, token_env).slack.token.reveal() == "xoxb-credential"


def test_missing_token_names_the_line(tmp_path: Path) -> None:
    """Where the file has an empty token, the error about the missing token points at it."""
    (tmp_path / "c.toml").write_text('[slack]\ntoken = ""\n')
    with pytest.raises(ConfigError) as caught:
        config.load(tmp_path / "c.toml", {"CREDENTIALS_DIRECTORY": str(tmp_path)})
    assert caught.value.where == f"{tmp_path}/c.toml:2"


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "can't read the file: no such file or directory"),
        (b"", "the file must hold one line, the token; it has 0"),
        (b"\n \n", "the file must hold one line, the token; it has 0"),
        (b"xoxb-1\nxoxb-2\n", "the file must hold one line, the token; it has 2"),
        (b"xoxb-1 xoxb-2\n", "must not hold blanks or line breaks"),
        (b"xoxb-\xff", "the file must hold ASCII characters only"),
        (b"xoxb-\x01", "must hold printable ASCII characters only"),
    ],
)
def test_wrong_token_file(tmp_path: Path, content: bytes | None, problem: str) -> None:
    """A token file that is missing or holds something else: the error has its key, no content."""
    if content is not None:
        (tmp_path / "token").write_bytes(content)
    text = f"[slack]\ntoken_file = '{tmp_path}/token'\n"
    got = error_text(tmp_path, text, {"SLACK_API_TOKEN": ""})
    assert got == f"config.toml:2: slack.token_file: {problem}"


def test_wrong_token_elsewhere(tmp_path: Path) -> None:
    """A bad token: the error names the variable that it came from."""
    problem = "must not hold blanks or line breaks"
    got = error_text(tmp_path, "", {"SLACK_API_TOKEN": "a b"})
    assert got == f"SLACK_API_TOKEN: slack.token: {problem}"
    (tmp_path / "slack-token").write_text("a b")
    env = {"SLACK_API_TOKEN": "", "CREDENTIALS_DIRECTORY": str(tmp_path)}
    assert error_text(tmp_path, "", env) == f"CREDENTIALS_DIRECTORY: slack.token: {problem}"


def test_no_token_needed() -> None:
    """Without need_token nothing is looked for, and a token file need not be readable."""
    env = {"RTMPUMP_SLACK_TOKEN_FILE": "/no/such", "CREDENTIALS_DIRECTORY": "/no"}
    assert not config.load(None, env, need_token=False).slack.token
    env["RTMPUMP_SLACK_TOKEN"] = "xoxb-1"
    assert config.load(None, env, need_token=False).slack.token.reveal() == "xoxb-1"


def _urls(loaded: Config) -> list[str]:
    assert loaded.broker.url == loaded.broker.urls[0]
    return [url.reveal() for url in loaded.broker.urls]


def test_urls_from_file(tmp_path: Path) -> None:
    """broker.url_file gives one URL a line, in order."""
    (tmp_path / "urls").write_text("amqp://a\n\n  amqp://b/%2Fx\r\n")
    assert _urls(load(tmp_path, f"[broker]\nurl_file = '{tmp_path}/urls'\n")) == [
        "amqp://a",
        "amqp://b/%2Fx",
    ]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "can't read the file: no such file or directory"),
        ("\n", "the file is empty"),
        ("hunter2", "must be a URL that begins with amqp:// or amqps://"),
    ],
)
def test_wrong_url_file(tmp_path: Path, content: str | None, problem: str) -> None:
    """A URL file that is missing, empty or wrong: the error has its key, not its content."""
    if content is not None:
        (tmp_path / "urls").write_text(content)
    got = error_text(tmp_path, f"[broker]\nurl_file = '{tmp_path}/urls'\n")
    assert got == f"config.toml:2: broker.url_file: {problem}"


def test_urls_win_over_the_default(tmp_path: Path) -> None:
    """A copy of the example with urls filled in works, though url is there with its default."""
    text = EXAMPLE.read_text()
    assert _urls(load(tmp_path, text.replace("urls = []", 'urls = ["amqp://a"]'))) == ["amqp://a"]


_TWO_PLACES = table(r"""
url = 'amqp://a'\nurls = ['amqp://b'] | 3: broker.urls: stands beside broker.url
url_file = 'x'\nurl = 'amqp://a' | 2: broker.url_file: stands beside broker.url
url_file = 'x'\nurls = ['amqp://a'] | 2: broker.url_file: stands beside broker.urls
""")


@pytest.mark.parametrize(("text", "wanted"), _TWO_PLACES)
def test_two_places_for_urls(tmp_path: Path, text: str, wanted: str) -> None:
    """Two ways to name the broker at once are an error, as one would be passed over in silence."""
    got = error_text(tmp_path, "[broker]\n" + text.replace(r"\n", "\n"))
    assert got == f"config.toml:{wanted}; keep one of them"


@pytest.mark.parametrize(
    "text", ["url = 'amqp://a'", "urls = ['amqp://a', 'amqp://b']", "url_file = '/no/such'"]
)
def test_url_of_environment_beats_each_of_file(tmp_path: Path, text: str) -> None:
    """A broker named in the environment wins, in whichever of the three ways the file names one."""
    text = f"[broker]\n{text}\n"
    env = {"RTMPUMP_BROKER_URLS": "amqp://c,amqp://d"}
    assert _urls(load(tmp_path, text, env)) == ["amqp://c", "amqp://d"]
    assert _urls(load(tmp_path, text, {"RTMPUMP_BROKER_URL": "amqp://c"})) == ["amqp://c"]


_WRONG = table(r"""
slack.token | 5 | must be a string
slack.token | "xoxb 1" | must not hold blanks or line breaks
slack.token | "xoxb-1\n" | must not hold blanks or line breaks
slack.token | "xoxb-ö" | must hold printable ASCII characters only
slack.token | "xoxb-\u0001" | must hold printable ASCII characters only
slack.api_url | 1 | must be a URL such as https://slack.com/api/
slack.api_url | "slack.com" | must be a URL such as https://slack.com/api/
slack.api_url | "ftp://slack.com" | must be a URL such as https://slack.com/api/
slack.api_url | "https://a:b/" | must be a URL such as https://slack.com/api/
slack.api_url | "https://[::1" | must be a URL such as https://slack.com/api/
slack.api_url | "https://x/?t=1" | must be a URL without user, password, query and fragment
slack.api_url | "https://u:p@x/" | must be a URL without user, password, query and fragment
slack.proxy | "https://p:1" | must be a URL such as http://proxy.example:3128, or empty
slack.proxy | "proxy:3128" | must be a URL such as http://proxy.example:3128, or empty
slack.proxy | 0 | must be a URL such as http://proxy.example:3128, or empty
broker.url | "" | must be a URL that begins with amqp:// or amqps://
broker.url | "http://h" | must be a URL that begins with amqp:// or amqps://
broker.url | "user:pw@h" | must be a URL that begins with amqp:// or amqps://
broker.urls | "amqp://h" | must be a list of strings
broker.urls | ["amqp://h", 1] | must hold strings only
broker.urls | ["amqp://h", "h"] | must be a URL that begins with amqp:// or amqps://
""")


@pytest.mark.parametrize(("name", "toml", "wanted"), _WRONG)
def test_wrong_values(tmp_path: Path, name: str, toml: str, wanted: str) -> None:
    """A bad token or URL: the error has the line, the key, and what it must be."""
    section, key = name.split(".")
    assert (
        error_text(tmp_path, f"[{section}]\n{key} = {toml}\n") == f"config.toml:2: {name}: {wanted}"
    )


@pytest.mark.parametrize("host", ["slack.com", "127.0.0.1.x", "10.0.0.1", "[2001:db8::1]"])
def test_plain_http_is_for_this_machine(tmp_path: Path, host: str) -> None:
    """To any other the token would go for all to read; who wants that has to say so."""
    text = f"[slack]\napi_url = 'http://{host}/api/'\n"
    assert error_text(tmp_path, text) == (
        "config.toml:2: slack.api_url: must begin with https://; "
        "http is for this machine only, unless slack.insecure = true"
    )
    loaded = load(tmp_path, text + "insecure = true\n")
    assert loaded.slack.api_url == f"http://{host}/api/"


_PASSWORD = 'special characters of the password are percent-encoded, a "/" as %2F'


@pytest.mark.parametrize(
    "url",
    [
        "amqp://user:hunter2/@host",
        "amqp://user:hun#ter2@host",
        "amqp://user:hun?ter2@host",
        "amqp://user:hunter2@host:port",
        "amqp://user:hunter2@host:0",
        "amqp://user:hunter2@host:70000",
        "amqp://user:hunter2@",
        "amqp://user:hunter2@[::1",
        "amqp://user:hunter2@ho st",
        "amqp://user:hunter2@host\\t",
    ],
)
def test_wrong_broker_url(tmp_path: Path, url: str) -> None:
    """A broker URL that can't be right is refused with the likely reason, and never quoted."""
    assert error_text(tmp_path, f'[broker]\nurl = "{url}"\n') == (
        "config.toml:2: broker.url: must be a URL as amqp://user:password@host:port/vhost; "
        + _PASSWORD
    )


def test_vhost_with_a_slash(tmp_path: Path) -> None:
    """A slash inside the virtual host must be encoded, else half of the name would be lost."""
    assert error_text(tmp_path, '[broker]\nurl = "amqp://host/a/b"\n') == (
        f"config.toml:2: broker.url: has more than one part after the host; {_PASSWORD}"
    )


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("https://slack.com/api", "https://slack.com/api/"),
        ("https://slack-gov.com/api/", "https://slack-gov.com/api/"),
        ("http://localhost:1/api//", "http://localhost:1/api/"),
        ("http://[::1]:1", "http://[::1]:1/"),
        ("http://127.8.9.1/x", "http://127.8.9.1/x/"),
    ],
)
def test_api_url(url: str, kept: str) -> None:
    """slack.api_url gets its slash; http is good enough for this machine."""
    assert config.load(None, ENV | {"RTMPUMP_SLACK_API_URL": url}).slack.api_url == kept


_PASSWORD_URL = "amqp://user:hunter2@host"
_PROXY_URL = "http://user:hunter3@proxy"


@pytest.fixture
def secretive() -> Config:
    """Return a configuration with a token and passwords."""
    env = {"RTMPUMP_BROKER_URLS": f"{_PASSWORD_URL},{_PASSWORD_URL}", "RTMPUMP_SLACK_PROXY": ""}
    env["RTMPUMP_SLACK_PROXY"] = _PROXY_URL
    return config.load(None, ENV | env)


def _assert_clean(*texts: str) -> None:
    for text in texts:
        assert text
        for secret in (TOKEN, TOKEN[:9], "hunter"):
            assert secret not in text


def _not_encoded(action: Callable[[], object]) -> str:
    with pytest.raises(TypeError) as caught:
        action()
    return str(caught.value)


def test_secret_holds_its_value() -> None:
    """`reveal` gives the value, and a Secret is compared and tested by it."""
    assert Secret("a").reveal() == "a"
    assert Secret("a") == Secret("a") != Secret("b")
    assert hash(Secret("a")) == hash(Secret("a"))
    assert Secret("a") != "a"
    assert Secret("a")
    assert not Secret("")


def test_secret_text() -> None:
    """A Secret is *** in each way to make a text of it."""
    secret = Secret(TOKEN)
    ways = [repr(secret), str(secret), f"{secret}", f"{secret!r}", f"{secret!s}", f"{secret!a}"]
    ways += ["%s" % secret, "%r" % secret, "{}".format(secret), format(secret)]  # noqa: UP031, UP032
    assert set(ways) == {"***"}
    assert f"{secret:>5}" == "  ***"
    _assert_clean(str([secret]), str({"k": secret}), str(vars(ConfigError("x", key=str(secret)))))


def test_config_text(secretive: Config) -> None:
    """The text of a Config, and of its parts, holds no secret."""
    _assert_clean(repr(secretive), str(secretive), f"{secretive.slack} {secretive.broker}")
    assert "token=***" in repr(secretive)
    assert "urls=(***, ***)" in repr(secretive)


def test_secret_in_json(secretive: Config) -> None:
    """JSON refuses a Secret, or gets *** from a helper function."""
    _assert_clean(_not_encoded(lambda: json.dumps({"token": Secret(TOKEN)})))
    _assert_clean(_not_encoded(lambda: msgspec.json.encode(secretive)))
    _assert_clean(_not_encoded(lambda: msgspec.msgpack.encode(secretive)))
    _assert_clean(msgspec.json.encode(secretive, enc_hook=str).decode())
    _assert_clean(json.dumps(msgspec.to_builtins(secretive, enc_hook=str), default=str))
    assert json.dumps([Secret(TOKEN)], default=str) == '["***"]'


def test_secret_is_never_written_out(secretive: Config) -> None:
    """A Secret can't be pickled or copied into another form."""
    for action in (lambda: pickle.dumps(secretive), lambda: copy.deepcopy(Secret(TOKEN))):
        _assert_clean(_not_encoded(action))


@pytest.mark.parametrize("form", ["json", "console"])
def test_secret_in_log(secretive: Config, form: str) -> None:
    """The log shows *** for a Secret at any depth, in the text of an error and its traceback."""
    stream = io.StringIO()
    log.setup("debug", form, stream)
    try:
        token = secretive.slack.token.reveal()
        try:
            raise ValueError(secretive, [secretive.slack.token], len(token))
        except ValueError as error:
            log.get("test").exception("failed", config=secretive, nested=[{"x": Secret(TOKEN)}])
            log.get("test").error("again", error=error)
    finally:
        structlog.reset_defaults()
    _assert_clean(stream.getvalue())
    assert "***" in stream.getvalue()


@pytest.mark.parametrize(
    "text",
    [
        "'{0}' = 1",
        "['{0}']\n",
        "[slack]\n'{0}' = 1",
        "[slack]\ntoken = ['{0}']",
        "[slack]\ntoken = ' {0}'",
        "[slack]\ntoken = '{0}\x7f'",
        "[slack]\ntoken_file = '{0}'",
        "[slack]\nca_file = '{0}'",
        "[slack]\napi_url = '{0}'",
        "[slack]\nproxy = '{0}'",
        "[slack]\nping_interval = '{0}'",
        "[slack]\nbatch_presence_aware = '{0}'",
        "[broker]\nurl = '{0}'",
        "[broker]\nurls = '{0}'",
        "[broker]\nurls = ['{0}']",
        "[broker]\nurl_file = '{0}'",
        "[broker]\nauth = '{0}'",
        "[broker]\nheartbeat = '{0}'",
        "[events]\nignore = '{0}'",
        "[events]\nignore = ['{0} x']",
        "[events]\ntype_exchange = '{0}'",
        "[events]\nstream_max_age = '{0}'",
        "[events]\nconfirm_window = '{0}'",
        "[outbound]\nrate = '{0}'",
        "[spool]\nmax_bytes = '{0}'",
        "[http]\nlisten = '{0}'",
        "{0}",
        "token = {0}",
    ],
)
@pytest.mark.parametrize("secret", [TOKEN, "amqp://user:hunter2@host:port", _PROXY_URL + ":x"])
def test_secret_in_the_wrong_place(tmp_path: Path, text: str, secret: str) -> None:
    """A token or a URL with a password, written in the wrong place, is not in the error."""
    error = refused(tmp_path, text.replace("{0}", secret), {"SLACK_API_TOKEN": ""})
    _assert_clean(str(error), repr(error), str(vars(error)))
    assert error.__context__ is None or error.__suppress_context__


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ('"xoxb-17653672481-kRtYzq"', "stands in quotes; leave them out"),
        ("'xoxb-17653672481-kRtYzq'", "stands in quotes; leave them out"),
        ("SLACK_API_TOKEN=xoxb-17653672481-kRtYzq", "has a name and = before it"),
        ("export SLACK_API_TOKEN=xoxb-17653672481-kRtYzq", "has a name and = before it"),
        ("Bearer xoxb-17653672481-kRtYzq", 'has "Bearer" before it'),
        ("https://hooks.slack.com/services/T1/B1/kRtYzq", "is a URL (of a webhook?) and no token"),
        ("0123456789abcdef0123456789abcdef", "looks like a signing secret"),
        ("17653672481.19874698323", "looks like a client id"),
    ],
)
def test_what_is_no_token_is_named_by_its_look(tmp_path: Path, value: str, problem: str) -> None:
    """Wherever it stands, without the network, and without a part of it in the text."""
    file = tmp_path / "token"
    file.write_text(f"{value}\n")
    for text, env in (
        ("", {"SLACK_API_TOKEN": value}),
        (f"[slack]\ntoken = {json.dumps(value)}\n", {}),
        (f'[slack]\ntoken_file = "{file}"\n', {"SLACK_API_TOKEN": ""}),
    ):
        line = error_text(tmp_path, text, env)
        assert problem in line
        assert "kRtYzq" not in line
