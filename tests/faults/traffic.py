"""Both directions under load: a flood of numbered events, a stream of commands, and who counts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

from rtmpump.config import Broker, Outbound, Secret
from rtmpump.demo.line import Line
from rtmpump.links.rabbitmq import topology
from rtmpump.links.rabbitmq.connection import Properties
from rtmpump.links.rabbitmq.listener import Delivery
from rtmpump.sandbox.slack.workspace import Workspace
from tests.faults import consumer, events
from tests.faults.ledger import Accepted, Ledger
from tests.support.paths import ROOT
from tests.support.poison import foreign_reply_address
from tests.support.waiting import wait_until

MOVING: Final = {"moving-1": "C0MOVING1", "moving-2": "C0MOVING2"}
"""Channels whose names may come to mean others: commands give them by name only."""
# A number that three divides: so each channel is given always by its name, or always by its id.
CHANNELS: Final = (
    {f"room-{n}": f"C0ROOM{n:02d}" for n in range(21)} | {"general": "C0GENERAL"} | MOVING
)
_RESULTS: Final = "faults.results"
_OUTBOUND: Final = Outbound()
_TICK: Final = 0.005
_NOBODY_A_SECOND: Final = 50
_BAD_EVERY: Final = 97
_WAITING_MAX: Final = 3_000
_JOIN: Final = 30.0
_FORGET_EVERY: Final = 5_000
_LOOKS: Final = 10
_BETWEEN_LOOKS: Final = 0.2
_SQLITES_OWN: Final = "/etilqs_"
_INVALID: Final = "invalid_command"


class Odd(NamedTuple):
    """What is odd about a command.

    `wrong`: the code with which it has to be refused; `reply_to`: where nobody gets its result;
    `header`: the size of one of its own; `size`: that of its body, at least.
    """

    wrong: str = ""
    reply_to: str = ""
    header: int = 0
    size: int = 0


ORDINARY: Final = Odd()
_FOREIGN: Final = foreign_reply_address()
# Of its 131,072 bytes a frame has room for this and the other properties, and not for what a dead
# letter adds.
_NEARLY_A_FRAME: Final = 130_950
ODDITIES: Final = {
    "a poisonous reply address": [Odd(reply_to=_FOREIGN), Odd(_INVALID, _FOREIGN)],
    "a reply address that is nowhere": [Odd(reply_to="faults.nowhere")],
    "headers that fill a frame": [Odd(_INVALID, header=_NEARLY_A_FRAME)],
    "a body that is too large": [Odd("too_long", size=66_000), Odd("too_long", size=4 << 20)],
}
"""Commands by what is odd about them."""


class Flood:
    """Events at `rate` a second while somebody is connected, few while nobody is.

    `deliveries` says how often Slack sent those that were acknowledged, as far as it was counted.
    """

    def __init__(self, workspace: Workspace, ledger: Ledger, rate: float) -> None:
        self.rate = rate
        self.deliveries = 0
        self._workspace = workspace
        self._ledger = ledger
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="flood", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    @property
    def runs(self) -> bool:
        """Whether events come."""
        return self._thread.is_alive() and not self._stop.is_set()

    @contextmanager
    def at(self, rate: float) -> Iterator[None]:
        """Another rate for a while."""
        before, self.rate = self.rate, rate
        try:
            yield
        finally:
            self.rate = before

    def stop(self) -> None:
        """No further event; fails if the last one can't be written."""
        self._stop.set()
        self._thread.join(_JOIN)
        assert not self._thread.is_alive(), "the flood is stuck: the pump does not read"

    def count_deliveries(self) -> None:
        """Count them, and let go of what is over."""
        over = self._workspace.forget_acknowledged()
        self.deliveries += sum(len(one.deliveries) for one in over)

    def _run(self) -> None:
        credit, before = 0.0, time.monotonic()
        while not self._stop.wait(_TICK):
            now = time.monotonic()
            rate = self.rate if self._workspace.live else min(self.rate, _NOBODY_A_SECOND)
            # Who could not write for long does not make up for it.
            credit, before = min(credit + (now - before) * rate, rate / 4), now
            while credit >= 1:
                credit -= 1
                self._emit()

    def _emit(self) -> None:
        number = self._ledger.emits(_now_ms())
        self._workspace.emit(events.body(number))
        self._ledger.emitted(number, _now_ms())
        if number % _FORGET_EVERY == 0:
            self.count_deliveries()


class Consumer:
    """The consumer's process, and the thread that enters into the ledger what it got."""

    def __init__(self, ledger: Ledger, *urls: str) -> None:
        self._ledger = ledger
        self.others = 0
        self.broken = 0
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.consumer", *urls],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            cwd=ROOT,
        )
        self._thread = threading.Thread(target=self._read, name="consumer", daemon=True)
        self._thread.start()

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def stop(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.wait(_JOIN)
        self._thread.join(_JOIN)

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as output:
            while (record := consumer.read(output.fileno())) is not None:
                self._enter(record)

    def _enter(self, record: consumer.Record) -> None:
        match record.kind:
            case consumer.EVENT | consumer.UNROUTED:
                in_order = record.kind == consumer.EVENT
                self._ledger.came(record.first, record.second, in_order=in_order)
            case consumer.GAP:
                self._ledger.gap(record.first, record.second)
            case consumer.BROKEN:
                self.broken += 1
            case _:
                self.others += 1


class _Producer(Line):
    """Says which commands it had to publish again: their order is not what it was."""

    def __init__(self, ledger: Ledger, *args: Any) -> None:
        super().__init__(*args)
        self._ledger = ledger

    def ready(self) -> None:
        """A new connection: what was not confirmed goes again."""
        for letter in list(self._outbox.values()):
            self._ledger.published_again(str(letter.properties.message_id))
        super().ready()

    def settled(self, tag: int, multiple: bool, ok: bool) -> None:
        """A nack: others may have overtaken."""
        if not ok:
            for one in [one for one in self._written if one == tag or (multiple and one < tag)]:
                letter = self._outbox[self._written[one]]
                self._ledger.published_again(str(letter.properties.message_id))
        super().settled(tag, multiple, ok)


class Commands:
    """A producer of commands at `rate` a second, who also reads results and dead letters.

    `hold` and `go_on` are for those who want the queue empty for a while.
    """

    def __init__(self, ledger: Ledger, rate: float, *urls: str) -> None:
        self._ledger = ledger
        self._rate = rate
        broker = Broker(url=Secret(urls[0]), urls=tuple(map(Secret, urls)))
        results = topology.Queue(_RESULTS, {"x-queue-type": "quorum"})
        items = [*topology.outbound(_OUTBOUND), results]
        self._line = _Producer(ledger, "faults results", broker, items, _RESULTS, self._result)
        dead = _OUTBOUND.dead_queue
        self._dead = Line("faults dead", broker, items, dead, self._letter)
        self._stop = threading.Event()
        self._may_send = threading.Event()
        self._may_send.set()
        self._thread = threading.Thread(target=self._run, name="commands", daemon=True)
        self.count = 0
        self.odd: deque[Odd] = deque()
        """What the next ones have that others have not."""

    def start(self) -> None:
        """Begin."""
        self._line.start(60)
        self._dead.start(60)
        self._thread.start()

    def hold(self) -> None:
        """Send nothing; returns when all is answered."""
        self._may_send.clear()
        wait_until(lambda: not self._ledger.unanswered, 60, "for the answers")

    def go_on(self) -> None:
        """Send again."""
        self._may_send.set()

    def end(self) -> None:
        """No further command."""
        self._stop.set()
        self._thread.join(_JOIN)

    def stop(self) -> None:
        """End all."""
        self.end()
        for line in (self._line, self._dead):
            line.stop()

    @property
    def errors(self) -> list[Exception]:
        """What its connections died of."""
        return [line.error for line in (self._line, self._dead) if line.error is not None]

    def _run(self) -> None:
        credit, before = 0.0, time.monotonic()
        while not self._stop.wait(0.01):
            now = time.monotonic()
            credit, before = min(credit + (now - before) * self._rate, self._rate), now
            if not self._may_send.is_set() or self._ledger.unanswered > _WAITING_MAX:
                continue
            while credit >= 1:
                credit -= 1
                self._send()

    def _send(self) -> None:
        self.count += 1
        id = str(self.count)
        name, channel = list(CHANNELS.items())[self.count % len(CHANNELS)]
        odd = Odd(wrong=_INVALID) if self.count % _BAD_EVERY == 0 else ORDINARY
        if odd is ORDINARY and self.odd:
            odd = self.odd.popleft()
        self._ledger.asked(id, channel, wrong=odd.wrong, answerable=not odd.reply_to)
        body: dict[str, Any] = {"channel": name if self.count % 3 else channel, "text": id}
        if odd.wrong == _INVALID:
            body["txt"] = body.pop("text")
        properties = Properties(
            delivery_mode=2,
            message_id=id,
            correlation_id=id,
            reply_to=odd.reply_to or _RESULTS,
            headers={"mine": "x" * odd.header} if odd.header else None,
        )
        data = json.dumps(body).encode().ljust(odd.size)
        self._line.publish(_OUTBOUND.queue, data, properties)

    def _result(self, delivery: Delivery) -> None:
        result = json.loads(delivery.body)
        code = "" if result["ok"] else result["error"]["code"]
        id, uncertain = str(delivery.properties.correlation_id), bool(result["uncertain"])
        self._ledger.answered(id, code, _now_ms(), uncertain=uncertain)

    def _letter(self, delivery: Delivery) -> None:
        headers = delivery.properties.headers or {}
        id, code = str(delivery.properties.message_id), str(headers.get("rtmpump-error-code"))
        in_doubt = headers.get("rtmpump-uncertain") is True
        self._ledger.buried(id, code, _now_ms(), uncertain=in_doubt)


def accepted(workspace: Workspace) -> list[Accepted]:
    """Each message that Slack took, in order."""
    sent = list(workspace.sent)
    return [Accepted(one.channel, one.text, one.received_at * 1000) for one in sent]


def _now_ms() -> float:
    return time.time() * 1000


def memory(pid: int) -> dict[str, int]:
    """The most that a process (0 = ours) ever held, `VmHWM`, and holds now, in KiB; {} if gone."""
    try:
        with open(f"/proc/{pid or 'self'}/status") as status:
            fields = dict(line.split(":", 1) for line in status)
    except OSError:
        return {}
    return {key: int(fields[key].split()[0]) for key in ("VmHWM", "VmRSS") if key in fields}


def least_belongings(pids: Sequence[int]) -> list[Counter[str]]:
    """What each of these processes has, the least of some looks.

    An old connection may not have ended yet, nor the thread that answered who asked last.
    """
    least = [_belongings(pid) for pid in pids]
    for _ in range(_LOOKS):
        time.sleep(_BETWEEN_LOOKS)
        least = [before & _belongings(pid) for before, pid in zip(least, pids, strict=True)]
    return least


def _belongings(pid: int) -> Counter[str]:
    """How many threads, and file descriptors of each kind, a process has."""
    kinds = Counter(threads=len(os.listdir(f"/proc/{pid}/task")))
    for name in os.listdir(f"/proc/{pid}/fd"):
        try:
            kind = os.readlink(f"/proc/{pid}/fd/{name}").split(":")[0]
        except OSError:
            continue
        # Of a spool that nobody else may open SQLite keeps one such file, once a large statement
        # needed it.
        if _SQLITES_OWN in kind:
            continue
        kinds[kind] += 1
    return kinds
