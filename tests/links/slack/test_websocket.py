"""Facts about a WebSocket to Slack, as RTM uses it, against a simulated workspace."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

import pytest

from rtmpump.errors import LinkError, NotConnected, WriteFailed
from rtmpump.links.slack import socket_io
from rtmpump.links.slack.rtm import RtmSource
from rtmpump.sandbox.slack.faults import HttpAnswer, Reset
from rtmpump.sandbox.slack.websocket import encode, header
from rtmpump.sandbox.slack.workspace import Workspace
from tests.support.rtm import (
    MIB,
    SECONDS,
    collect,
    live,
    ping_many,
    running,
    say,
    send_many,
    the_end,
    url_of,
)

# Reading


def test_a_flood_arrives_complete_and_in_order(rtm: RtmSource, workspace: Workspace) -> None:
    """50,000 frames; no read gives more than 512."""
    live(rtm, workspace)
    flood = [b'{"type":"x","n":%d,"text":"%s"}' % (n, b"y" * 150) for n in range(50_000)]
    with running(lambda: workspace.emit_many(flood)):
        got: list[bytes] = []
        while len(got) < len(flood):
            batch = rtm.read(SECONDS)
            assert 0 < len(batch) <= 512 or not batch
            got += batch
    assert got == flood


def test_frames_of_all_sizes_arrive(rtm: RtmSource, workspace: Workspace) -> None:
    """The three lengths of RFC 6455 §5.2 and their edges; empty and binary ones too."""
    live(rtm, workspace)
    sizes = (0, 1, 125, 126, 127, 65_535, 65_536, 300_000)
    bodies = [b"z" * size for size in sizes]
    with running(lambda: [workspace.emit(body, binary=len(body) % 2 == 1) for body in bodies]):
        assert collect(rtm, len(bodies)) == bodies


def test_bytes_may_come_one_by_one(rtm: RtmSource, workspace: Workspace) -> None:
    """A frame in as many segments as it has bytes is one message."""
    workspace.faults.byte_by_byte = True
    live(rtm, workspace)
    bodies = [b"%d" % n * 60 for n in range(20)]
    with running(lambda: [workspace.emit(body) for body in bodies]):
        assert collect(rtm, 20) == bodies


def test_fragments_are_put_together(rtm: RtmSource, workspace: Workspace) -> None:
    """Also with a ping between two of them (RFC 6455 §5.4)."""
    live(rtm, workspace)
    workspace.faults.fragment = 7
    workspace.emit(b"0123456789" * 10)
    workspace.raw(header(3, 1, False) + b"abc" + encode(b"?", 9) + header(3, 0) + b"def")
    assert collect(rtm, 2) == [b"0123456789" * 10, b"abcdef"]
    assert workspace.wait(lambda: workspace.pongs == [b"?"])


@pytest.mark.parametrize("cut", [1, 2, 3, 4, 5, 100])
def test_half_a_frame_waits_for_its_rest(rtm: RtmSource, workspace: Workspace, cut: int) -> None:
    """Silence in the middle of a frame gives nothing, wherever it is cut, and loses nothing."""
    live(rtm, workspace)
    whole, frame = encode(b"first"), encode(b"v" * 200)
    workspace.raw(whole + frame[:cut])
    assert collect(rtm, 1) == [b"first"]
    assert rtm.read(0.02) == []
    workspace.raw(frame[cut:])
    assert collect(rtm, 1) == [b"v" * 200]


def test_half_a_frame_makes_no_busy_loop(rtm: RtmSource, workspace: Workspace) -> None:
    """A read with half a frame at hand waits like any other."""
    live(rtm, workspace)
    workspace.raw(encode(b"v" * 200)[:50])
    started, spent = time.monotonic(), time.thread_time()
    while time.monotonic() < started + 0.5:
        rtm.read(0.25)
    assert time.thread_time() - spent < 0.25


def test_a_read_that_stopped_at_its_limit_has_more_at_once(
    rtm: RtmSource, workspace: Workspace
) -> None:
    """The rest is given without a wait, though nothing more comes."""
    live(rtm, workspace)
    workspace.raw(encode(b"i") * 2000)
    first = rtm.read(SECONDS)
    started = time.monotonic()
    assert collect(rtm, 2000 - len(first)) == [b"i"] * (2000 - len(first))
    assert time.monotonic() - started < SECONDS / 2


def test_a_read_ends_after_its_wait(rtm: RtmSource, workspace: Workspace) -> None:
    """Nothing came: an empty list, not before the time is over."""
    live(rtm, workspace)
    started = time.monotonic()
    assert rtm.read(0.2) == []
    assert time.monotonic() - started >= 0.19
    assert rtm.read(0) == []


def test_wake_ends_a_read(rtm: RtmSource, workspace: Workspace) -> None:
    """Whether it waits already or begins just after; the read that follows waits again."""
    live(rtm, workspace)
    started = time.monotonic()
    timer = threading.Timer(0.1, rtm.wake)
    timer.start()
    assert rtm.read(SECONDS) == []
    rtm.wake()
    rtm.wake()
    assert rtm.read(SECONDS) == []
    assert time.monotonic() - started < SECONDS / 2
    assert rtm.read(0.1) == []
    assert time.monotonic() - started >= 0.19
    timer.join()


# Ends


def _cut_in_a_frame(workspace: Workspace) -> None:
    workspace.raw(header(9) + b"half")
    workspace.cut()


def _send_large_fragments(workspace: Workspace) -> None:
    workspace.raw(header(MIB, 1, False) + b"y" * MIB)
    workspace.raw((header(MIB, 0, False) + b"z" * MIB) * 17)


class End(NamedTuple):
    """What the peer does, and the error that it leads to."""

    do: Callable[[Workspace], object]
    reason: str
    detail: str


ENDS = {
    "close": End(lambda w: w.close(1001, "going\r\naway\x1b"), "closed", "1001 going  away"),
    "close without a code": End(lambda w: w.close(1005), "closed", "1005"),
    "fin": End(lambda w: w.cut(), "eof", "the peer ended the connection without a close frame"),
    "rst": End(lambda w: w.reset(), "reset", "Connection reset by peer"),
    "opcode": End(lambda w: w.raw(header(0, 3)), "protocol", "Invalid opcode 3"),
    "reserved bit": End(lambda w: w.raw(b"\xc1\x00"), "protocol", "rsv is not implemented, yet"),
    "lone fragment": End(lambda w: w.raw(header(0, 0)), "protocol", "Illegal frame"),
    "long ping": End(
        lambda w: w.raw(encode(b"p" * 126, 9)), "protocol", "Ping message is too long"
    ),
    "close code": End(
        lambda w: w.raw(encode(b"\x03\xee", 8)), "protocol", "Invalid close opcode 1006"
    ),
    "fin in a frame": End(
        _cut_in_a_frame,
        "eof",
        "the peer ended the connection without a close frame",
    ),
    "length": End(
        lambda w: w.raw(b"\x81\x7f" + b"\xff" * 8 + b"y" * 17 * MIB),
        "too_large",
        "a message over 16 MiB",
    ),
    "promised length": End(
        lambda w: w.raw(b"\x81\x7f" + (1 << 62).to_bytes(8, "big")),
        "too_large",
        "a message over 16 MiB",
    ),
    "large fragments": End(_send_large_fragments, "too_large", "a message over 16 MiB"),
    "large and whole": End(
        lambda w: w.raw(encode(b"y" * (16 * MIB + 1))), "too_large", "a message over 16 MiB"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ENDS)
def test_an_end_has_its_reason(rtm: RtmSource, workspace: Workspace, name: str) -> None:
    """It is raised after the frames that came before, and at each read; no write is possible."""
    number = live(rtm, workspace)
    workspace.emit_many([b"%d" % n for n in range(1000)])
    with running(lambda: ENDS[name].do(workspace)):
        got, error = the_end(rtm)
    if name != "rst":  # what was under way is lost with an RST
        assert got == [b"%d" % n for n in range(1000)]
    assert (error.reason, error.detail) == (ENDS[name].reason, ENDS[name].detail)
    assert (error.link, error.at_once, error.held > 0) == ("slack", True, True)
    with pytest.raises(LinkError):
        rtm.read(0)
    assert rtm.current is None
    with pytest.raises(NotConnected):
        rtm.send(b"{}", connection=number)


def test_the_largest_message_arrives(rtm: RtmSource, workspace: Workspace) -> None:
    """16 MiB are not too large."""
    live(rtm, workspace)
    with running(lambda: workspace.emit(b"y" * 16 * MIB)):
        assert [len(body) for body in collect(rtm, 1)] == [16 * MIB]


def test_frames_before_a_reset_that_meets_a_pong_arrive() -> None:
    """The answer to a ping can't be written any more; what follows is given all the same."""
    ours, theirs = socket.socketpair()
    wire = socket_io.Wire(ours)
    wire.answering = threading.get_ident()
    theirs.sendall(b"what follows")
    theirs.close()
    assert wire.send(b"\x8a\x80mask") == 6
    assert not wire.writable
    wire.fill(1)
    assert (wire.recv(100), wire.ending) == (
        b"what follows",
        socket_io.Ending("reset", "writing failed: Broken pipe"),
    )
    wire.free()


# Writing


def test_pings_are_answered_while_another_thread_writes(
    rtm: RtmSource, workspace: Workspace
) -> None:
    """2,000 frames and 200 pongs on one socket, each whole and all in order."""
    number = live(rtm, workspace)
    pings = [b"%d" % n for n in range(200)]
    with running(
        lambda: send_many(rtm, number, 2000),
        lambda: ping_many(workspace, pings),
    ):
        deadline = time.monotonic() + SECONDS
        while len(workspace.pongs) < 200 and time.monotonic() < deadline:
            rtm.read(0.05)
    assert workspace.pongs == pings
    assert workspace.wait(lambda: len(workspace.frames) == 2000)
    assert [frame["id"] for frame in workspace.frames] == list(range(2000))


def test_two_writers_never_mix_their_frames(rtm: RtmSource, workspace: Workspace) -> None:
    """Each frame arrives whole, and those of one writer in their order."""
    number = live(rtm, workspace)

    def write(who: str) -> None:
        for n in range(500):
            rtm.send(say(n, who, who * (n * 30)), connection=number)

    with running(lambda: write("a"), lambda: write("b")):
        assert workspace.wait(lambda: len(workspace.frames) == 1000, SECONDS)
    for who in "ab":
        mine = [frame for frame in workspace.frames if frame["who"] == who]
        assert [(f["id"], f["text"]) for f in mine] == [(n, who * (n * 30)) for n in range(500)]


def test_a_peer_that_takes_nothing_breaks_the_write(
    rtm: RtmSource, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """WriteFailed; the reader, who waits, finds out at once, and the next write is NotConnected."""
    monkeypatch.setattr(socket_io, "_STALL_SECONDS", 0.3)
    number = live(rtm, workspace)
    workspace.silence()
    ends: list[LinkError] = []
    with running(lambda: ends.append(the_end(rtm)[1])), pytest.raises(WriteFailed) as caught:
        send_many(rtm, number, 100_000, 16_000)
    assert caught.value.detail == "the peer takes nothing"
    assert (ends[0].reason, ends[0].detail) == ("reset", "writing failed: the peer takes nothing")
    with pytest.raises(NotConnected):
        rtm.send(b"{}", connection=number)


def test_goodbye_is_answered_and_nothing_follows_it(rtm: RtmSource, workspace: Workspace) -> None:
    """The closing handshake, begun by us; a second goodbye is nothing."""
    number = live(rtm, workspace)
    rtm.say_goodbye()
    rtm.say_goodbye()
    with pytest.raises(NotConnected):
        rtm.send(b"{}", connection=number)
    got, error = the_end(rtm)
    assert (got, error.reason, error.detail) == ([], "closed", "1000")
    assert workspace.frames == []


@pytest.mark.parametrize("code", [1000, 1001, 1012, 4321, 1005])
def test_a_close_is_answered_with_its_own_code(
    rtm: RtmSource, workspace: Workspace, code: int
) -> None:
    """As RFC 6455 §5.5.1 has it; one without a code, without one."""
    live(rtm, workspace)
    workspace.close(code)
    the_end(rtm)
    assert workspace.wait(lambda: workspace.closes == [code])


def test_close_ends_a_read_and_a_write(
    rtm: RtmSource, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Threads that wait in them come back at once; the socket can be opened again."""
    monkeypatch.setattr(socket_io, "_STALL_SECONDS", SECONDS * 2)
    number = live(rtm, workspace)
    workspace.silence()
    written: list[int] = []

    def write() -> None:
        with pytest.raises((WriteFailed, NotConnected)):
            send_many(rtm, number, 100_000, 16_000, written)

    with running(lambda: the_end(rtm), write):
        seen = -1
        while len(written) != seen:  # until the writer stands still
            seen = len(written)
            time.sleep(0.2)
        rtm.close()
        rtm.close()
    assert live(rtm, workspace) == 2


def test_no_file_descriptor_stays(rtm: RtmSource, workspace: Workspace) -> None:
    """After 50 connections, and as many that failed, there are as many as before."""
    url = url_of(workspace)

    def count() -> int:
        return len(os.listdir("/proc/self/fd"))

    before = count()
    for n in range(50):
        rtm.open(url)
        workspace.faults.handshakes.append(HttpAnswer(403) if n % 2 else Reset())
        with pytest.raises(LinkError):
            rtm.open(url)
    rtm.close()
    deadline = time.monotonic() + SECONDS
    while count() > before and time.monotonic() < deadline:
        time.sleep(0.02)
    assert count() <= before
