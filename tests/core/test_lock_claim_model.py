"""A model of the lock queue, and pumps that drive a claim as the lease does, in all orders."""

from __future__ import annotations

from collections import deque
from typing import Final, NamedTuple

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rtmpump.core.lock_claim import LockClaim, TokenDelivery, TokenKind
from rtmpump.core.watermark import later, long_ago

LASTS: Final = 3.0
TICK: Final = LASTS / 6
NOTES_EVERY: Final = 1.0
QUESTIONS_EVERY: Final = 6.0
STUCK: Final = 6.0


class Message(NamedTuple):
    """A message of the queue, and how often it was returned."""

    body: bytes
    delivered: int

    def returned(self) -> Message:
        """The same, once more."""
        return Message(self.body, self.delivered + 1)


class Pump:
    """One connection: its claim, its socket in both directions, and its connection for notes."""

    def __init__(self, name: str, now: float, before: Pump | None = None) -> None:
        """Begin; `before` is the connection that this process had before."""
        self.name = name
        self.claim = LockClaim(name, f"host-{name}", LASTS)
        self.inbox: deque[TokenDelivery] = deque()
        self.outbox: deque[tuple[bool, int]] = deque()
        self.unpublished: bytes | None = None
        self.published: bytes | None = None
        self.elected = self.over = False
        self.until = 0.0
        self.proved_at: float | None = None
        self.fence: tuple[float, int] | None = None
        self.noted_at = self.asked_at = self.ticked_at = now - 100.0
        self.asked = b""
        self.had_answer = False
        self.known_others: bool = before is not None and before.known_others
        self.wrote: int | None = None if before is None else before.wrote
        self.responsible: int | None = None if before is None else before.responsible

    def tick(self, now: float) -> None:
        """As the lease does, again and again."""
        self.ticked_at = now
        if self.over:
            return
        if self.claim.is_given:
            self._ask_for_proof(now)
            self._decide(now)
            return
        if now - self.asked_at >= QUESTIONS_EVERY:
            self.asked_at = now
            self.asked = self.unpublished = self.claim.token(TokenKind.QUESTION, ms(now))
        has_answer = self.published == self.asked
        self.known_others = self.known_others or (has_answer and self.had_answer)
        self.had_answer = has_answer

    def read(self, now: float) -> None:
        """Take in the first message that waits."""
        if self.over or not self.inbox:
            return
        acked = self.claim.received(self.inbox.popleft(), now)
        self.outbox.extend((False, tag) for tag in acked)
        if self.proved_at is None and self.claim.is_given:
            self.proved_at = now
            self._ask_for_proof(now)
        elif self.fence is not None:
            since, unread = self.fence
            self.fence = since, unread - 1
            self._give_back()
        self._decide(now)

    def told(self, now: float) -> int:
        """The watermark that goes into a token."""
        watermark = later(self.wrote, self.claim.watermark_ms)
        if watermark is None and self.known_others:
            return long_ago(ms(now))
        if watermark is None:
            self.responsible = self.responsible or ms(now)
            watermark = self.responsible
        return watermark

    def _ask_for_proof(self, now: float) -> None:
        """What is in the socket now is read before anything is given back."""
        if self.fence is None:
            self.fence = now, len(self.inbox)
            self._give_back()

    def _give_back(self) -> None:
        if self.fence is None or self.fence[1] > 0:
            return
        tag = self.claim.give_back(self.fence[0])
        self.fence = None
        if tag is not None:
            self.outbox.append((True, tag))

    def _decide(self, now: float) -> None:
        until = self.claim.held_until(now)
        self.until = until if self.elected else 0.0
        if self.elected:
            self.over = not until
        keeps = self.claim.keeps_own_note
        if until and now - self.noted_at >= NOTES_EVERY and (self.elected or not keeps):
            self.noted_at = now
            self.unpublished = self.claim.token(TokenKind.NOTE, ms(now), self.told(now))
        if until:
            self.proved_at = now
        if self.elected:
            return
        if self.claim.may_act(now):
            # The lease waits for its own note in addition; the claim must not need that.
            self.elected = True
            self.claim.act()
            self.until = self.claim.held_until(now)
        else:
            self.over = self.proved_at is not None and now - self.proved_at > STUCK


class Cluster:
    """The queue with its active consumer, and all pumps; `ghosts` are those it has given up."""

    def __init__(self, size: int) -> None:
        self.now = 1000.0
        self.alarm = False
        self.ready: deque[Message] = deque()
        self.pumps: list[Pump] = []
        self.ghosts: list[Pump] = []
        self.checked: dict[str, dict[int, Message]] = {}
        self.active = ""
        self.tags = 0
        self.names = 0
        self.acted: set[str] = set()
        self.truth: int | None = None
        self.reached: int | None = None
        self.reached_before: dict[str, int | None] = {}
        self.noted = False
        for _ in range(size):
            self.pumps.append(self._join())

    # What the queue does.

    def _join(self, before: Pump | None = None) -> Pump:
        self.names += 1
        pump = Pump(str(self.names), self.now, before)
        self.checked[pump.name] = {}
        self._activate(self.active or pump.name)
        return pump

    def _activate(self, name: str) -> None:
        if name != self.active:
            self.active = name
            # Later ones may come when it acts already.
            self.reached_before.setdefault(name, self.reached)
        self._check_out()

    def _check_out(self) -> None:
        one = next((pump for pump in self.pumps if pump.name == self.active), None)
        while one is not None and self.ready:
            self.tags += 1
            message = self.ready.popleft()
            self.checked[one.name][self.tags] = message
            one.inbox.append(TokenDelivery(message.body, self.tags, message.delivered))

    def _return_all(self, name: str) -> None:
        messages = [one.returned() for one in self.checked[name].values()]
        self.checked[name] = {}
        self.ready.extendleft(reversed(messages))

    def _remove(self, index: int, *, goes_on: bool = False) -> Pump:
        pump = self.pumps[index]
        self._return_all(pump.name)
        del self.checked[pump.name]
        others = [one.name for one in self.pumps if one is not pump]
        if self.active == pump.name:
            self._activate(others[0])
        self.pumps[index] = self._join(pump if goes_on else None)
        return pump

    def _enqueue(self, pump: Pump, body: bytes) -> None:
        self.ready.append(Message(body, 0))
        if b'"note"' in body or b'"last"' in body:
            self.noted = True
            # What only the last token says is gone with it, and the gap a little too wide.
            if b'"note"' in body and pump.name in self.acted:
                self.reached = later(self.reached, watermark_of(body))
        self._check_out()

    # Steps.

    def tick(self, index: int) -> None:
        """The timer of a pump."""
        self.pumps[index].tick(self.now)

    def read(self, index: int) -> None:
        """A pump reads one message."""
        self.pumps[index].read(self.now)

    def send(self, index: int) -> None:
        """One ack or nack of a pump gets to the leader."""
        pump = self.pumps[index]
        if pump.outbox:
            requeue, tag = pump.outbox.popleft()
            message = self.checked[pump.name].pop(tag, None)
            if message is not None and requeue:
                self.ready.append(message.returned())
                self._check_out()

    def publish(self, index: int) -> None:
        """The newest token of a pump is published, unless there is an alarm."""
        pump = self.pumps[index]
        if pump.unpublished is not None and not self.alarm:
            pump.published, pump.unpublished = pump.unpublished, None
            self._enqueue(pump, pump.published)

    def lose(self, index: int) -> None:
        """A token is never published."""
        self.pumps[index].unpublished = None

    def move(self, index: int) -> None:
        """The lock goes to another one, and nobody tells the one before."""
        if self.pumps[index].name != self.active:
            self._return_all(self.active)
            self._activate(self.pumps[index].name)

    def cut(self, index: int) -> None:
        """The queue takes a pump for dead, which goes on with what is in its socket."""
        self.ghosts.append(self._remove(index))

    def kill(self, index: int) -> None:
        """A pump dies, and another one is started."""
        self._remove(index)

    def release(self, index: int) -> None:
        """A pump hands over; its last token may come late or never."""
        pump = self.pumps[index]
        if pump.elected and not pump.over:
            pump.until = 0.0
            last = pump.claim.token(TokenKind.LAST, ms(self.now), pump.told(self.now))
            if not self.alarm:
                self._enqueue(pump, last)
            while pump.outbox:
                self.send(index)
            self._remove(index)

    def blink(self, index: int) -> None:
        """The lock is nobody's for a moment, and then that pump's again."""
        if self.pumps[index].name == self.active:
            self._return_all(self.active)
            self._check_out()

    def alarms(self, _index: int) -> None:
        """An alarm begins or ends."""
        self.alarm = not self.alarm

    def work(self, index: int) -> None:
        """Whoever acts stores what Slack sends."""
        pump = self.pumps[index]
        if self.now < pump.until:
            pump.wrote = self.truth = ms(self.now)

    def pause(self, _index: int) -> None:
        """Time goes by, and nothing happens."""
        self.now += 2 * TICK

    def flow(self, _index: int) -> None:
        """All is well for the length of a tick."""
        for number in range(len(self.pumps)):
            self._flow_of(number)
        self.now += TICK

    def alone(self, index: int) -> None:
        """The same for one pump for some ticks, while the others are frozen."""
        for _ in range(3):
            self._flow_of(index)
            self.now += TICK
            self.check()

    def _flow_of(self, index: int) -> None:
        pump = self.pumps[index]
        pump.tick(self.now)
        for _ in range(3):
            self.publish(index)
            while pump.outbox:
                self.send(index)
            while pump.inbox and not pump.over:
                pump.read(self.now)
        self.work(index)

    def calm(self, index: int) -> None:
        """All is well for as long as an election takes."""
        for _ in range(10):
            self.flow(index)
            self.check()

    def step(self, name: str, index: int) -> None:
        """Do one step, and what happens anyway."""
        getattr(self, name)(index % len(self.pumps))
        self.now += 0.05
        for ghost in self.ghosts:
            ghost.read(self.now)
            if self.now - ghost.ticked_at >= TICK:
                ghost.tick(self.now)
        self.check()

    def check(self) -> None:
        """One acts at most, and knows what the one before it wrote."""
        everybody = [*self.pumps, *self.ghosts]
        assert sum(self.now < one.until for one in everybody) <= 1
        for pump in everybody:
            if pump.elected and pump.name not in self.acted:
                self.acted.add(pump.name)
                self._check_watermark(pump)
        for number, pump in enumerate(self.pumps):
            if pump.over:
                self._remove(number, goes_on=True)
        held = [one.body for some in self.checked.values() for one in some.values()]
        assert not self.noted or held or self.ready

    def _check_watermark(self, pump: Pump) -> None:
        known = later(pump.wrote, pump.claim.watermark_ms)
        reached = self.reached_before[pump.name]
        if known is not None and self.truth is not None:
            assert known <= self.truth
        if reached is not None:
            assert known is not None
            assert known >= reached


def ms(now: float) -> int:
    """The time of day; all have the same."""
    return round(1000 * now)


def watermark_of(body: bytes) -> int:
    """The watermark in a token."""
    claim = LockClaim("reader", "", LASTS)
    claim.received(TokenDelivery(body, 1), 0.0)
    assert claim.watermark_ms is not None
    return claim.watermark_ms


OFTEN: Final = ("flow", "calm", "move", "alone")
SELDOM: Final = ("tick", "read", "send", "publish", "pause", "work", "lose")
TROUBLE: Final = ("cut", "kill", "release", "alarms", "blink")
NAMES: Final = (*OFTEN, *OFTEN, *SELDOM, *TROUBLE)
STEPS = st.lists(st.tuples(st.sampled_from(NAMES), st.integers(0, 2)), max_size=30)
# Away and back while the first one goes on; and what it gave back waits in its socket meanwhile.
BACK: Final = [("calm", 0), ("move", 1), *[("flow", 0)] * 3, ("move", 0), ("calm", 0)]
FROZEN: Final = [("calm", 0), ("tick", 0), ("send", 0), ("move", 1), ("alone", 1), ("read", 0)]
LATE: Final = [("calm", 0), ("move", 1), ("alone", 1), ("tick", 0), ("move", 0), ("alone", 1)]
# Before anybody acts.
TO_AND_FRO: Final = [
    ("flow", 0),
    ("move", 2),
    ("alone", 2),
    ("move", 1),
    ("flow", 0),
    ("move", 2),
]
HANDED: Final = [("calm", 0), ("release", 0), ("read", 1), ("move", 2), ("alone", 2)]


@pytest.mark.slow
@settings(max_examples=1500, derandomize=True)
@example(BACK, 2)
@example([("calm", 0), ("alarms", 0), *BACK], 2)
@example([*FROZEN, ("alone", 1)], 2)
@example([*LATE, ("alone", 0), ("alone", 1)], 2)
@example([*HANDED, ("move", 1), ("flow", 0)], 3)
@example([("calm", 0), ("blink", 0), *FROZEN], 2)
@example(TO_AND_FRO, 3)
@example([("calm", 0), ("work", 0), ("cut", 0), ("calm", 0), ("alarms", 0), ("calm", 0)], 3)
@given(STEPS, st.integers(2, 3))
def test_whatever_happens(steps: list[tuple[str, int]], size: int) -> None:
    """In whatever order: never two act, no watermark is lost, and in the end one acts."""
    cluster = Cluster(size)
    for name, index in steps:
        cluster.step(name, index)
    cluster.ghosts.clear()
    # An alarm keeps nobody from acting, where there is a token.
    cluster.alarm = cluster.alarm and cluster.noted
    for _ in range(4):
        cluster.calm(0)
    assert sum(cluster.now < one.until for one in cluster.pumps) == 1
