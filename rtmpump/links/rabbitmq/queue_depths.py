"""How many messages are in queues, asked now and then on a connection that has other work.

Laws:

- It has a channel of its own: the broker closes the channel of a question about a queue that is not
  there, and that must end nothing else.
- One question after the other. While an answer is due, nothing more is asked, so a broker that is
  slow or blocked gets no heap of questions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

from pika.channel import Channel
from pika.connection import Connection

_Guard: TypeAlias = Callable[[Callable[..., None]], Callable[..., None]]


class Depth(NamedTuple):
    """How many messages in a queue no consumer has, and how many consumers it has.

    A quorum queue whose leader does not answer seems to have neither (RabbitMQ 3.10 and 4.0).
    """

    messages: int
    consumers: int


def depth_of(declared: Any) -> Depth:
    """Return what a broker's `queue.declare-ok` says, the method of pika's frame."""
    return Depth(declared.message_count, declared.consumer_count)


DepthListener: TypeAlias = Callable[[str, Depth | None], None]


class QueueDepths:
    """Questions on one connection; all on its thread.

    `told` gets a queue and its depth; None where no queue is.
    """

    def __init__(
        self,
        connection: Connection,
        guarded: _Guard,
        told: DepthListener,
    ) -> None:
        self._connection = connection
        self._guarded = guarded
        self._told = told
        self._channel: Channel | None = None
        self._left: list[str] = []

    def ask(self, queues: Sequence[str]) -> None:
        """Ask for these queues, unless answers are still due."""
        if self._left or not self._connection.is_open:
            return
        self._left = list(queues)
        if self._channel is None:
            self._open()
        else:
            self._ask_next()

    def _open(self) -> None:
        self._connection.channel(on_open_callback=self._guarded(self._opened))

    def _opened(self, channel: Channel) -> None:
        self._channel = channel
        channel.add_on_close_callback(self._guarded(self._closed))
        self._ask_next()

    def _ask_next(self) -> None:
        if self._left and self._channel is not None and self._channel.is_open:
            answered = self._guarded(self._answered)
            self._channel.queue_declare(self._left[0], passive=True, callback=answered)

    def _answered(self, frame: Any) -> None:
        method = frame.method
        self._told(self._left.pop(0), depth_of(method))
        self._ask_next()

    def _closed(self, _channel: Channel, _error: BaseException) -> None:
        """Go on with the next queue on a new channel: there is none of that name, or it is down."""
        self._channel = None
        if self._left:
            self._told(self._left.pop(0), None)
        if self._left and self._connection.is_open:
            self._open()
