"""What `rtmpump.log` promises: one line an event, no secret, no exception, silent libraries."""

from __future__ import annotations

import io
import json
import logging
import os
import re
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from rtmpump import log
from rtmpump.config import Secret


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    """Leave structlog and the libraries' loggers as they were."""
    loggers = [logging.getLogger(name) for name in ("pika", "slack_sdk", "websocket", "urllib3")]
    before = [(one, one.handlers, one.propagate, one.level) for one in loggers]
    yield
    structlog.reset_defaults()
    for one, handlers, propagate, level in before:
        one.handlers, one.propagate = handlers, propagate
        one.setLevel(level)


class _Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def _begun(level: str = "info", form: str = "json") -> io.StringIO:
    stream = io.StringIO()
    log.setup(level, form, stream)
    return stream


def _lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_json_line() -> None:
    """A line is one JSON object that begins with time, level, logger and event."""
    stream = _begun()
    log.get("rtm").info("slack.connected", team="T1", tries=2, at_once=True, rtt=None)
    (line,) = _lines(stream)
    assert list(line) == ["time", "level", "logger", "event", "team", "tries", "at_once", "rtt"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line.pop("time"))
    assert line == {
        "level": "info",
        "logger": "rtm",
        "event": "slack.connected",
        "team": "T1",
        "tries": 2,
        "at_once": True,
        "rtt": None,
    }


@pytest.mark.parametrize("lowest", ["debug", "info", "warning", "error"])
def test_levels(lowest: str) -> None:
    """What is below the level is left out."""
    stream = _begun(lowest)
    words = ["debug", "info", "warning", "error"]
    for word in words:
        getattr(log.get("x"), word)("told")
    assert [line["level"] for line in _lines(stream)] == words[words.index(lowest) :]


@pytest.mark.parametrize(
    ("form", "stream", "is_json"),
    [
        ("auto", _Terminal, False),
        ("auto", io.StringIO, True),
        ("json", _Terminal, True),
        ("console", io.StringIO, False),
    ],
)
def test_format(form: str, stream: type[io.StringIO], is_json: bool) -> None:
    """`auto` is for people on a terminal and JSON elsewhere; the other words are as they say."""
    out = stream()
    log.setup("info", form, out)
    log.get("x").info("told", a=1)
    assert out.getvalue().startswith("{") is is_json


def test_colours_only_on_a_terminal() -> None:
    """Lines for people have colours on a terminal and none in a file."""
    terminal, file = _Terminal(), io.StringIO()
    for stream in (terminal, file):
        log.setup("info", "console", stream)
        log.get("rtm").info("slack.connected", team="T1")
    assert "\x1b[" in terminal.getvalue()
    assert "\x1b[" not in file.getvalue()
    assert re.search(r"Z \[info +\] slack\.connected +\[rtm\] team=T1\n$", file.getvalue())


def test_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a stream the log goes to standard error, and never to standard output."""
    log.setup("info", "json")
    log.get("x").info("told")
    out, err = capsys.readouterr()
    assert (out, json.loads(err)["event"]) == ("", "told")


def test_logger_before_setup() -> None:
    """A logger taken before `setup`, also one with bound fields, follows each later `setup`."""
    logger = log.get("early")
    first = _begun()
    logger.info("one")
    second = _begun("debug")
    logger.debug("two", link="slack")
    assert [line["event"] for line in _lines(first)] == ["one"]
    assert [(line["event"], line["link"]) for line in _lines(second)] == [("two", "slack")]


def test_bound_fields() -> None:
    """Fields bound to a logger are in each of its lines."""
    stream = _begun()
    logger = log.get("x").bind(connection=7)
    logger.info("one")
    logger.warning("two")
    assert [line["connection"] for line in _lines(stream)] == [7, 7]


@pytest.mark.parametrize("form", ["json", "console"])
def test_secret_at_any_depth(form: str) -> None:
    """A Secret prints as *** in fields, containers, keys and the event itself."""
    stream = _begun(form=form)
    secret = Secret("xoxb-hidden")
    deep: Any = secret
    for _ in range(20):
        deep = [{"deeper": deep}]
    log.get("x").info("told", a=secret, b=[secret], c={"k": (secret,)}, d={secret: 1}, e=deep)
    log.get("x").info("told %s", secret)
    log.get(f"{secret}").bind(f=secret).info("told")
    text = stream.getvalue()
    assert "hidden" not in text
    assert text.count("***") >= 7


def test_exception_is_one_line() -> None:
    """Above debug an exception is its class and message on one line, and no traceback."""
    stream = _begun()
    try:
        raise ValueError("one\n two")
    except ValueError as error:
        log.get("x").exception("failed")
        log.get("x").error("failed", exc_info=error)
        log.get("x").error("failed", exc_info=(type(error), error, error.__traceback__))
        log.get("x").error("failed", error=error)
    for line in _lines(stream):
        assert line["error"] == "ValueError: one two"
        assert set(line) == {"time", "level", "logger", "event", "error"}
    assert len(_lines(stream)) == 4


def test_no_exception_to_tell() -> None:
    """`exc_info` outside of an except block adds nothing."""
    stream = _begun("debug")
    log.get("x").error("failed", exc_info=True)
    assert set(_lines(stream)[0]) == {"time", "level", "logger", "event"}


@pytest.mark.parametrize("form", ["json", "console"])
def test_traceback_at_debug(form: str) -> None:
    """At level debug the traceback is there too, without the local variables of its frames."""
    stream = _begun("debug", form)
    secret = Secret("xoxb-hidden")
    try:
        revealed = secret.reveal()
        raise ValueError(len(revealed))
    except ValueError:
        log.get("x").exception("failed")
    text = stream.getvalue()
    assert "Traceback (most recent call last)" in text
    assert "test_traceback_at_debug" in text
    assert "ValueError: 11" in text
    assert "hidden" not in text
    if form == "console":
        assert len(text.splitlines()) > 4


class _Mute:
    """An object that can't even be printed."""

    def __str__(self) -> str:
        raise RuntimeError("no")

    __repr__ = __str__


def test_odd_values() -> None:
    """Whatever is logged becomes JSON: what JSON has no word for becomes text."""
    stream = _begun()
    circle: list[Any] = []
    circle.append(circle)
    log.get("x").info(
        "told",
        nan=float("nan"),
        inf=float("inf"),
        blob=b"\xff",
        surrogate="\udc80",
        mute=_Mute(),
        circle=circle,
        words=frozenset({"a"}),
        keys={1: 2, None: 3},
    )
    (line,) = _lines(stream)
    assert (line["nan"], line["inf"]) == ("nan", "inf")
    assert line["blob"] == "b'\\xff'"
    assert line["surrogate"] == "\udc80"
    assert line["mute"] == "(no text: RuntimeError)"
    assert line["words"] == ["a"]
    assert line["keys"] == {"1": 2, "None": 3}


_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    # Surrogates come in pairs in JSON, which joins them; alone they are tested above.
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda deeper: (
        st.lists(deeper, max_size=3) | st.dictionaries(st.text("abc"), deeper, max_size=3)
    ),
    max_leaves=8,
)


@given(_JSON)
def test_json_values_stay(value: Any) -> None:
    """A JSON value of modest depth comes out of the line as it went in, on one line."""
    stream = _begun()
    log.get("x").info("told", value=value)
    (line,) = _lines(stream)
    assert line["value"] == value
    assert stream.getvalue().count("\n") == 1


def test_no_line_can_be_forged() -> None:
    """Line breaks and escape sequences in values can't make a line or steer a terminal."""
    for form in ("json", "console"):
        stream = _begun(form=form)
        log.get("x").info("told\n2026", text="a\r\nb \x1b[31m\u2028", more=["\x1b\n"])
        assert len(stream.getvalue().splitlines()) == 1
        assert "\x1b" not in stream.getvalue()


def test_escapes_in_a_traceback() -> None:
    """The traceback for people keeps its lines and loses escape sequences."""
    stream = _begun("debug", "console")
    try:
        raise ValueError("\x1b[31m")
    except ValueError:
        log.get("x").exception("failed")
    assert "\x1b" not in stream.getvalue()
    assert "ValueError: \\x1b[31m" in stream.getvalue().splitlines()


def test_dead_streams() -> None:
    """A closed stream or a pipe that nobody reads ends no one who logs."""
    closed = io.StringIO()
    log.setup("info", "json", closed)
    closed.close()
    log.get("x").info("told")
    read_end, write_end = os.pipe()
    os.close(read_end)
    with os.fdopen(write_end, "w") as pipe:
        log.setup("info", "json", pipe)
        log.get("x").info("told")
        os.dup2(os.open(os.devnull, os.O_WRONLY), write_end)


def test_threads_do_not_mix_lines() -> None:
    """Lines of several threads stay whole."""

    class Slow(io.StringIO):
        def write(self, text: str) -> int:
            return sum(super(Slow, self).write(char) for char in text)

    stream = Slow()
    log.setup("info", "json", stream)

    def talk(number: int) -> None:
        for turn in range(50):
            log.get("x").info("told", number=number, turn=turn)

    threads = [threading.Thread(target=talk, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    told = sorted((line["number"], line["turn"]) for line in _lines(stream))
    assert told == [(number, turn) for number in range(4) for turn in range(50)]


def test_libraries_are_silent(capsys: pytest.CaptureFixture[str]) -> None:
    """pika, slack_sdk, websocket and urllib3 print nothing, whatever the root logger does."""
    root = io.StringIO()
    handler = logging.StreamHandler(root)
    logging.getLogger().addHandler(handler)
    try:
        stream = _begun("debug")
        for name in ("pika", "pika.adapters.x", "slack_sdk.web", "websocket", "urllib3.util"):
            logging.getLogger(name).critical("wss://secret")
            logging.getLogger(name).warning("wss://secret")
    finally:
        logging.getLogger().removeHandler(handler)
    assert (stream.getvalue(), root.getvalue()) == ("", "")
    assert capsys.readouterr() == ("", "")
