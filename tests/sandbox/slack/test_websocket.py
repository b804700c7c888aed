"""Facts about the server's side of RFC 6455 frames."""

from __future__ import annotations

import pytest
import websocket
from hypothesis import given
from hypothesis import strategies as st

from rtmpump.sandbox.slack.websocket import (
    Decoder,
    Opcode,
    ProtocolError,
    ReceivedMessage,
    accept_key,
    close_code,
    encode,
    encode_close,
    header,
)

pytestmark = pytest.mark.quick

LIMIT = 70_000
SIZES = (0, 1, 125, 126, 127, 65_535, 65_536)


def client_frame(payload: bytes, opcode: int = Opcode.TEXT, fin: int = 1) -> bytes:
    """Return a masked frame, made by websocket-client."""
    frame = websocket.ABNF.create_frame(payload, opcode, fin)
    encoded = frame.format()
    assert isinstance(encoded, bytes)
    return encoded


def test_the_accept_key_is_that_of_the_rfc() -> None:
    """RFC 6455 §1.3 gives this pair as its example."""
    assert accept_key("dGhlIHNhbXBsZSBub25jZQ==") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


@pytest.mark.parametrize("size", SIZES)
def test_every_form_of_length_is_read(size: int) -> None:
    """7, 16 and 64 bit lengths of masked frames give back the payload."""
    payload = b"x" * size
    assert Decoder(LIMIT).feed(client_frame(payload)) == [ReceivedMessage(Opcode.TEXT, payload)]


@pytest.mark.parametrize(("size", "length"), [(125, 2), (126, 4), (65_535, 4), (65_536, 10)])
def test_the_shortest_form_of_length_is_written(size: int, length: int) -> None:
    """RFC 6455 §5.2: the minimal number of bytes must be used."""
    assert len(header(size)) == length


@given(
    texts=st.lists(st.text(max_size=300), min_size=1, max_size=6),
    cuts=st.lists(st.integers(1, 97), min_size=1, max_size=20),
)
def test_arrival_in_pieces_changes_nothing(texts: list[str], cuts: list[int]) -> None:
    """However TCP cuts the bytes, the same messages come out in the same order."""
    data = b"".join(client_frame(text.encode()) for text in texts)
    decoder, got, at, turn = Decoder(LIMIT), [], 0, 0
    while at < len(data):
        step = cuts[turn % len(cuts)]
        got += decoder.feed(data[at : at + step])
        at, turn = at + step, turn + 1
    assert [message.payload.decode() for message in got] == texts


def test_fragments_become_one_message() -> None:
    """Fragments are joined; a control frame between them comes out at once."""
    data = (
        client_frame(b"one ", fin=0)
        + client_frame(b"?", Opcode.PING)
        + client_frame(b"two ", Opcode.CONTINUATION, fin=0)
        + client_frame(b"three", Opcode.CONTINUATION)
    )
    assert Decoder(LIMIT).feed(data) == [
        ReceivedMessage(Opcode.PING, b"?"),
        ReceivedMessage(Opcode.TEXT, b"one two three"),
    ]


BROKEN = {
    "not masked": (encode(b"{}"), 1002),
    "a reserved bit": (b"\xc1\x80\0\0\0\0", 1002),
    "opcode 3": (b"\x83\x80\0\0\0\0", 1002),
    "nothing to continue": (client_frame(b"x", Opcode.CONTINUATION), 1002),
    "another message inside": (client_frame(b"x", fin=0) + client_frame(b"y"), 1002),
    "a ping in fragments": (b"\x09\x80\0\0\0\0", 1002),
    "a ping of 126 bytes": (b"\x89\xfe\x00\x7e\0\0\0\0", 1002),
    "no UTF-8": (client_frame(b"\xff"), 1007),
    "no UTF-8 over two frames": (
        client_frame(b"\xc3", fin=0) + client_frame(b"(", Opcode.CONTINUATION),
        1007,
    ),
    "too long": (client_frame(b"x" * 101), 1009),
    "too long over two frames": (
        client_frame(b"x" * 60, fin=0) + client_frame(b"x" * 60, Opcode.CONTINUATION),
        1009,
    ),
}


@pytest.mark.parametrize(("data", "code"), BROKEN.values(), ids=BROKEN)
def test_a_broken_rule_has_its_close_code(data: bytes, code: int) -> None:
    """RFC 6455 §7.4.1: 1002 for the protocol, 1007 for bad text, 1009 for too much."""
    with pytest.raises(ProtocolError) as caught:
        Decoder(100).feed(data)
    assert caught.value.code == code


def test_a_message_that_is_too_big_is_refused_before_it_has_arrived() -> None:
    """Its header is enough, so that it is never buffered."""
    with pytest.raises(ProtocolError):
        Decoder(100).feed(client_frame(b"x" * 101)[:8])


def test_text_may_be_cut_inside_a_character() -> None:
    """A fragment may end in the middle of one; only the whole is checked."""
    data = client_frame(b"\xc3", fin=0) + client_frame(b"\xbc", Opcode.CONTINUATION)
    assert Decoder(LIMIT).feed(data) == [ReceivedMessage(Opcode.TEXT, "ü".encode())]


@given(payload=st.binary(max_size=500), piece=st.integers(0, 50))
def test_a_client_reads_what_we_encode(payload: bytes, piece: int) -> None:
    """Whole or in fragments, websocket-client gets the payload that went in."""
    data = encode(payload, Opcode.BINARY, piece=piece)
    assert read_with_websocket_client(data) == (Opcode.BINARY, payload)


def read_with_websocket_client(data: bytes) -> tuple[int, bytes]:
    """One message as websocket-client understands it."""
    at = 0

    def receive(size: int) -> bytes:
        nonlocal at
        at += size
        return data[at - size : at]

    frames = websocket._abnf.frame_buffer(receive, skip_utf8_validation=True)
    whole = websocket._abnf.continuous_frame(fire_cont_frame=False, skip_utf8_validation=True)
    while True:
        frame = frames.recv_frame()
        whole.validate(frame)
        whole.add(frame)
        if whole.is_fire(frame):
            opcode, joined = whole.extract(frame)
            return opcode, bytes(joined.data)


def test_a_close_frame_holds_code_and_reason() -> None:
    """Code 1005 stands for a close frame without a body, and is never written."""
    assert encode_close(1001, "bye") == b"\x88\x05\x03\xe9bye"
    assert encode_close(1005) == b"\x88\x00"
    assert close_code(b"\x03\xe9bye") == 1001
    assert close_code(b"") == 1005
