"""`tail`: events live from RabbitMQ, or from its stream. It needs RabbitMQ only, and no token.

Laws:

- What is wrong at the first connection ends the command at once. Later it stays, and connects again
  by the rules of `links.retry`.
- Nothing is missed in silence: it says that it lost RabbitMQ, and what it could not show.
- A filter that could match nothing is an error: a name of a channel or a user is no id.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Final

import click

from rtmpump.cli.columns import terminal_width
from rtmpump.cli.common import (
    config_option,
    lasted,
    load,
    not_declared,
    one_line,
    reachable,
    start_log,
)
from rtmpump.cli.event_filters import Filters, channel_ids, seconds, user_ids
from rtmpump.cli.events import ShownEvent, json_line, line
from rtmpump.config import Config
from rtmpump.errors import LinkError, RtmpumpError
from rtmpump.links.lifecycle import Lifecycle, RetryDetails
from rtmpump.links.rabbitmq.client import BrokerClient
from rtmpump.links.retry import keep_trying

_ACK_EVERY: Final = 50
# RabbitMQ ends a channel that leaves a message unacknowledged for half an hour.
_ACK_AFTER: Final = 1.0
_OFFSET: Final = "x-stream-offset"
# They say no more than that RabbitMQ is away; of others a person must know.
_AWAY: Final = ("closed_by_broker", "lost", "refused", "unreachable", "timeout", "heartbeat")
# A node that starts may lack its users, virtual hosts and queues for so many seconds.
_STARTS_WITHIN: Final = 15.0

_Show = Callable[[ShownEvent], str]


@click.command()
@config_option
@click.argument("patterns", metavar="[PATTERN]...", nargs=-1)
@click.option(
    *("--channel", "channels"),
    metavar="ID",
    multiple=True,
    callback=channel_ids,
    help="Only events of this channel; several are an or.",
)
@click.option(
    *("--user", "users"),
    metavar="ID",
    multiple=True,
    callback=user_ids,
    help="Only events of this user; several are an or.",
)
@click.option(
    "--since",
    metavar="TIME",
    callback=seconds,
    help="First those of the last 10m, 1h, 2d, which the stream events.stream has kept.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@click.option("--count", type=click.IntRange(1), help="End after so many events.")
def tail(
    config_file: str | None,
    patterns: tuple[str, ...],
    since: float | None,
    as_json: bool,
    count: int | None,
    **ids: frozenset[str],
) -> None:
    """Print events live from RabbitMQ until Ctrl-C.

    A PATTERN is an AMQP topic: `*` is one word, `#` any number of them; all events by default.

    It stays through a restart of RabbitMQ. What is published while it is away can't be shown,
    except with --since, which reads from a stream.

    \b
    rtmpump tail 'message.#' --channel C024BE91L
    rtmpump tail --since 1h --json | jq .body.text
    """  # noqa: D301 - click wants this control character
    try:
        config = load(config_file, need_token=False).config
        start_log(config)
        wanted = Filters(channels=ids["channels"], users=ids["users"])
        chosen = patterns or ("#",)
        source = _Live(config, chosen) if since is None else _Stream(config, chosen, since)
        _Tail(config, source, wanted, count).run(json_line if as_json else _line)
    except KeyboardInterrupt:
        return


def _line(event: ShownEvent) -> str:
    return line(event, terminal_width())


class _Live:
    """The events exchange: RabbitMQ gives what fits the patterns, from now on."""

    def __init__(self, config: Config, patterns: tuple[str, ...]) -> None:
        self.said = f"listening to {config.events.exchange}"
        self.start = ""
        self.patterns = patterns
        self._exchange = config.events.exchange
        self._has_stream = bool(config.events.stream)

    def begin(self, client: BrokerClient) -> None:
        """Have events delivered to the client."""
        client.listen(self._exchange, self.patterns)

    def take(self, event: ShownEvent) -> bool:
        """Return whether the event is shown."""
        return True

    def missed(self, seconds: float) -> str:
        """Say what of the time without a connection is not shown."""
        where = "no stream keeps them (events.stream)"
        if self._has_stream:
            where = f"`rtmpump tail --since {math.ceil(seconds / 60) + 1}m` shows them"
        return f"events that were published in between are not shown; {where}"

    def refusal(self, error: LinkError, where: str) -> RtmpumpError | None:
        """Return what is wrong with the exchange; None: it is something else."""
        is_gone = error.reason == "not_found"
        return not_declared("exchange", self._exchange, where) if is_gone else None


class _Stream:
    """The stream that keeps all events: RabbitMQ gives all of them, from a time or an offset on."""

    def __init__(self, config: Config, patterns: tuple[str, ...], since: float) -> None:
        """Begin so many seconds ago.

        Raises:
            RtmpumpError: no stream is configured.
        """
        self._name = config.events.stream
        if not self._name:
            fix = (
                'set it, such as to "rtm.stream", and restart the daemon; it keeps what comes then'
            )
            raise RtmpumpError(f"--since needs a stream, and events.stream is not set; {fix}")
        self.said = f"reading {self._name}"
        self.start = f" from {lasted(since)} ago"
        self.patterns = patterns
        self._begin_at = time.time() - since
        self._filters = Filters(patterns=patterns, not_before_ms=self._begin_at * 1000)
        self._next: int | None = None

    def begin(self, client: BrokerClient) -> None:
        """Have events delivered to the client, from the first that it did not have before."""
        ago = f"{math.ceil(time.time() - self._begin_at)}s"
        client.read_stream(self._name, ago if self._next is None else self._next)

    def take(self, event: ShownEvent) -> bool:
        """Return whether the event is shown; note how far the stream is read."""
        offset = event.headers.get(_OFFSET)
        if isinstance(offset, int):
            self._next = offset + 1
        return self._filters.take(event)

    def missed(self, seconds: float) -> str:
        """Say what of the time without a connection is not shown."""
        return "it goes on where it stopped"

    def refusal(self, error: LinkError, where: str) -> RtmpumpError | None:
        """Return what is wrong with the stream; None: it is something else."""
        if error.reason == "not_found":
            return not_declared("stream", self._name, where)
        if error.reason == "precondition_failed":
            problem = f"events.stream: the queue {self._name} in RabbitMQ ({where}) is no stream"
            return RtmpumpError(f"{problem}; choose another name, and the daemon declares it")
        return None


class _Tail:
    """Shows what a source gives, over one connection after the other."""

    def __init__(
        self, config: Config, source: _Live | _Stream, wanted: Filters, count: int | None
    ) -> None:
        self._config = config
        self._source = source
        self._wanted = wanted
        self._left = math.inf if count is None else count
        self._was_up = False
        self._lost_at: float | None = None
        self._refused_since: dict[str, float] = {}

    def run(self, show: _Show) -> None:
        """Print events until there are enough.

        Raises:
            RtmpumpError: the first connection, or what it asked for, was refused.
            ServiceUnreachable: RabbitMQ could not be reached at first.
        """
        keep_trying(
            lambda: self._connected(show),
            policy=self._config.retry,
            lifecycle=Lifecycle(),
            report=self._report_loss,
        )

    def _connected(self, show: _Show) -> None:
        client = BrokerClient("tail", self._config.broker)
        try:
            with client:
                self._source.begin(client)
                self._report_begin(client.where)
                self._show_events(client, show)
        except LinkError as error:
            if self._was_up:
                raise
            with reachable("RabbitMQ"):
                raise self._source.refusal(error, client.where) or error from error

    def _show_events(self, client: BrokerClient, show: _Show) -> None:
        acked = tag = 0
        while self._left:
            received = client.receive(_ACK_AFTER)
            if received is not None:
                tag = received.tag
                self._show(ShownEvent(received), show)
            if tag - acked >= (_ACK_EVERY if received is not None else 1):
                client.ack(tag)
                acked = tag

    def _show(self, event: ShownEvent, show: _Show) -> None:
        if self._source.take(event) and self._wanted.take(event):
            click.echo(show(event))
            self._left -= 1

    def _report_begin(self, where: str) -> None:
        if not self._was_up:
            words = f"{self._source.said} of {where}{self._source.start}, for "
            words += " ".join(self._source.patterns)
            click.echo(one_line(f"{words}{self._chosen()}; Ctrl-C ends"), err=True)
        elif self._lost_at is not None:
            away = time.monotonic() - self._lost_at
            words = f"RabbitMQ is back after {lasted(away)} ({where})"
            _say(f"{words}; {self._source.missed(away)}")
        self._was_up, self._lost_at = True, None
        self._refused_since.clear()

    def _report_loss(self, details: RetryDetails) -> None:
        now, why = time.monotonic(), details.detail or details.reason
        if self._lost_at is None:
            self._lost_at = now
            _say(f"lost RabbitMQ: {why}; trying again until it is back")
        elif details.reason not in _AWAY:
            since = self._refused_since.setdefault(details.reason, now)
            if now - since >= _STARTS_WITHIN:
                # Once: infinity is never reached again.
                self._refused_since[details.reason] = math.inf
                _say(f"RabbitMQ is there and refuses: {why}; trying again")

    def _chosen(self) -> str:
        ids = sorted(self._wanted.channels) + sorted(self._wanted.users)
        return f" with {', '.join(ids)}" if ids else ""


def _say(text: str) -> None:
    click.echo(one_line(f"rtmpump: {text}"), err=True)
