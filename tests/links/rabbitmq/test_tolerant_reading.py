"""Facts about frames whose headers pika can't read; a real broker brings some in test_sender."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pika import frame, spec

from rtmpump.links.rabbitmq.tolerant_reading import TolerantConnection, without_headers

pytestmark = pytest.mark.quick

_HEADERS: dict[str, Any] = {"large": "x" * 300, "list": [1, {"a": None}]}
_texts = st.text(max_size=20)
_properties = st.fixed_dictionaries(
    {},
    optional={
        "content_type": _texts,
        "content_encoding": _texts,
        "delivery_mode": st.integers(1, 2),
        "priority": st.integers(0, 255),
        "correlation_id": _texts,
        "reply_to": _texts,
        "expiration": _texts,
        "message_id": _texts,
        "timestamp": st.integers(0, 2**64 - 1),
        "type": _texts,
        "user_id": _texts,
        "app_id": _texts,
        "cluster_id": _texts,
    },
)


@given(_properties, st.integers(1, 2**16 - 1), st.integers(0, 2**64 - 1), st.binary(max_size=20))
def test_all_but_the_headers_is_as_pika_reads_it(
    properties: dict[str, Any], channel: int, size: int, behind: bytes
) -> None:
    """Whatever other properties there are; what follows the frame is not touched."""
    with_headers = spec.BasicProperties(**properties, headers=_HEADERS)
    bare = spec.BasicProperties(**properties)
    data = frame.Header(channel, size, with_headers).marshal()
    _, wanted = frame.decode_frame(frame.Header(channel, size, bare).marshal())
    read = without_headers(data + behind)
    assert read is not None
    assert read[0] == len(data)
    assert vars(read[1]) == vars(wanted)


@pytest.mark.parametrize(
    "data",
    [
        frame.Header(1, 5, spec.BasicProperties(content_type="x")).marshal(),
        frame.Body(1, b"body").marshal(),
        frame.Method(1, spec.Basic.Ack(1)).marshal(),
    ],
    ids=["no headers", "body", "method"],
)
def test_only_headers_are_left_out(data: bytes) -> None:
    """What else pika can't read, it has to say."""
    assert without_headers(data) is None


@pytest.mark.parametrize("kind", [list, dict])
def test_headers_that_are_nested_deep_are_left_out(kind: type) -> None:
    """Each that is read can be written again, with a few hundred callers more."""
    for depth, stay in ((90, True), (99, True), (100, False), (400, False)):
        value: Any = 1
        for _ in range(depth):
            value = [value] if kind is list else {"a": value}
        given = spec.BasicProperties(message_id="m", headers={"h": value, "x": 1})
        connection: Any = TolerantConnection.__new__(TolerantConnection)
        connection._frame_buffer = frame.Header(1, 5, given).marshal()
        size, read = connection._read_frame()
        assert size == len(connection._frame_buffer)
        assert read.properties.message_id == "m"
        assert read.properties.headers == (given.headers if stay else None)


def test_pika_still_reads_frames_where_we_meet_it() -> None:
    """`_read_frame` is pika's own affair: a version without it must not pass in silence."""
    ours: Any = TolerantConnection
    assert ours._read_frame is not ours.__mro__[1]._read_frame
