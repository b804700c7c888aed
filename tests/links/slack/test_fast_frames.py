"""What is taken from the buffer without websocket-client is what it would have given."""

from __future__ import annotations

import pytest
import websocket
from hypothesis import given, settings
from hypothesis import strategies as st

from rtmpump.links.slack.fast_frames import take_plain
from rtmpump.sandbox.slack.websocket import Opcode, encode, encode_close, header

pytestmark = pytest.mark.quick

MOST, ROOM = 512, 1 << 20

payloads = st.sampled_from([0, 1, 2, 3, 125, 126, 127, 300, 65535, 65536]).map(lambda n: b"p" * n)
kinds = st.sampled_from([Opcode.TEXT, Opcode.BINARY])
plain = st.builds(encode, payloads, kinds)
odd = st.one_of(
    st.sampled_from(
        [
            encode(b"ping", Opcode.PING),
            encode_close(1000, "bye"),
            encode(b"fragments", piece=4),
            b"\x81\x85mask\x00\x00\x00\x00\x00",
            b"\xc1\x00",
            b"\x81\xfe\x00\x05",
            header(5, 3) + b"odd..",
        ]
    ),
    st.binary(max_size=8),
)


class Canned(websocket.WebSocket):
    """A websocket-client that reads from these bytes."""

    def __init__(self, data: bytes) -> None:
        super().__init__(skip_utf8_validation=True)
        self._data = data

    def _recv(self, size: int) -> bytes:
        taken, self._data = self._data[:size], self._data[size:]
        if not taken:
            raise websocket.WebSocketTimeoutException
        return taken


def by_client(data: bytes) -> list[bytes]:
    """What websocket-client gives until it meets what is not there, or no message."""
    client = Canned(data)
    messages: list[bytes] = []
    try:
        while True:
            opcode, frame = client.recv_data_frame(True)
            if opcode not in (Opcode.TEXT, Opcode.BINARY):
                return messages
            messages.append(frame.data)
    except websocket.WebSocketException:
        return messages


@settings(max_examples=300, deadline=None)
@given(st.lists(plain | odd, max_size=8).map(b"".join), st.integers(0, 400))
def test_what_is_taken_is_what_websocket_client_gives(data: bytes, cut: int) -> None:
    """The same messages, as far as it goes, and the rest begins with a frame that is left to it."""
    buffer = data[: len(data) - cut] if cut < len(data) else data
    messages, end = take_plain(buffer, 0, MOST, ROOM)
    expected = by_client(buffer)
    assert messages == expected[: len(messages)]
    assert by_client(buffer[end:]) == expected[len(messages) :]


@given(st.lists(plain, max_size=6))
def test_plain_frames_need_nobody_else(frames: list[bytes]) -> None:
    """Below 64 KiB all of them are taken, but a last one that is shorter than a long header."""
    data = b"".join(frames)
    messages, end = take_plain(data, 0, MOST, ROOM)
    long = next((at for at, one in enumerate(frames) if len(one) > 65535 + 4), len(frames))
    rest = frames[len(messages) :]
    assert len(messages) == long or (len(messages) == long - 1 and len(rest[0]) < 4)
    assert data[end:] == b"".join(rest)


def test_it_stops_at_its_limits() -> None:
    """No more than so many messages, and none more once they fill the room."""
    data = encode(b"1234567890") * 10
    assert len(take_plain(data, 0, 3, ROOM)[0]) == 3
    assert len(take_plain(data, 0, MOST, 25)[0]) == 3
    assert take_plain(data, 12, 1, ROOM) == ([b"1234567890"], 24)
