"""How each kind of value is read, and what is said where it can't be."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtmpump import config
from tests.support.config import ENV, error_text, load, table

_SHORT = {
    "{times}": 'write seconds as a number, or "10s", "2m", "1h"',
    "{sizes}": 'write bytes as a number, or "64MiB", "1GiB"',
    "{age}": 'must be an age such as "7D" or "12h" (units Y, M, D, h, m, s)',
    "{pattern}": 'must be a name with one {type} in it, such as "rtm.{type}"',
    "{listen}": 'must be "host:port" or ""',
    "{such}": 'such as "127.0.0.1:9464" or "[::1]:9464"',
    "{255}": "ü" * 128,
    "{155}": "x" * 150,
}

_WRONG = table(r"""
slack.token_file | [] | must be a string, found an array
slack.token_file | "a\nb" | must be one line without control characters
slack.ping_interval | 0 | must be a time above 0 and at most 3600 seconds, found 0; {times}
slack.ping_interval | true | must be a time above 0 and at most 3600 seconds, found true; {times}
slack.ping_timeout | "9 sec" | must be a time above 0 and at most 3600 seconds, found '9 sec'; {times}
slack.ping_timeout | "" | must be a time above 0 and at most 3600 seconds, found ''; {times}
slack.hello_timeout | "2h" | must be a time above 0 and at most 3600 seconds, found '2h'; {times}
retry.initial | -1 | must be a time above 0 and at most 86400 seconds, found -1; {times}
retry.max | inf | must be a time above 0 and at most 86400 seconds, found inf; {times}
retry.healthy_after | nan | must be a time above 0 and at most 86400 seconds, found nan; {times}
outbound.reply_timeout | 12:00:00 | must be a time above 0 and at most 600 seconds, found a date or time; {times}
broker.heartbeat | 1.5 | must be a whole number of seconds, found 1.5
slack.ca_file | "/no/such" | no such file, found '/no/such'
slack.ca_file | "/" | no such file, found '/'
slack.batch_presence_aware | "true" | must be true or false, found 'true'
slack.batch_presence_aware | 1 | must be true or false, found 1
broker.auth | "ldap" | must be "plain" or "external", found 'ldap'
broker.declare | "activ" | must be "active" or "passive" or "none", found 'activ'; did you mean "active"?
events.exchange | "" | must not be empty
events.exchange | "{255}" | must be at most 255 bytes long
events.type_exchange | "rtm.events" | {pattern}, found 'rtm.events'
events.type_exchange | "{type}{0}" | {pattern}, found '{type}{0}'
events.type_exchange | "{155}{type}" | must be at most 155 bytes long
events.ignore | "hello" | must be a list of strings
events.ignore | [1] | must hold strings only
events.ignore | ["a", "a.b.c"] | must hold "type" or "type.subtype" only, found 'a.b.c'
events.stream_max_age | "7 days" | {age}, found '7 days'
events.stream_max_age | "0D" | {age}, found '0D'
events.confirm_window | 0 | must be a whole number from 1 to 65535, found 0
events.confirm_window | 65536 | must be a whole number from 1 to 65535, found 65536
outbound.prefetch | 0 | must be a whole number from 1 to 65535, found 0
outbound.prefetch | 1.0 | must be a whole number from 1 to 65535, found 1.0
outbound.burst | true | must be a whole number from 1 to 100000, found true
outbound.burst | 0 | must be a whole number from 1 to 100000, found 0
outbound.max_attempts | {} | must be a whole number from 1 to 1000, found a table
outbound.rate | 0 | must be a number above 0 and at most 100000, found 0
outbound.rate | "1" | must be a number above 0 and at most 100000, found '1'
outbound.rate | nan | must be a number above 0 and at most 100000, found nan
outbound.api_methods | ["chat.*"] | must be a list of whole names such as "reactions.add", found 'chat.*'; patterns are not taken
outbound.api_methods | ["reactions"] | must be a list of whole names such as "reactions.add", found 'reactions'; patterns are not taken
outbound.api_methods | [1] | must hold strings only
outbound.on_uncertain | "dead" | must be "resend" or "dead-letter", found 'dead'
outbound.on_uncertain | "Resend" | must be "resend" or "dead-letter", found 'Resend'; did you mean "resend"?
spool.path | "" | must not be empty
spool.max_bytes | "15MiB" | must be a size of at least 16MiB, found '15MiB'; {sizes}
spool.max_bytes | "1G" | must be a size of at least 16MiB, found '1G'; {sizes}
spool.max_bytes | 33554432.5 | must be a size of at least 16MiB, found 33554432.5; {sizes}
spool.max_bytes | inf | must be a size of at least 16MiB, found inf; {sizes}
spool.when_full | "drop" | must be "block" or "drop_oldest", found 'drop'
spool.sync | "FULL" | must be "full" or "normal", found 'FULL'; did you mean "full"?
retry.jitter | false | must be "full" or "none", found false
http.listen | ":9464" | {listen}, found ':9464'; {such}
http.listen | "::1:9464" | {listen}, found '::1:9464'; {such}
http.listen | "h:65536" | {listen}, found 'h:65536'; {such}
log.level | "warn" | must be "debug" or "info" or "warning" or "error", found 'warn'; did you mean "warning"?
log.format | "text" | must be "auto" or "console" or "json", found 'text'
""")  # noqa: E501


def _long(text: str) -> str:
    for short, words in _SHORT.items():
        text = text.replace(short, words)
    return text


@pytest.mark.parametrize(("name", "toml", "wanted"), _WRONG)
def test_wrong_values(tmp_path: Path, name: str, toml: str, wanted: str) -> None:
    """A wrong value: the error has line, key, what it must be and what was found."""
    section, key = name.split(".")
    text = f"# one\n[{section}]\n{key} = {_long(toml)}\n"
    assert error_text(tmp_path, text) == f"config.toml:3: {name}: {_long(wanted)}"


_WRONG_TEXTS = table(r"""
OUTBOUND_BURST | many | outbound.burst: must be a whole number from 1 to 100000, found 'many'
OUTBOUND_BURST | 1.0 | outbound.burst: must be a whole number from 1 to 100000, found '1.0'
OUTBOUND_BURST |  | outbound.burst: must be a whole number from 1 to 100000, found ''
OUTBOUND_RATE | -1 | outbound.rate: must be a number above 0 and at most 100000, found '-1'
OUTBOUND_RATE | 0.0 | outbound.rate: must be a number above 0 and at most 100000, found 0.0
SLACK_BATCH_PRESENCE_AWARE | yes | slack.batch_presence_aware: must be true or false, found 'yes'
EVENTS_IGNORE | ['a' | events.ignore: is no TOML array; write ["a", "b"] or a,b
EVENTS_IGNORE | [1] | events.ignore: must hold strings only
BROKER_URL |  | broker.url: must be a URL that begins with amqp:// or amqps://
""")


@pytest.mark.parametrize(("variable", "text", "wanted"), _WRONG_TEXTS)
def test_wrong_texts(tmp_path: Path, variable: str, text: str, wanted: str) -> None:
    """A wrong value in the environment: the error names the variable, whatever the file holds."""
    variable = f"RTMPUMP_{variable}"
    in_file = "[outbound]\nburst = 2\n"
    assert error_text(tmp_path, in_file, {variable: text}) == f"{variable}: {wanted}"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", set()),
        ("  ", set()),
        ("[]", set()),
        ('["a", "b.c"]', {"a", "b.c"}),
        ("a,b.c", {"a", "b.c"}),
        (" a , b.c, ", {"a", "b.c"}),
    ],
)
def test_list_in_environment(text: str, words: set[str]) -> None:
    """A list in the environment is a TOML array, or words with commas between."""
    assert config.load(None, ENV | {"RTMPUMP_EVENTS_IGNORE": text}).events.ignore == words


@pytest.mark.parametrize(
    ("text", "value"), [("true", True), ("TRUE", True), ("false", False), ("False", False)]
)
def test_boolean_in_environment(text: str, value: bool) -> None:
    """A boolean in the environment is true or false, in any case."""
    loaded = config.load(None, ENV | {"RTMPUMP_SLACK_BATCH_PRESENCE_AWARE": text})
    assert loaded.slack.batch_presence_aware is value


_DURATIONS = table("""
1 | 1.0
0.25 | 0.25
"10" | 10.0
"10s" | 10.0
"10 s" | 10.0
"250ms" | 0.25
"1.5m" | 90.0
"2M" | 120.0
"24h" | 86400.0
""")


@pytest.mark.parametrize(("toml", "seconds"), _DURATIONS)
def test_durations(tmp_path: Path, toml: str, seconds: str) -> None:
    """A duration is a number of seconds, or a number with ms, s, m or h."""
    got = load(tmp_path, f"[retry]\nhealthy_after = {toml}").retry.healthy_after
    assert got == float(seconds)
    assert type(got) is float


@given(st.floats(0.001, 24), st.sampled_from([("s", 1.0), ("m", 60.0), ("h", 3600.0)]))
def test_durations_scale(number: float, unit: tuple[str, float]) -> None:
    """A duration with a unit is the number times the unit."""
    env = ENV | {"RTMPUMP_RETRY_HEALTHY_AFTER": f"{number:.6f}{unit[0]}", "RTMPUMP_RETRY_MAX": "1h"}
    got = config.load(None, env).retry.healthy_after
    assert got == pytest.approx(round(number, 6) * unit[1])


_SIZES = table("""
16777216 | 16777216
"16777216" | 16777216
"16777216B" | 16777216
"16384KiB" | 16777216
"64MiB" | 67108864
"64 mib" | 67108864
"1GiB" | 1073741824
"1.5GiB" | 1610612736
"2TiB" | 2199023255552
"20000kB" | 20000000
"64MB" | 64000000
"1GB" | 1000000000
"1TB" | 1000000000000
""")


@pytest.mark.parametrize(("toml", "size"), _SIZES)
def test_sizes(tmp_path: Path, toml: str, size: str) -> None:
    """A size is a number of bytes, or a number with a decimal or a binary unit."""
    got = load(tmp_path, f"[spool]\nmax_bytes = {toml}").spool.max_bytes
    assert got == int(size)
    assert type(got) is int


@pytest.mark.parametrize(
    ("listen", "address"),
    [
        ("127.0.0.1:9464", ("127.0.0.1", 9464)),
        ("[::1]:0", ("::1", 0)),
        ("localhost:65535", ("localhost", 65_535)),
        ("", None),
    ],
)
def test_listen_address(listen: str, address: tuple[str, int] | None) -> None:
    """`http.address` is host and port of `http.listen`, or None where nothing listens."""
    assert config.load(None, ENV | {"RTMPUMP_HTTP_LISTEN": listen}).http.address == address
