"""What pika would write and what we write are the same bytes; if pika changes, this fails."""

from __future__ import annotations

from typing import Any

import msgspec
import pika
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pika.channel import Channel
from pika.connection import Connection
from pika.exceptions import ChannelWrongStateError

from rtmpump.core.routes import Route, route
from rtmpump.links.rabbitmq import batch_publish, event_frames
from rtmpump.links.rabbitmq.batch_publish import BatchPublisher
from rtmpump.links.rabbitmq.event_properties import event_properties

pytestmark = pytest.mark.quick

FRAME_MAX = 4096
INT_MAX = 2**31 - 1


def private(one: object) -> Any:
    """Return the same without types: pika's stubs have public members only."""
    return one


class Recorder(Connection):
    """A connection of pika's own, open to the eye of its channel, that keeps what it would send."""

    bytes_sent: int
    frames_sent: int

    def __init__(self) -> None:
        super().__init__(pika.ConnectionParameters(), internal_connection_workflow=False)
        self.written: list[bytes] = []
        self.params.frame_max = FRAME_MAX
        self._body_max_length = private(self)._get_body_frame_max_length()
        self.connection_state = self.CONNECTION_OPEN
        self.server_capabilities = {"publisher_confirms": True, "basic.nack": True}

    def _adapter_emit_data(self, data: bytes) -> None:
        self.written.append(data)

    def take(self) -> tuple[bytes, int, int]:
        """All that was written, how many bytes and how many frames were counted; then anew."""
        written = b"".join(self.written), self.bytes_sent, self.frames_sent
        self.written, self.bytes_sent, self.frames_sent = [], 0, 0
        return written

    def _adapter_connect_stream(self) -> None:
        raise NotImplementedError

    def _adapter_disconnect_stream(self) -> None:
        raise NotImplementedError

    def _adapter_add_timeout(self, *_: Any) -> None: ...

    def _adapter_remove_timeout(self, *_: Any) -> None: ...

    def _adapter_call_later(self, *_: Any) -> None: ...

    def _adapter_add_callback_threadsafe(self, *_: Any) -> None: ...


def opened() -> tuple[Recorder, Channel]:
    """Make an open channel that keeps its writes."""
    connection = Recorder()
    channel = Channel(connection, 7, lambda _channel: None)
    private(channel)._set_state(Channel.OPEN)
    return connection, channel


def by_pika(events: list[tuple[Route, bytes]], mandatory: bool) -> tuple[bytes, int, int]:
    """Return what `basic_publish` writes for them, and counts."""
    connection, channel = opened()
    for name, body in events:
        properties = event_properties(name, FRAME_MAX)
        channel.basic_publish("ex", name.routing_key, body, properties, mandatory)
    return connection.take()


def by_us(events: list[tuple[Route, bytes]], mandatory: bool) -> tuple[bytes, int, int]:
    """Return what we write for them, and count."""
    connection, channel = opened()
    fast = BatchPublisher(channel, "ex", mandatory)
    assert fast.is_fast
    assert connection.take() == (b"", 0, 0), "the self-check wrote something"
    fast.publish(events)
    return connection.take()


short = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
words = st.one_of(short, st.sampled_from(["", "C1", "x" * 255, "ü" * 127, "\U0001f600"]))
numbers = st.one_of(
    st.sampled_from([0, 1, INT_MAX, INT_MAX + 1, 2**32, 2**62]), st.integers(0, 2**62)
)
sizes = st.sampled_from([0, 1, 2, 200, FRAME_MAX - 9, FRAME_MAX - 8, FRAME_MAX - 7, 3 * FRAME_MAX])
ints = (
    numbers | numbers.map(lambda number: -number) | st.sampled_from([-(2**31), -(2**63), 2**63 - 1])
)
texts = words | st.just("w" * FRAME_MAX)
odd = st.sampled_from([None, [1], {"a": "b"}, b"x"])
values = texts | ints | st.booleans() | odd
facts = st.fixed_dictionaries(
    {}, optional={"event_id": values, "event_time": values, "x" * 255: values, "payload": texts}
)
routes = st.builds(
    Route,
    routing_key=st.sampled_from(["message", "message.channel_join", "unknown", "k" * 201]),
    type=st.just("message"),
    message_id=st.text(st.characters(max_codepoint=127), max_size=255),
    received_ms=st.one_of(st.just(1_700_000_000_123), numbers),
    seq=numbers,
    team=words,
    bot=words,
    channel=words,
    user=words,
    facts=st.none() | facts,
    is_json=st.sampled_from([True, True, False]),
    reply_to=st.sampled_from(["", "", "rtm.answers.1", "ü" * 127]),
    correlation_id=st.sampled_from(["", "", "c" * 32, "ü" * 127]),
)
events = st.lists(st.tuples(routes, sizes.map(lambda size: b"b" * size)), max_size=8)
FACTS = {"event_id": "Ev1", "event_time": 1_700_000_000, "team_id": "T1", "payload": "{}" * 50}
OF_SOCKET_MODE = Route(
    "message", "message", "m:1", 1_700_000_000_123, 1, "T1", "U1", "C1", "U2", FACTS
)
USUAL = Route("message", "message", "m:1", 1_700_000_000_123, 1, "T1", "U1", "C1", "U2")


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(events, st.booleans())
@example([(USUAL, b"{}")] * 3, True)
@example([(OF_SOCKET_MODE, b"{}"), (USUAL, b"{}"), (OF_SOCKET_MODE, b"{}")], True)
def test_the_bytes_are_those_of_pika(events: list[tuple[Route, bytes]], mandatory: bool) -> None:
    """Frame for frame, in order, whatever the event: and pika's own counters stay right."""
    assert by_us(events, mandatory) == by_pika(events, mandatory)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=300) | st.dictionaries(short, short).map(str).map(str.encode))
def test_what_routes_names_can_be_written(body: bytes) -> None:
    """Every name that the core gives to a frame fits into what we write."""
    name = route(body, seq=1, received_ms=1_700_000_000_123, team="T1", bot="U1", epoch="e")
    assert by_us([(name, body)], True) == by_pika([(name, body)], True)


@pytest.mark.parametrize(("size", "kept"), [(FRAME_MAX // 2, True), (FRAME_MAX // 2 + 1, False)])
def test_a_header_that_fills_half_of_a_frame_is_left_out(size: int, kept: bool) -> None:
    """The broker says how large a frame may be; and a consumer is told what is missing."""
    connection, channel = opened()
    name = msgspec.structs.replace(USUAL, facts={"payload": "ü" * (size // 2) + "x" * (size % 2)})
    BatchPublisher(channel, "ex", True).publish([(name, b"{}")])
    _, header, _ = connection.written
    properties = pika.BasicProperties()
    private(properties).decode(header, 7 + 12)
    headers = dict(properties.headers or {})
    assert ("payload" in headers, headers.get("payload_left_out", False)) == (kept, not kept)


def test_a_publish_does_nothing_but_write() -> None:
    """We bypass only the writing of pika, which counts no tag and keeps no message."""
    connection, channel = opened()
    channel.confirm_delivery(lambda _frame: None)
    connection.take()
    before = [dict(vars(channel)), dict(vars(connection))]
    channel.basic_publish("ex", "key", b"body", event_properties(USUAL), True)
    connection.take()
    assert [dict(vars(channel)), {**vars(connection), "written": before[1]["written"]}] == before


def test_usual_events_take_the_fast_way() -> None:
    """A chunk of them is one write; else the comparison above would prove nothing."""
    asked = msgspec.structs.replace(OF_SOCKET_MODE, reply_to="rtm.answers.1", correlation_id="c")
    for name in (USUAL, OF_SOCKET_MODE, asked):
        connection, channel = opened()
        BatchPublisher(channel, "ex", True).publish([(name, b"{}")] * 100)
        assert len(connection.written) == 1


def test_a_write_is_bounded() -> None:
    """A big chunk goes to pika in blocks: pika keeps what it can't send."""
    wrapped = msgspec.structs.replace(USUAL, facts={"payload": "p" * (FRAME_MAX // 2 - 50)})
    for chunk in ([(USUAL, b"b" * 4000)] * 100, [(wrapped, b"{}")] * 200):
        connection, channel = opened()
        BatchPublisher(channel, "ex", True).publish(chunk)
        assert len(connection.written) > 4
        assert max(map(len, connection.written)) < batch_publish._BLOCK + 2 * FRAME_MAX


def test_an_odd_event_keeps_its_place() -> None:
    """What pika itself has to write stands between those before and after it."""
    seqs = [1, 2, 3]
    bodies = [b"1", b"2" * 3 * FRAME_MAX, b"3"]
    mixed = [(_with_seq(seq), body) for seq, body in zip(seqs, bodies, strict=True)]
    assert by_us(mixed, False) == by_pika(mixed, False)


def test_templates_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many channels and users there are, what is kept of them has an end."""
    monkeypatch.setattr(event_frames, "_TEMPLATES_MAX", 10)
    frames = event_frames.EventFrames(1, FRAME_MAX, "ex", True)
    for number in range(100):
        assert frames.pieces(_with_channel(f"C{number}"), b"{}")
    assert len(frames._narrow) <= 10


def test_a_closed_channel_raises() -> None:
    """As with pika itself, and nothing is written."""
    connection, channel = opened()
    fast = BatchPublisher(channel, "ex", True)
    private(channel)._set_state(Channel.CLOSED)
    with pytest.raises(ChannelWrongStateError):
        fast.publish([(USUAL, b"{}")])
    assert connection.take() == (b"", 0, 0)


@pytest.mark.parametrize("fault", ["no private function", "other bytes", "an error"])
def test_a_pika_that_changed_is_found_and_used_as_it_is(
    fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The self-check sees it before a byte is written, and pika then publishes one by one."""
    connection, channel = opened()
    if fault == "no private function":
        monkeypatch.setattr(connection, "_output_marshaled_frames", None)
    elif fault == "other bytes":
        monkeypatch.setattr(pika.spec.BasicProperties, "FLAG_APP_ID", 1 << 1)
    else:
        monkeypatch.setattr(pika.frame.Header, "marshal", None)
    fast = BatchPublisher(channel, "ex", True)
    assert not fast.is_fast
    monkeypatch.undo()
    chunk = [(USUAL, b"{}"), (_with_seq(2), b"")]
    fast.publish(chunk)
    assert connection.take() == by_pika(chunk, True)


def _with_seq(seq: int) -> Route:
    return Route("message", "message", f"m:{seq}", 1_700_000_000_123, seq, "T1", "U1", "C1", "U2")


def _with_channel(channel: str) -> Route:
    return Route("message", "message", "m:1", 1_700_000_000_123, 1, "T1", "U1", channel, "")
