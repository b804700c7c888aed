"""`dead list`, `show`, `retry`, `drop`: the commands that could not be carried out."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, TypeVar

import click

from rtmpump.cli.columns import terminal_width
from rtmpump.cli.common import (
    FreeLastArgument,
    amount,
    config_option,
    load,
    named_config,
    one_line,
    print_json,
    reachable,
    start_log,
)
from rtmpump.cli.dead_queue import DeadQueue, is_called
from rtmpump.cli.dead_words import Letter, LetterLines
from rtmpump.errors import RtmpumpError
from rtmpump.links.rabbitmq.client import BrokerClient

# An id may be cut in a list: so much of it is enough for `show`.
_BEGINNING: Final = 6

_Function = TypeVar("_Function", bound=Callable[..., Any])


@click.group()
def dead() -> None:
    """List, show, retry or drop the dead-lettered commands (outbound.dead_queue).

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
        count, lines = 0, None
        for page in queue.pages():
            letters = [Letter(received) for received in page]
            lines = lines or LetterLines(letters, terminal_width())
            for letter in letters:
                if as_json:
                    print_json(letter.summary())
                else:
                    click.echo(lines.line(letter))
            count += len(page)
        if not as_json:
            click.echo(f"{amount(count, 'dead letter')} in {_place(queue)}", err=True)


@dead.command(cls=FreeLastArgument)
@config_option
@click.argument("id", metavar="ID")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def show(config_file: str | None, id: str, as_json: bool) -> None:
    """Show all of the dead letter ID: why it died, properties, headers, body.

    ID is that of `dead list`, or its beginning where it is cut there. If several dead letters have
    this id, all of them are shown.
    """
    with _opened(config_file) as queue:
        found = _found(queue, id)
    for number, letter in enumerate(found):
        if as_json:
            print_json(letter.whole(named_config()))
            continue
        if number:
            click.echo()
        for line in letter.in_words(named_config()):
            click.echo(line)


def _found(queue: DeadQueue, wanted: str) -> list[Letter]:
    """Return the dead letters of an id; of a beginning, those of the one id that begins so."""
    beginning = wanted.removesuffix("…")
    called: list[Letter] = []
    begun: dict[str, list[Letter]] = {}
    for page in queue.pages():
        for received in page:
            letter = Letter(received)
            if is_called(received, wanted):
                called.append(letter)
            elif len(beginning) >= _BEGINNING and one_line(letter.why.id).startswith(beginning):
                begun.setdefault(letter.why.id, []).append(letter)
    if not called and len(begun) > 1:
        raise RtmpumpError(f"{len(begun)} ids begin with {beginning}; give more of it")
    found = called or next(iter(begun.values()), [])
    if not found:
        raise _none_called(wanted, _place(queue))
    return found


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
    sent = f"sent to {queue.outbound} of {queue.where}"
    _report(queue, count, wanted, ("retried", sent), as_json)


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
            click.confirm(one_line(f"Drop {which} in {_place(queue)} for good?"), abort=True)
        count = queue.act(wanted, queue.drop)
    gone = f"gone for good from {_place(queue)}"
    _report(queue, count, wanted, ("dropped", gone), as_json)


def _check_choice(wanted: str | None, every: bool) -> None:
    if (wanted is None) is not every:
        raise click.UsageError("Say which: either --id ID or --all.")


def _report(
    queue: DeadQueue, count: int, wanted: str | None, words: tuple[str, str], as_json: bool
) -> None:
    """Print what was done, and what became of the dead letters."""
    done, fate = words
    if as_json:
        print_json({done: count})
    if wanted is not None and count == 0:
        raise _none_called(wanted, _place(queue))
    if as_json:
        return
    same = f"; all {count} had this id" if wanted is not None and count > 1 else ""
    click.echo(one_line(f"{done} {amount(count, 'dead letter')}: {fate}{same}"))


def _none_called(wanted: str, place: str) -> RtmpumpError:
    see = "see `rtmpump dead list`"
    return RtmpumpError(f"there is no dead letter with the id {wanted} in {place}; {see}")


def _place(queue: DeadQueue) -> str:
    return one_line(f"{queue.name} of {queue.where}")


@contextmanager
def _opened(config_file: str | None) -> Iterator[DeadQueue]:
    config = load(config_file, need_token=False).config
    start_log(config)
    with reachable("RabbitMQ"), BrokerClient("dead", config.broker) as client:
        queue = DeadQueue(client, config)
        try:
            yield queue
        finally:
            queue.give_back()
