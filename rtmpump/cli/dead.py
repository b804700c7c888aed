"""`dead list|retry|drop`: the commands that could not be carried out.

Laws:

- Dead letters are taken from the queue page by page, and given back in their order. So memory is
  bounded by a page. If this program ends early, RabbitMQ gives them back: none was acknowledged.
- Only dead letters that were there at the start are touched. So a command that fails again makes no
  endless loop.
- A dead letter is acknowledged after RabbitMQ confirmed the new command. A crash between the two
  repeats the few that are under way, and loses none.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Final, NamedTuple, TypeVar

import click

from rtmpump.cli.common import (
    amount,
    clipped,
    config_option,
    load,
    not_declared,
    one_line,
    print_json,
    reachable,
    start_log,
)
from rtmpump.config import Config
from rtmpump.errors import LinkError, RtmpumpError, ServiceUnreachable
from rtmpump.links.rabbitmq.client import BrokerClient, Received
from rtmpump.links.rabbitmq.dead_letters import Death, again, death

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
_TEXT_MAX: Final = 60
_MESSAGE_MAX: Final = 60
_DOUBT: Final = "[Slack may have taken it]"

_Function = TypeVar("_Function", bound=Callable[..., Any])
_Act = Callable[[Sequence[Received]], None]


@click.group()
def dead() -> None:
    """List, retry or drop the dead-lettered commands (outbound.dead_queue).

    While one of these runs, the dead letters that it looks at are hidden from other consumers. At
    the end they are given back in order.
    """


@dead.command("list")
@config_option
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def list_(config_file: str | None, as_json: bool) -> None:
    """Show each dead letter: id, when, code, channel, text, and what went wrong.

    The id is the producer's message_id, or else a hash of the message. "Slack may have taken it":
    a connection ended before Slack's answer, so a retry can make the message appear twice.
    """
    with _opened(config_file) as queue:
        count = 0
        for page in queue.pages():
            for received in page:
                _show(received, as_json)
            count += len(page)
        if not as_json:
            click.echo(f"{amount(count, 'dead letter')} in {one_line(queue.name)}", err=True)


def _which(function: _Function) -> _Function:
    """Add to a command the options that say which dead letters it is for."""
    function = click.option("--json", "as_json", is_flag=True, help="One JSON object.")(function)
    function = click.option("--all", "every", is_flag=True, help="All that are there now.")(
        function
    )
    return click.option("--id", "wanted", metavar="ID", help="Those of this id.")(function)


@dead.command()
@config_option
@_which
def retry(config_file: str | None, wanted: str | None, every: bool, as_json: bool) -> None:
    """Send dead letters to the pump once more.

    Each goes back to outbound.queue, and leaves the dead letters once RabbitMQ has confirmed it.
    The producer had its result when the command failed, and gets no second one; but for a command
    that expired in RabbitMQ there was none, and it comes now. The expiration is not set again.
    """
    _check_choice(wanted, every)
    with _opened(config_file) as queue:
        count = queue.act(wanted, queue.send_again)
    _report(count, wanted, "retried", f"sent to {queue.outbound}", as_json)


@dead.command()
@config_option
@_which
@click.option("--yes", is_flag=True, help="Don't ask.")
def drop(
    config_file: str | None, wanted: str | None, every: bool, as_json: bool, yes: bool
) -> None:
    """Delete dead letters for good; ask first, and without a terminal require --yes."""
    _check_choice(wanted, every)
    if not yes and not sys.stdin.isatty():
        raise click.UsageError("There is no terminal to ask on; --yes drops without asking.")
    with _opened(config_file) as queue:
        if not yes:
            which = (
                amount(queue.total, "dead letter") if wanted is None else f"dead letter {wanted}"
            )
            click.confirm(one_line(f"Drop {which} of {queue.name} for good?"), abort=True)
        count = queue.act(wanted, queue.drop)
    _report(count, wanted, "dropped", "gone for good", as_json)


def _check_choice(wanted: str | None, every: bool) -> None:
    if (wanted is None) is not every:
        raise click.UsageError("Say which: either --id ID or --all.")


def _report(count: int, wanted: str | None, done: str, where: str, as_json: bool) -> None:
    if as_json:
        print_json({done: count})
    if wanted is not None and count == 0:
        raise RtmpumpError(f"there is no dead letter with the id {wanted}; see `rtmpump dead list`")
    if as_json:
        return
    same = f"; all {count} had this id" if wanted is not None and count > 1 else ""
    click.echo(one_line(f"{done} {amount(count, 'dead letter')}: {where}{same}"))


@contextmanager
def _opened(config_file: str | None) -> Iterator[_DeadQueue]:
    config = load(config_file, need_token=False).config
    start_log(config)
    with reachable("RabbitMQ"), BrokerClient("dead", config.broker) as client:
        queue = _DeadQueue(client, config)
        try:
            yield queue
        finally:
            queue.give_back()


class _Group(NamedTuple):
    """Dead letters that are given back together: all up to and with a tag."""

    last_tag: int
    size: int


class _DeadQueue:
    """The dead letters that were in the queue when this object was made."""

    def __init__(self, client: BrokerClient, config: Config) -> None:
        """Count the dead letters.

        Raises:
            RtmpumpError: there is no such queue.
        """
        self._client = client
        self.name = config.outbound.dead_queue
        self.outbound = config.outbound.queue
        try:
            count = client.count(self.name)
        except LinkError as error:
            if error.reason != "not_found":
                raise
            raise not_declared("queue", self.name, client.where) from error
        self.total = count.messages
        self._page: list[int] = []
        self._acked: set[int] = set()
        self._groups: list[_Group] = []
        if count.consumers:
            others = amount(count.consumers, "other consumer")
            warning = f"{self.name} has {others}: the dead letters that it holds are not shown"
            click.echo(f"rtmpump: {one_line(warning)}", err=True)

    def pages(self) -> Iterator[list[Received]]:
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

    def _ack(self, letters: Iterable[Received]) -> None:
        tags = [one.tag for one in letters]
        self._acked.update(tags)
        self._client.ack_each(tags)

    def act(self, wanted: str | None, act: _Act) -> int:
        """Do `act` with all dead letters, or with those of the id `wanted`; return how many."""
        count = 0
        for page in self.pages():
            chosen = [one for one in page if wanted is None or _is_called(one, wanted)]
            for start in range(0, len(chosen), _AT_ONCE):
                act(chosen[start : start + _AT_ONCE])
            count += len(chosen)
        # The answer to this comes after the acks took effect.
        self._client.count(self.name)
        return count

    def drop(self, letters: Sequence[Received]) -> None:
        """Acknowledge them."""
        self._ack(letters)

    def send_again(self, letters: Sequence[Received]) -> None:
        """Publish them as commands, and acknowledge those that RabbitMQ has."""
        messages = [(again(one.properties), one.body) for one in letters]
        outcomes = self._client.publish_all(self.outbound, messages, timeout=_CONFIRM_TIMEOUT)
        pairs = zip(letters, outcomes, strict=True)
        self._ack(one for one, outcome in pairs if outcome == "taken")
        if "unroutable" in outcomes:
            raise not_declared("queue", self.outbound, self._client.where)
        if "refused" in outcomes:
            problem = f"RabbitMQ refused a command: the queue {self.outbound} is full or failing"
            raise RtmpumpError(f"{problem}; the rest stays in {self.name}; try again later")
        if None in outcomes:
            detail = f"no confirm within {_CONFIRM_TIMEOUT:g} s: it has an alarm, or hangs"
            raise ServiceUnreachable("RabbitMQ", detail, f"the rest stays in {self.name}")


def _is_called(received: Received, wanted: str) -> bool:
    """Return whether it has this id, as it is or as `list` shows it."""
    name = death(received.properties, received.body).id
    return wanted in (name, one_line(name))


class _Command(NamedTuple):
    """What can be read of the command in a dead letter."""

    type: str
    channel: str
    text: str


def _show(received: Received, as_json: bool) -> None:
    why = death(received.properties, received.body)
    if as_json:
        print_json(_json(received, why))
    else:
        click.echo(_line(why, _command(received.body)))


def _json(received: Received, why: Death) -> dict[str, Any]:
    properties, command = received.properties, _command(received.body)
    return {
        "id": why.id,
        "at": why.at or None,
        "code": why.code,
        "message": why.message,
        "attempts": why.attempts,
        "uncertain": why.uncertain,
        **command._asdict(),
        "message_id": properties.message_id,
        "correlation_id": properties.correlation_id,
        "body": received.body.decode(errors="backslashreplace"),
    }


def _line(why: Death, command: _Command) -> str:
    what = command.text if command.type == "message" else f"({command.type})"
    parts = [
        click.style(one_line(why.id), fg="cyan"),
        click.style(_local(why.at), dim=True),
        click.style(one_line(why.code or "?"), fg="red"),
        click.style(one_line(command.channel or "?"), fg="green"),
        one_line(clipped(what, _TEXT_MAX)) or '""',
    ]
    message = f"({one_line(clipped(why.message, _MESSAGE_MAX))})" if why.message else ""
    doubt = click.style(_DOUBT, fg="yellow") if why.uncertain else ""
    return " ".join(part for part in (*parts, message, doubt) if part)


def _command(body: bytes) -> _Command:
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError):
        fields = None
    if not isinstance(fields, dict):
        return _Command("message", "", body.decode(errors="backslashreplace"))
    found = {name: fields.get(name) for name in _Command._fields}
    plain = {name: value if isinstance(value, str) else "" for name, value in found.items()}
    return _Command(plain["type"] or "message", plain["channel"], plain["text"])


def _local(at: str) -> str:
    try:
        return f"{datetime.fromisoformat(at).astimezone():%Y-%m-%d %H:%M:%S}"
    except ValueError:
        return "?"
