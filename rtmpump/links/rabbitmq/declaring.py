"""Declares what `topology` says, item by item.

Laws:

- What the broker refuses (403, 405, 406; 404 where a binding names what is gone) costs its channel.
  So `GroupDeclaration` works on channels of its own: a refused group is left out from the refused
  item on, and all others are declared.
- Any other end of such a channel is none of its business: it passes the error on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from pika import exceptions as amqp
from pika.channel import Channel
from pika.connection import Connection

from rtmpump.errors import LinkError
from rtmpump.links.rabbitmq.errors import closed_by_broker
from rtmpump.links.rabbitmq.topology import Binding, Exchange, Item, Queue

ACCESS_REFUSED: Final = "access_refused"
_REFUSALS: Final = (ACCESS_REFUSED, "not_found", "precondition_failed", "resource_locked")

Groups = Mapping[str, Sequence[Item]]


class Refusal(NamedTuple):
    """What the broker said against an item of the group of this name; `reason` is one word."""

    group: str
    reason: str
    detail: str


def open_channel(
    connection: Connection | None,
    link: str,
    guarded: Callable[[Callable[..., None]], Callable[..., None]],
    opened: Callable[[Channel], None],
    closed: Callable[[LinkError], None],
) -> None:
    """Open one more channel; `closed` is called if the broker closes it, or takes no more."""

    def is_open(channel: Channel) -> None:
        channel.add_on_close_callback(guarded(is_closed))
        opened(channel)

    def is_closed(_channel: Channel, error: BaseException) -> None:
        if isinstance(error, amqp.ChannelClosedByBroker):
            closed(closed_by_broker(link, error.reply_code, error.reply_text))

    if connection is None or not connection.is_open:
        return
    try:
        connection.channel(on_open_callback=guarded(is_open))
    except amqp.NoFreeChannels:
        problem = "the connection has as many channels as RabbitMQ or the URL allows (channel_max)"
        closed(LinkError(link, "not_allowed", problem))


class GroupDeclaration:
    """Declares groups one after the other, then calls `done` with what was refused."""

    def __init__(
        self,
        groups: Groups,
        done: Callable[[list[Refusal]], None],
        *,
        open_channel: Callable[[Callable[[Channel], None], Callable[[LinkError], None]], None],
        guarded: Callable[[Callable[..., None]], Callable[..., None]],
        answered: Callable[[Any], None],
        end: Callable[[LinkError], None],
    ) -> None:
        """Begin with nothing declared.

        `open_channel` calls back with an open channel, and with the error if the broker closes it.
        `guarded` makes a callback for pika, whose exceptions end the run. `answered` is called with
        each answer of the broker. `end` ends the run.
        """
        self._left = [(group, item) for group, items in groups.items() for item in items]
        self._done = done
        self._open_channel = open_channel
        self._guarded = guarded
        self._answered = answered
        self._end = end
        self._refusals: list[Refusal] = []
        self._channel: Channel | None = None

    def begin(self) -> None:
        """Open a channel and declare what is left."""
        if self._left:
            self._open_channel(self._opened, self._closed)
        else:
            self._done(self._refusals)

    def _opened(self, channel: Channel) -> None:
        self._channel = channel
        self._next()

    def _next(self) -> None:
        channel = self._channel
        if channel is not None and self._left:
            _, item = self._left[0]
            declare(channel, item, passive=False, done=self._guarded(self._declared))
        elif channel is not None:
            channel.close()
            self._done(self._refusals)

    def _declared(self, frame: Any) -> None:
        self._answered(frame)
        del self._left[0]
        self._next()

    def _closed(self, error: LinkError) -> None:
        if error.reason not in _REFUSALS or not self._left:
            self._end(error)
            return
        refused, _ = self._left[0]
        self._refusals.append(Refusal(refused, error.reason, error.detail))
        self._left = [(group, item) for group, item in self._left if group != refused]
        self._channel = None
        self.begin()


def declare(channel: Channel, item: Item, *, passive: bool, done: Callable[..., None]) -> None:
    """Ask the broker for one item; `done` is called with pika's frame when it is there."""
    match item:
        case Exchange(name, kind, arguments):
            channel.exchange_declare(
                name,
                kind,
                passive=passive,
                durable=True,
                arguments=dict(arguments),
                callback=done,
            )
        case Queue(name, arguments):
            channel.queue_declare(
                name, passive=passive, durable=True, arguments=dict(arguments), callback=done
            )
        case Binding(source, destination, "exchange", key):
            channel.exchange_bind(destination, source, key, callback=done)
        case Binding(source, destination, _, key):
            channel.queue_bind(destination, source, key, callback=done)
