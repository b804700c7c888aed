"""Where values come from: names that are wrong, lines that are exact, variables of others."""

from __future__ import annotations

from pathlib import Path

import pytest

from rtmpump import config
from rtmpump.errors import ConfigError
from tests.support.config import ENV, error_text, load, table

_WRONG_NAMES = table(r"""
[slack]\n\n# why\nping_intervall = 5 | 4: slack.ping_intervall: unknown key; did you mean slack.ping_interval?
[slack]\nurl = "x" | 2: slack.url: unknown key; did you mean slack.api_url?
[log]\nheartbeat = 1 | 2: log.heartbeat: unknown key; did you mean broker.heartbeat?
[log]\nzzz = 1 | 2: log.zzz: unknown key; [log] has level, format
[http]\nlisten = ""\n[http.more]\nx = 1 | 3: http.more: unknown key; [http] has listen
[log]\n[brokr]\nurl = 1 | 2: brokr: unknown section; did you mean [broker]?
[zzz] | 1: zzz: unknown section; there are [slack], [broker], [events], [outbound], [spool], [retry], [ha], [http], [gateway], [log]
\ntoken_file = "x"\n[slack] | 2: token_file: stands outside of its section; it belongs under [slack]
log = 3 | 1: log: must be a table, found 3
[[log]]\nlevel = 'info' | 1: log: must be a table, found an array
[log]\nlevel =\n | 2: is no TOML: invalid value
[log]\nlevel = 'info'\nlevel = 'debug'\n | 3: is no TOML: cannot overwrite a value
\n[log | 2: is no TOML: expected ']' at the end of a table declaration
""")  # noqa: E501


@pytest.mark.parametrize(("text", "wanted"), _WRONG_NAMES)
def test_wrong_names(tmp_path: Path, text: str, wanted: str) -> None:
    """A wrong name: the error has the key, the line and the nearest right name."""
    assert error_text(tmp_path, text.replace(r"\n", "\n")) == f"config.toml:{wanted}"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('[events]\nignore = [\n  "a",\n  "b c",\n]\n', 2),
        ('events.ignore = ["b c"]\n', 1),
        ('[log]\nlevel = "info"\n\n[events]   # here\n\n  "ignore"=["b c"]\n', 6),
        ('events = { exchange = "e", ignore = ["b c"] }\n', 1),
        ('[slack]\ntoken_file = """\\\nignore = 1 \\\n[events]"""\n[events]\nignore = ["b c"]', 6),
        ('[slack]\r\n[events]\r\n# ignore = []\r\nignore = ["b c"]\r\n', 4),
    ],
)
def test_line_is_exact(tmp_path: Path, text: str, line: int) -> None:
    """The line in the error is the one where the key begins, whatever is before it."""
    problem = 'must hold "type" or "type.subtype" only, found \'b c\''
    assert error_text(tmp_path, text) == f"config.toml:{line}: events.ignore: {problem}"


@pytest.mark.parametrize(
    "text",
    [
        '[slack]\ntoken = "xoxb-2"\n[retry]\ninitial = 2\n',
        'slack.token = "xoxb-2"\nretry.initial = 2\n',
        'slack = { token = "xoxb-2" }\nretry = {initial = 2}\n',
        '\ufeff[slack]\r\ntoken = "xoxb-2"\r\n\r\n["retry"]\r\n"initial" = 2\r\n',
    ],
)
def test_ways_of_toml(tmp_path: Path, text: str) -> None:
    """All of TOML's ways to write a table mean the same; a byte order mark does no harm."""
    loaded = load(tmp_path, text)
    assert loaded.slack.token.reveal() == "xoxb-2"
    assert loaded.retry.initial == 2.0


def test_unreadable_file(tmp_path: Path) -> None:
    """A file that can't be read, or is no text: the error says why."""
    (tmp_path / "latin1").write_bytes(b"# \xfc")
    for name, problem in (("", "can't read it: is a directory"), ("latin1", "is not UTF-8 text")):
        with pytest.raises(ConfigError) as caught:
            config.load(tmp_path / name, ENV)
        assert str(caught.value) == f"{tmp_path / name}: {problem}"


_WRONG_VARIABLES = table("""
RTMPUMP_SLACK_TOKN | did you mean RTMPUMP_SLACK_TOKEN?
RTMPUMP_SLAK_TOKEN | did you mean RTMPUMP_SLACK_TOKEN?
RTMPUMP_BROKER_URI | did you mean RTMPUMP_BROKER_URL?
RTMPUMP_HTTP_PORT | did you mean RTMPUMP_HTTP_LISTEN?
RTMPUMP_LOG_ZZZ | [log] has no such key
RTMPUMP_RABBITMQ_URL | did you mean RTMPUMP_BROKER_URL?
""")


@pytest.mark.parametrize(("variable", "fix"), _WRONG_VARIABLES)
def test_wrong_variables(tmp_path: Path, variable: str, fix: str) -> None:
    """A variable that was likely meant as one of ours is an error that names the nearest."""
    assert error_text(tmp_path, "", {variable: "80"}) == f"{variable}: unknown variable; {fix}"


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("RTMPUMP_CONFIG", "/etc/x.toml"),
        ("RTMPUMP_FOO", "1"),
        ("rtmpump_slack_tokn", "1"),
        ("RTMPUMP_SERVICE_HOST", "10.0.0.1"),
        ("RTMPUMP_PORT", "tcp://10.0.0.1:9464"),
        ("RTMPUMP_HTTP_SERVICE_HOST", "10.0.0.1"),
        ("RTMPUMP_HTTP_SERVICE_PORT_METRICS", "9464"),
        ("RTMPUMP_HTTP_PORT", "tcp://10.0.0.1:9464"),
        ("RTMPUMP_HTTP_PORT_9464_TCP_ADDR", "10.0.0.1"),
    ],
)
def test_variables_of_others(variable: str, text: str) -> None:
    """RTMPUMP_CONFIG, strange names and what Kubernetes adds for a Service are left alone."""
    assert config.load(None, ENV | {variable: text}) == config.load(None, ENV)


@pytest.mark.parametrize("value", ["[" * 5_000 + "]" * 5_000, "9" * 5_000])
def test_a_value_too_large_to_be_read(tmp_path: Path, value: str) -> None:
    """Lists in lists by the thousand, and a number of as many digits: one line that says so."""
    line = error_text(tmp_path, f"[broker]\nurls = {value}\n")
    assert line == "config.toml: holds a value too large to be read"


def test_a_token_under_the_name_of_other_programs_is_noticed() -> None:
    """Bolt reads SLACK_BOT_TOKEN; we use no token that was not named for us, and say so."""
    with pytest.raises(ConfigError, match="rename SLACK_BOT_TOKEN, which is set, to SLACK_API_T"):
        config.load(None, {"SLACK_BOT_TOKEN": "xoxb-bolt"})
