"""Who writes an answer, and that nobody writes it twice."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import pytest

from rtmpump.core import envelopes
from rtmpump.core.envelopes import Envelope
from rtmpump.links.answers import Answers
from rtmpump.links.slack.asking import Asking

pytestmark = pytest.mark.quick


class Asked:
    """One question that came on the connection "first"."""

    def __init__(self) -> None:
        self.counts: list[str] = []
        self.written: list[tuple[str, bytes]] = []
        self.meanwhile: Callable[[], object] = lambda: None
        """Called while an answer is being written."""
        self.is_writable = True
        self.answers = Answers(60.0, self.counts.append)
        self.answers.serve("rtm.answers.1")
        self.asking: Asking[str] = Asking(self.answers, frozenset({"interactive"}))
        self.asking.write = self._write
        self.envelope = envelope()
        self.asking.take("first", self.envelope, time.time_ns() // 1_000_000)
        question = self.answers.question("1")
        assert question is not None
        self._correlation_id = question.correlation_id

    def answer(self) -> None:
        """Answer as RabbitMQ's thread does."""
        self.answers.answered(self._correlation_id, b'{"a": 1}')

    def due(self) -> list[tuple[str, bytes | None]]:
        """What the reader is to write."""
        return [(one.member, one.payload) for one in self.asking.due()]

    def _write(self, member: str, _envelope: Envelope, payload: bytes) -> bool:
        self.meanwhile()
        if self.is_writable:
            self.written.append((member, payload))
        return self.is_writable


def envelope() -> Envelope:
    """A form that was sent; a copy has the same id."""
    payload = {"type": "view_submission", "user": {"id": "U1"}, "view": {"id": "V1", "hash": "h"}}
    around = {"envelope_id": "1", "type": "interactive", "accepts_response_payload": True}
    read = envelopes.read(json.dumps(around | {"payload": payload}).encode())
    assert read is not None
    return read


def test_before_the_event_is_stored_the_reader_writes() -> None:
    """An answer can come before the reader has taken note; it goes to the newest copy."""
    one = Asked()
    one.answer()
    assert one.written == []
    assert one.asking.keeps("first", one.envelope)
    assert one.asking.keeps("second", envelope())
    assert one.due() == [("second", b'{"a": 1}')]


def test_an_answer_that_comes_before_the_disk_is_kept() -> None:
    """The reader asks what is due also while the disk fails; the answer waits with the event."""
    asked = Asked()
    asked.answer()
    assert (asked.due(), asked.due(), asked.counts) == ([], [], [])
    assert asked.asking.keeps("first", asked.envelope)
    assert asked.due() == [("first", b'{"a": 1}')]
    assert (asked.due(), asked.counts) == ([], [])


def test_an_answer_to_what_was_not_stored_is_undelivered() -> None:
    """Also one that had come before."""
    asked = Asked()
    asked.answer()
    assert asked.due() == []
    asked.asking.forget(asked.envelope)
    assert (asked.due(), asked.due(), asked.counts) == ([], [], ["undelivered"])


def test_then_whoever_brings_it_writes_it_once() -> None:
    """The reader has nothing to write, and the connection may go."""
    one = Asked()
    assert one.asking.keeps("first", one.envelope)
    one.answer()
    assert (one.written, one.counts) == ([("first", b'{"a": 1}')], ["answered"])
    assert one.asking.waits_on("first")
    assert one.due() == []
    assert not one.asking.waits_on("first")
    one.answer()
    assert (len(one.written), one.counts) == (1, ["answered", "late"])


def test_a_connection_that_ends_meanwhile_is_not_written_to_twice() -> None:
    """What is being written waits until it is; what waits without an answer is acknowledged."""
    one = Asked()
    one.asking.keeps("first", one.envelope)
    freed: list[object] = []
    one.meanwhile = lambda: freed.extend([one.due(), *one.asking.free("first")])
    one.answer()
    assert (freed, len(one.written)) == ([[]], 1)
    other = Asked()
    other.asking.keeps("first", other.envelope)
    assert [due.payload for due in other.asking.free("first")] == [None]
    other.answer()
    assert (other.written, other.counts) == ([], ["late"])


def test_the_answer_goes_to_the_newest_copy() -> None:
    """Slack sent it again on another connection; a copy after the answer gets none."""
    one = Asked()
    one.asking.keeps("first", one.envelope)
    assert one.asking.keeps("second", envelope())
    one.answer()
    assert [member for member, _ in one.written] == ["second"]
    assert not one.asking.keeps("third", envelope())
    assert one.due() == []


def test_an_answer_that_can_not_be_written_is_undelivered() -> None:
    """It is counted once, and the reader does not try again: Slack will."""
    one = Asked()
    one.asking.keeps("first", one.envelope)
    one.is_writable = False
    one.answer()
    assert (one.counts, one.due()) == (["undelivered"], [])
