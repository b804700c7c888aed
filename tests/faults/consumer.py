"""The consumer of all events, as a process of its own: `python -m tests.faults.consumer URL`.

It writes one record for each delivery to its output, and acknowledges it only then. It ends when
nobody reads its output any more, or at SIGTERM.
"""

from __future__ import annotations

import json
import os
import signal
import struct
import sys
import threading
from collections.abc import Callable
from datetime import datetime
from typing import Final, NamedTuple

from rtmpump.config import Broker, Events, Secret
from rtmpump.demo.line import Line
from rtmpump.links.rabbitmq import topology
from rtmpump.links.rabbitmq.listener import Delivery
from tests.faults import events

SEEN: Final = "faults.seen"
EVENT, UNROUTED, GAP, OTHER, BROKEN = range(5)
_RECORD: Final = struct.Struct(">BQQ")
_EVENTS: Final = Events()


class Record(NamedTuple):
    """One delivery: `kind`, and number and hash of the message id, or begin and end of a gap."""

    kind: int
    first: int = 0
    second: int = 0


def read(descriptor: int) -> Record | None:
    """The next record of a consumer; None at its end."""
    data = b""
    while len(data) < _RECORD.size:
        more = os.read(descriptor, _RECORD.size - len(data))
        if not more:
            return None
        data += more
    return Record(*_RECORD.unpack(data))


def items() -> list[topology.Item]:
    """What the consumer declares."""
    queue = topology.Queue(SEEN, {"x-queue-type": "quorum"})
    return [
        *topology.basis(_EVENTS),
        *topology.unrouted(_EVENTS),
        queue,
        topology.Binding(_EVENTS.exchange, SEEN, "queue", "#"),
    ]


def main() -> None:
    """Consume until the end."""
    over = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: over.set())
    broker = Broker(url=Secret(sys.argv[1]), urls=tuple(map(Secret, sys.argv[1:])))
    lines = [
        Line("faults seen", broker, items(), SEEN, _writer(EVENT, over)),
        Line("faults unrouted", broker, items(), _EVENTS.unrouted, _writer(UNROUTED, over)),
    ]
    for line in lines:
        line.start(60)
    while not over.wait(0.5) and all(line.error is None for line in lines):
        pass
    for line in lines:
        line.stop()
    for line in lines:
        if line.error is not None:
            raise line.error


def _writer(kind: int, over: threading.Event) -> Callable[[Delivery], None]:
    def write(delivery: Delivery) -> None:
        try:
            os.write(1, _RECORD.pack(*_record(kind, delivery)))
        except BrokenPipeError:
            over.set()

    return write


def _record(kind: int, delivery: Delivery) -> Record:
    properties = delivery.properties
    if properties.type == "rtmpump.gap":
        told = json.loads(delivery.body)
        return Record(GAP, _ms(told["from"]), _ms(told["to"]))
    try:
        number = events.number_of(delivery.body)
    except ValueError as error:
        print(error, file=sys.stderr, flush=True)
        return Record(BROKEN)
    if number is None:
        return Record(OTHER)
    return Record(kind, number, events.hashed(str(properties.message_id)))


def _ms(moment: str) -> int:
    return round(datetime.fromisoformat(moment).timestamp() * 1000)


if __name__ == "__main__":
    main()
