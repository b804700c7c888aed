"""The dead letters of a queue: taken page by page, and given back in their order.

Laws:

- Dead letters are taken from the queue page by page, and given back in their order. So memory is
  bounded by a page. If this program ends early, RabbitMQ gives them back: none was acknowledged.
- Only dead letters that were there at the start are touched. So a command that fails again makes no
  endless loop.
- A dead letter is acknowledged after RabbitMQ confirmed the new command. A crash between the two
  repeats the few that are under way, and loses none.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, NamedTuple, TypeAlias

import click

from rtmpump.cli.common import amount, not_declared, one_line
from rtmpump.config import Config
from rtmpump.errors import LinkError, RtmpumpError, ServiceUnreachable
from rtmpump.links.rabbitmq.client import BrokerClient
from rtmpump.links.rabbitmq.dead_letters import again, death
from rtmpump.links.rabbitmq.listener import Delivery

_PAGE: Final = 256
_AT_ONCE: Final = 32
# A quorum queue keeps the order of what is given back in small portions only: it sorts at most 32
# messages of one nack (an Erlang map of more has no order), and its client in the broker mixes up
# the order once 32 commands are under way (rabbit_fifo, rabbit_fifo_client).
_GROUP: Final = 32
_GROUPS_AT_ONCE: Final = 16
_GIVEN_BACK_WITHIN: Final = 5.0
_LOOK_AGAIN: Final = 0.005
_QUIET: Final = 2.0
_PATIENCE: Final = 15
_CONFIRM_TIMEOUT: Final = 10.0

_Act: TypeAlias = Callable[[Sequence[Delivery]], None]


class _Group(NamedTuple):
    """Dead letters that are given back together: all up to and with a tag."""

    last_tag: int
    size: int


class DeadQueue:
    """The dead letters that were in the queue when this object was made."""

    def __init__(self, client: BrokerClient, config: Config) -> None:
        """Count the dead letters.

        Raises:
            RtmpumpError: there is no such queue.
        """
        self._client = client
        self.where = client.where
        self.name = config.outbound.dead_queue
        self.outbound = config.outbound.queue
        try:
            count = client.count(self.name)
        except LinkError as error:
            if error.reason != "not_found":
                raise
            raise not_declared("queue", self.name, self.where) from error
        self.total = count.messages
        self._page: list[int] = []
        self._acked: set[int] = set()
        self._groups: list[_Group] = []
        if count.consumers:
            others = amount(count.consumers, "other consumer")
            warning = f"{self.name} has {others}: the dead letters that it holds are not shown"
            click.echo(f"rtmpump: {one_line(warning)}", err=True)

    def pages(self) -> Iterator[list[Delivery]]:
        """Give all of them in order, a page at a time; earlier pages are still held."""
        left, quiet = self.total, 0
        while left > 0 and quiet < _PATIENCE:
            self._end_page()
            page = self._client.take(self.name, min(left, _PAGE), _QUIET)
            if page:
                self._page = [one.tag for one in page]
                left, quiet = left - len(page), 0
                yield page
            elif not self._client.count(self.name).messages:
                # Another consumer took the rest.
                return
            else:
                quiet += 1
        if quiet >= _PATIENCE:
            detail = f"the queue {self.name} has messages and delivers none"
            raise ServiceUnreachable("RabbitMQ", detail, "is a majority of its nodes up?")

    def give_back(self) -> None:
        """Give back, in their order, all that were not acknowledged."""
        self._end_page()
        for start in range(0, len(self._groups), _GROUPS_AT_ONCE):
            groups = self._groups[start : start + _GROUPS_AT_ONCE]
            goal = self._client.count(self.name).messages + sum(group.size for group in groups)
            for group in groups:
                self._client.give_back(group.last_tag)
            until = time.monotonic() + _GIVEN_BACK_WITHIN
            while self._client.count(self.name).messages < goal and time.monotonic() < until:
                time.sleep(_LOOK_AGAIN)
        self._groups.clear()

    def _end_page(self) -> None:
        """Note which dead letters of the last page are still held."""
        held = [tag for tag in self._page if tag not in self._acked]
        for start in range(0, len(held), _GROUP):
            group = held[start : start + _GROUP]
            self._groups.append(_Group(group[-1], len(group)))
        self._page, self._acked = [], set()

    def _ack(self, letters: Iterable[Delivery]) -> None:
        tags = [one.tag for one in letters]
        self._acked.update(tags)
        self._client.ack_each(tags)

    def act(self, wanted: str | None, act: _Act) -> int:
        """Do `act` with all dead letters, or with those of the id `wanted`; return how many."""
        count = 0
        for page in self.pages():
            chosen = [one for one in page if wanted is None or is_called(one, wanted)]
            for start in range(0, len(chosen), _AT_ONCE):
                act(chosen[start : start + _AT_ONCE])
            count += len(chosen)
        # The answer to this comes after the acks took effect.
        self._client.count(self.name)
        return count

    def drop(self, letters: Sequence[Delivery]) -> None:
        """Acknowledge them."""
        self._ack(letters)

    def send_again(self, letters: Sequence[Delivery]) -> None:
        """Publish them as commands, and acknowledge those that RabbitMQ has."""
        messages = [(again(one.properties), one.body) for one in letters]
        outcomes = self._client.publish_all(self.outbound, messages, timeout=_CONFIRM_TIMEOUT)
        pairs = zip(letters, outcomes, strict=True)
        self._ack(one for one, outcome in pairs if outcome == "taken")
        if "unroutable" in outcomes:
            raise not_declared("queue", self.outbound, self.where)
        if "refused" in outcomes:
            problem = (
                f"RabbitMQ refused a command: {self.outbound} ({self.where}) is full or failing"
            )
            raise RtmpumpError(f"{problem}; the rest stays in {self.name}; try again later")
        if None in outcomes:
            detail = f"no confirm within {_CONFIRM_TIMEOUT:g} s: it has an alarm, or hangs"
            raise ServiceUnreachable("RabbitMQ", detail, f"the rest stays in {self.name}")


def is_called(received: Delivery, wanted: str) -> bool:
    """Return whether it has this id, as it is or as `list` shows it."""
    name = death(received.properties, received.body).id
    return wanted in (name, one_line(name))
