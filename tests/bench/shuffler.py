"""A process that answers in an order of chance, and also in ways that must change nothing.

python -m tests.bench.shuffler BROKER_URL QUEUE
"""

from __future__ import annotations

import json
import random
import sys
import time
from collections import deque
from enum import Enum
from typing import Final, NamedTuple

import pika
from pika.adapters.blocking_connection import BlockingChannel
from pika.spec import Basic, BasicProperties

WRONG: Final = {"view": "an answer that must change nothing"}
_BATCH: Final = 300
_GATHERS: Final = 0.1
# Longer than the pump waits for an answer.
_LATE: Final = 4.0
_TOO_LARGE: Final = 70_000


class Trick(Enum):
    """What is done beside the right answer; of the late ones there is no right answer."""

    NONE = 0
    LATE = 1
    TWICE = 2
    STRANGER = 3
    NO_OBJECT = 4
    TOO_LARGE = 5
    OLD_NAME = 6


_TRICKS: Final = tuple(Trick)
_WEIGHTS: Final = (70, 4, 9, 9, 4, 0.5, 3.5)


class _Asked(NamedTuple):
    at: float
    to: str
    correlation_id: str
    view: str


def trick(view: str) -> Trick:
    """Return what the question with this view meets."""
    (one,) = random.Random(view).choices(_TRICKS, _WEIGHTS)
    return one


def main() -> None:
    """Consume and answer until the process is ended."""
    url, queue = sys.argv[1:]
    connection = pika.BlockingConnection(pika.URLParameters(url))
    channel = connection.channel()
    batch: list[_Asked] = []

    def asked(
        _channel: BlockingChannel, _: Basic.Deliver, given: BasicProperties, body: bytes
    ) -> None:
        if given.reply_to:
            view, name = json.loads(body)["view"], str(given.correlation_id)
            batch.append(_Asked(time.monotonic(), given.reply_to, name, view))

    channel.basic_consume(queue, asked, auto_ack=True)
    print(json.dumps({"ready": True}), flush=True)
    answers = _Answers(channel)
    while True:
        connection.process_data_events(time_limit=0.02)
        answers.give_late()
        if len(batch) >= _BATCH or (batch and batch[0].at < time.monotonic() - _GATHERS):
            random.shuffle(batch)
            for one in batch:
                answers.give(one)
            batch.clear()


class _Answers:
    """Gives them; `closed` are questions that have had their answer."""

    def __init__(self, channel: BlockingChannel) -> None:
        self._channel = channel
        self._late: deque[_Asked] = deque()
        self._closed: deque[str] = deque(maxlen=5_000)

    def give(self, one: _Asked) -> None:
        """Answer a question, with its trick."""
        wrong = json.dumps(WRONG).encode()
        match trick(one.view):
            case Trick.LATE:
                self._late.append(one._replace(at=time.monotonic()))
                return
            case Trick.STRANGER:
                self._send(one, wrong, f"{random.getrandbits(128):032x}")
            case Trick.NO_OBJECT:
                self._send(one, b"[1]")
            case Trick.TOO_LARGE:
                self._send(one, json.dumps({"view": "x" * _TOO_LARGE}).encode())
            case Trick.OLD_NAME if self._closed:
                self._send(one, wrong, random.choice(self._closed))
        self._send(one, json.dumps({"view": one.view}).encode())
        if trick(one.view) is Trick.TWICE:
            self._send(one, wrong)
        self._closed.append(one.correlation_id)

    def give_late(self) -> None:
        """Answer those whose time is over."""
        while self._late and self._late[0].at < time.monotonic() - _LATE:
            self._send(self._late.popleft(), json.dumps(WRONG).encode())

    def _send(self, one: _Asked, body: bytes, name: str = "") -> None:
        given = pika.BasicProperties(correlation_id=name or one.correlation_id)
        self._channel.basic_publish("", one.to, body, given)


if __name__ == "__main__":
    main()
