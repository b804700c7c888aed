"""Facts about what Slack's history means."""

from __future__ import annotations

import json
from typing import Any

import pytest

from rtmpump.core.missed_messages import (
    MARGIN_MS,
    Moment,
    OpenGap,
    Said,
    Span,
    after,
    before,
    in_order,
    just_before,
    moment,
    said,
    span,
    threads,
)
from rtmpump.core.routes import route

ALL = Span(Moment(0, 0), Moment(10**11, 0))
NONE: frozenset[str] = frozenset()


def name(body: bytes, source: str = "") -> Any:
    """How an event is published."""
    return route(body, seq=1, received_ms=1, team="T1", bot="U1", epoch="e", source=source)


@pytest.mark.parametrize("ts", [None, 5, 1.5, "", "1", "1.5", "1.0000001", "x.000001", "-1.000001"])
def test_what_is_no_ts_is_no_moment(ts: object) -> None:
    """Only seconds, a point and six digits are."""
    assert moment(ts) is None


def test_a_moment_is_written_as_it_was_read() -> None:
    """And ordered by time, not by its letters."""
    for ts in ("1355517523.000005", "0.000000", "9.999999"):
        assert str(moment(ts)) == ts
    early, late = moment("9.000000"), moment("10.000000")
    assert early is not None
    assert late is not None
    assert early < late
    assert str(after(Moment(9, 999_999))) == "10.000000"
    assert before(Moment(100, 5), 60.0) == Moment(40, 5)
    assert before(Moment(10, 5), 60.0) == Moment(0, 5)
    assert just_before(Moment(10, 0)) == Moment(9, 999_999)
    assert just_before(Moment(0, 0)) == Moment(0, 0)


def test_a_span_is_the_gap_and_a_margin() -> None:
    """For Slack's clock and ours differ."""
    wide = span(1_700_000_000_123, 1_700_000_001_000)
    assert MARGIN_MS == 5_000
    assert [str(one) for one in wide] == ["1699999995.123000", "1700000006.000000"]
    assert span(0, 0).first == Moment(0, 0)


def test_a_message_becomes_the_event_that_it_was() -> None:
    """With the id of the live event; the hidden ones and those of another time are none."""
    live = {"type": "message", "channel": "C1", "user": "U2", "text": "ö", "ts": "5.000001"}
    live |= {"event_ts": "5.000001"}
    message = {key: live[key] for key in ("type", "user", "text", "ts")}
    (event,) = said([message], "C1", ALL, NONE)
    assert json.loads(event.body) == live
    assert name(event.body).message_id == name(json.dumps(live).encode()).message_id
    assert said([message | {"hidden": True}], "C1", ALL, NONE) == []
    assert said([message | {"subtype": "tombstone"}], "C1", ALL, NONE) == []
    assert said([message], "C1", Span(Moment(6, 0), Moment(7, 0)), NONE) == []
    assert said([message], "C1", ALL, frozenset({"message"})) == []
    assert said([message | {"channel": "C-other"}], "C1", ALL, NONE)[0] == event


def test_a_message_with_something_nested_deep_is_an_event_without_it() -> None:
    """What no frame could hold; the text is there, and the id is that of the message."""
    deep = json.loads("[" * 900 + "]" * 900)
    message = {"type": "message", "ts": "5.000001", "text": "hi"}
    (plain,) = said([message], "C1", ALL, NONE)
    assert said([message | {"deep": deep}], "C1", ALL, NONE) == [plain]


def test_only_what_was_fetched_has_the_header() -> None:
    """`backfill` is there and true, or not there."""
    (event,) = said([{"type": "message", "ts": "5.000001"}], "C1", ALL, NONE)
    assert name(event.body, "backfill").headers["backfill"] is True
    assert "backfill" not in name(event.body).headers


def test_threads_that_went_on() -> None:
    """By the time of the latest reply, or because a reply was broadcast."""
    within = Span(Moment(100, 0), Moment(200, 0))
    messages: list[Any] = [
        {"ts": "1.000000", "latest_reply": "99.000000"},
        {"ts": "2.000000", "latest_reply": "100.000000"},
        {"ts": "3.000000", "latest_reply": "300.000000"},
        {"ts": "150.000000", "thread_ts": "4.000000", "subtype": "thread_broadcast"},
        {"ts": "5.000000", "thread_ts": "5.000000", "latest_reply": "50.000000"},
        {"ts": "6.000000"},
        {"ts": None, "latest_reply": "soon"},
    ]
    # Of any other kind, as the first of all.
    messages.insert(0, None)
    assert threads(messages, within) == {"2.000000", "3.000000", "4.000000"}


def test_streams_are_merged_by_time_and_copies_dropped() -> None:
    """Each stream is read only as far as is needed."""
    one = [Said(Moment(n, 0), b"a") for n in (1, 4, 5)]
    two = [Said(Moment(n, 0), b"b") for n in (2, 4, 6)]
    merged = [(said.at.seconds, said.body) for said in in_order([iter(one), iter(two)])]
    assert merged == [(1, b"a"), (2, b"b"), (4, b"a"), (5, b"a"), (6, b"b")]


def test_a_gap_is_begun_when_anything_of_it_was_done() -> None:
    """And covers what lies in it."""
    gap = OpenGap(10, 20, "T", "U")
    assert not gap.is_begun
    assert OpenGap(10, 20, "T", "U", channel="C1").is_begun
    assert gap.covers(OpenGap(10, 20, "T", "U"))
    assert not gap.covers(OpenGap(9, 20, "T", "U"))
