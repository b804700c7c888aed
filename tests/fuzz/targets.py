"""What is fed with strange input, and what has to hold whatever it is."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pika
from pika import frame, spec

from rtmpump import config
from rtmpump.core import frames, pump_events
from rtmpump.core.outbound import command_parsing, commands, outcome
from rtmpump.core.routes import route
from rtmpump.core.session import MessageIds, Session, State
from rtmpump.errors import CommandRejected, ConfigError
from rtmpump.links.rabbitmq.event_properties import event_properties
from rtmpump.links.rabbitmq.tolerant_reading import without_headers
from tests.support.paths import DATA, ROOT

Target = Callable[[bytes], None]

_FRAME_MAX: Final = 16 << 10
_TOKEN: Final = "xoxb-17653672481-kRtYzq"
_DATA: Final = DATA / "rtm_events.jsonl"
_EXAMPLE: Final = ROOT / "config.example.toml"


def a_frame(data: bytes) -> None:
    """A frame of Slack: it is known what it is, the session takes it, its event can be written."""
    seen = frames.parse(data)
    session = Session(0, hello_timeout=5, ping_interval=5, ping_timeout=5, ids=MessageIds())
    session.received(frames.Hello("hello", ""), 1)
    session.received(seen, 2)
    assert session.state in State
    assert session.wait(3) >= 0
    name = route(data, seq=1, received_ms=1, team="T", bot="B", epoch="e")
    # Of 131,072 bytes that a broker's frame may have.
    assert len(frame.Header(1, len(data), event_properties(name)).marshal()) < 4096
    assert len(name.routing_key) <= 255
    assert len(name.message_id) <= 255


def a_command(data: bytes) -> None:
    """A message of a producer: a command that fits into a frame, or one line that says why not."""
    try:
        command = command_parsing.parse(data)
        written = commands.encode(command, id=7, channel_id="C1")
    except CommandRejected as rejected:
        _check_words(rejected)
    else:
        assert len(written) <= _FRAME_MAX
        assert json.loads(written)["type"] == command.kind


def _check_words(rejected: CommandRejected) -> None:
    assert rejected.message
    assert rejected.message.isprintable()
    outcome.error_result(rejected.code, rejected.message, 1, False)
    dead = outcome.dead_headers(rejected.code, rejected.message, 1, 1)
    assert sum(map(len, pika.BasicProperties(headers=dead).encode())) < 8192


def a_config(data: bytes, folder: Path) -> None:
    """A file: a config, or one line that says what is wrong and doesn't tell the token."""
    path = folder / "config.toml"
    path.write_bytes(data)
    try:
        config.load(path, {"SLACK_API_TOKEN": _TOKEN})
    except ConfigError as error:
        line = str(error)
        assert line
        assert "\n" not in line
        assert _TOKEN not in line


def some_headers(data: bytes) -> None:
    """A table of headers: the frame is read as if there was none."""
    properties = spec.BasicProperties(content_type="t", headers={}, correlation_id="c")
    whole = frame.Header(3, 9, properties).marshal()
    at = spec.FRAME_HEADER_SIZE + 14 + 2
    content = whole[7:at] + struct.pack(">L", len(data)) + data + whole[at + 4 : -1]
    read = without_headers(struct.pack(">BHL", 2, 3, len(content)) + content + b"\xce")
    assert read is not None
    assert read[1].properties.correlation_id == "c"
    assert read[1].body_size == 9


def seeds(name: str) -> list[bytes]:
    """Good input, to be spoiled."""
    if name == "frame":
        own_events = [
            pump_events.disconnected("eof", "x"),
            pump_events.gap(from_ms=1, to_ms=2, reason="eof"),
        ]
        replies = [
            b'{"ok":true,"reply_to":1,"ts":"1.2","text":"x"}',
            b'{"ok":false,"reply_to":1,"error":{"code":2,"msg":"no"}}',
            b'{"type":"pong","reply_to":7}',
            b'{"type":"goodbye"}',
            b'{"type":"error","error":{"code":1,"msg":"Socket URL has expired"}}',
        ]
        return [*_DATA.read_bytes().splitlines(), *own_events, *replies]
    if name == "command":
        return [
            b'{"channel":"general","text":"hi","thread_ts":"1355517523.000005","reply_broadcast":true}',
            b'{"type":"typing","channel":"C0GENERAL"}',
            b'{"type":"presence_sub","ids":["U1","U2"]}',
            b'{"type":"presence_query","ids":[]}',
        ]
    if name == "config":
        sections = _EXAMPLE.read_bytes().split(b"\n[")
        return [_EXAMPLE.read_bytes(), *(b"[" + section for section in sections[1:])]
    return [
        b"\x01aS\0\0\0\x01b",
        b"\x01at\x01\x01bT" + bytes(8),
        b"\x01aA\0\0\0\x02t\x01",
        b"\x01aF\0\0\0\0",
    ]
