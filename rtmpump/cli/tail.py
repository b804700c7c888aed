"""`tail`: events live from RabbitMQ, or from its stream. It needs RabbitMQ only, and no token.

Laws:

- What is wrong at the first connection ends the command at once. Later it stays, and the client
  connects again.
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
from rtmpump.cli.common import config_option, lasted, load, not_declared, one_line, start_log
from rtmpump.cli.connected import connected
from rtmpump.cli.event_filters import Filters, channel_ids, seconds, user_ids
from rtmpump.cli.events import ShownEvent, json_line, line
from rtmpump.client import BrokerUnavailable, Client, EventStream
from rtmpump.config import Config
from rtmpump.errors import RtmpumpError
from rtmpump.links.lifecycle import LinkListener, RetryDetails

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
        _Tail(source, wanted).run(config, json_line if as_json else _line, count)
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

    def begin(self, client: Client, listener: LinkListener) -> EventStream:
        """Have events delivered to the client."""
        return client.events(
            *self.patterns, signals=False, repeats=True, passive=True, listener=listener
        )

    def missed(self, seconds: float) -> str:
        """Say what of the time without a connection is not shown."""
        where = "no stream keeps them (events.stream)"
        if self._has_stream:
            where = f"`rtmpump tail --since {math.ceil(seconds / 60) + 1}m` shows them"
        return f"events that were published in between are not shown; {where}"

    def refusal(self, code: str, where: str) -> RtmpumpError | None:
        """Return what is wrong with the exchange; None: it is something else."""
        return not_declared("exchange", self._exchange, where) if code == "not_found" else None


class _Stream:
    """The stream that keeps all events, from so many seconds ago on."""

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
        self._since = since

    def begin(self, client: Client, listener: LinkListener) -> EventStream:
        """Have events delivered to the client."""
        return client.replay(
            self._name, self._since, *self.patterns, signals=False, repeats=True, listener=listener
        )

    def missed(self, seconds: float) -> str:
        """Say what of the time without a connection is not shown."""
        return "it goes on where it stopped"

    def refusal(self, code: str, where: str) -> RtmpumpError | None:
        """Return what is wrong with the stream; None: it is something else."""
        if code == "not_found":
            return not_declared("stream", self._name, where)
        if code == "precondition_failed":
            problem = f"events.stream: the queue {self._name} in RabbitMQ ({where}) is no stream"
            return RtmpumpError(f"{problem}; choose another name, and the daemon declares it")
        return None


class _Tail:
    """Shows what a source gives, and says when RabbitMQ goes and comes."""

    def __init__(self, source: _Live | _Stream, wanted: Filters) -> None:
        self._source = source
        self._wanted = wanted
        self._events: EventStream | None = None
        self._was_up = False
        self._lost_at: float | None = None
        self._refused_since: dict[str, float] = {}

    def run(self, config: Config, show: _Show, count: int | None) -> None:
        """Print events until there are enough.

        Raises:
            RtmpumpError: the first connection, or what it asked for, was refused.
            ServiceUnreachable: RabbitMQ could not be reached at first.
        """
        left = math.inf if count is None else count
        with connected("tail", config) as client:
            try:
                self._events = events = self._source.begin(client, self)
            except BrokerUnavailable as error:
                if (refusal := self._source.refusal(error.code, client.where)) is not None:
                    raise refusal from error
                raise
            for event in map(ShownEvent, events):
                if self._wanted.take(event):
                    click.echo(show(event))
                    left -= 1
                if not left:
                    return

    def link_up(self, link: str, where: str) -> None:
        """Say that events are read, and what of those before is not shown."""
        if not self._was_up:
            words = f"{self._source.said} of {where}{self._source.start}, for "
            words += " ".join(self._source.patterns)
            click.echo(one_line(f"{words}{self._chosen()}; Ctrl-C ends"), err=True)
        elif self._lost_at is not None:
            away = self._now() - self._lost_at
            words = f"RabbitMQ is back after {lasted(away)} ({where})"
            _say(f"{words}; {self._source.missed(away)}")
        self._was_up, self._lost_at = True, None
        self._refused_since.clear()

    def link_down(self, retry: RetryDetails) -> None:
        """Say once that RabbitMQ is away, and once if it is there and goes on to refuse."""
        now, why = self._now(), retry.detail or retry.reason
        if self._lost_at is None:
            self._lost_at = now
            _say(f"lost RabbitMQ: {why}; trying again until it is back")
        elif retry.reason not in _AWAY:
            since = self._refused_since.setdefault(retry.reason, now)
            if now - since >= _STARTS_WITHIN:
                # Once: infinity is never reached again.
                self._refused_since[retry.reason] = math.inf
                _say(f"RabbitMQ is there and refuses: {why}; trying again")

    def _now(self) -> float:
        """Return when what is reported happened: a reader such as `less` may hold us up."""
        return time.monotonic() if self._events is None else self._events.reported_at

    def _chosen(self) -> str:
        ids = sorted(self._wanted.channels) + sorted(self._wanted.users)
        return f" with {', '.join(ids)}" if ids else ""


def _say(text: str) -> None:
    click.echo(one_line(f"rtmpump: {text}"), err=True)
