"""What each piece of hand-made speed is worth: the pump as it is, and without one or all of them.

Each is put out of the way as its own fallback does it, so the result is the same, only slower.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Final

from rtmpump.sandbox.rabbitmq.node import RabbitNode
from tests.bench.common import Process, Slack, pump
from tests.bench.subjects import Subject
from tests.bench.throughput import Rounds, keep, one_round

_ENCODING: Final = (
    "from rtmpump.links.rabbitmq.batch_publish import BatchPublisher;"
    "BatchPublisher._try = lambda self: False;"
)
_READING: Final = (
    "from rtmpump.links.slack import socket_io;"
    "socket_io.take_plain = lambda buffer, at, most, room: ([], at);"
)
_PUMPS: Final = {
    "whole": "",
    "pika's encoding": _ENCODING,
    "websocket-client's reading": _READING,
    "both": _ENCODING + _READING,
}


def run(events: int, rounds: int) -> Rounds:
    """Each in each round, so that all of them meet the same disturbances."""
    found: Rounds = {}
    subjects = [
        Subject(name.replace(" ", "-"), name, "rtm.events", 1.0, partial(_start, code))
        for name, code in _PUMPS.items()
    ]
    with RabbitNode() as node:
        for number in range(rounds):
            for subject in subjects:
                keep(found, number, subject.title, one_round(subject, node, events))
    return found


def _start(code: str, slack: Slack, url: str, folder: Path) -> AbstractContextManager[Process]:
    program = ("-c", f"{code}from rtmpump import cli;cli.main()")
    return pump(folder, slack, url, program=program)
