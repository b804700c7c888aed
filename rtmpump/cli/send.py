"""`send`: a message to Slack by way of RabbitMQ, and Slack's answer. It needs no token."""

from __future__ import annotations

import json
import sys
from contextlib import suppress
from typing import Any, Final

import click

from rtmpump.cli.common import (
    FreeLastArgument,
    config_option,
    load,
    not_declared,
    one_line,
    print_json,
    start_log,
)
from rtmpump.cli.connected import connected, usable
from rtmpump.client import Asked, Client, ClientError
from rtmpump.core.outbound import command_parsing
from rtmpump.errors import CommandRejected, RtmpumpError, ServiceUnreachable

_CONFIRM_TIMEOUT_MIN: Final = 10.0
_NOT_KNOWN: Final = "whether it took the command is not known"
_NOT_SENT: Final = "nothing was sent"
_TAKEN: Final = "RabbitMQ has the command; `rtmpump run` sends it, or has sent it"
_STDIN: Final = "-"
# More than any text that the pump takes.
_STDIN_MAX: Final = 65_536


@click.command(cls=FreeLastArgument)
@config_option
@click.argument("channel")
@click.argument("text")
@click.option("--thread", metavar="TS", help="Answer in the thread of this message.")
@click.option("--broadcast", is_flag=True, help="Show the answer in the channel as well.")
@click.option("--escape", is_flag=True, help="Send `&`, `<` and `>` so that Slack shows them.")
@click.option("--no-wait", is_flag=True, help="Only wait until RabbitMQ has it.")
@click.option(
    "--timeout",
    metavar="S",
    type=click.FloatRange(min=0, min_open=True),
    default=30.0,
    show_default=True,
    help="Seconds to wait for Slack's answer; for RabbitMQ's confirm at least 10.",
)
@click.option("--json", "as_json", is_flag=True, help="The result as one JSON object.")
def send(
    config_file: str | None,
    channel: str,
    text: str,
    thread: str | None,
    broadcast: bool,
    escape: bool,
    no_wait: bool,
    timeout: float,
    as_json: bool,
) -> None:
    """Send TEXT to CHANNEL (an id or a name) through RabbitMQ, and print Slack's answer.

    A running `rtmpump run` carries it out; without one the command waits in the queue. With `-`
    the text is what comes from standard input; one that begins with "-" goes after "--".

    Slack reads `&`, `<` and `>` in a text as markup: `<!channel>` calls everybody. --escape sends
    them as plain characters.

    \b
    uptime | rtmpump send general -
    rtmpump send general -- '- a text that begins with "-"'
    """  # noqa: D301 - click wants this control character
    if text == _STDIN:
        text = _from_stdin()
    command = _command(channel, _escaped(text) if escape else text, thread, broadcast)
    config = load(config_file, need_token=False).config
    start_log(config)
    queue = config.outbound.queue
    with connected("send", config) as client:
        asked = client.submit(command, reply=not no_wait)
        result = _result(client, queue, asked, timeout)
        if no_wait:
            _report_queued(client, queue, as_json)
            return
    if as_json:
        print_json(result)
    _report(result, as_json)


def _from_stdin() -> str:
    """Read the text without its last line break.

    Raises:
        UsageError: it can't be a text.
    """
    # There is none where a shell closed it.
    if sys.stdin is not None and sys.stdin.isatty():
        click.echo("the text; Ctrl-D on a line of its own ends it:", err=True)
    given = b"" if sys.stdin is None else sys.stdin.buffer.read(_STDIN_MAX + 1)
    if len(given) > _STDIN_MAX:
        most = f"a text has at most {command_parsing.TEXT_MAX:,} characters"
        raise click.UsageError(f"Standard input has more than {_STDIN_MAX:,} bytes; {most}.")
    try:
        text = given.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        problem = f"Standard input is no UTF-8, at byte {error.start + 1:,}"
        raise click.UsageError(f"{problem}; convert it, such as with iconv.") from error
    text = text[:-2] if text.endswith("\r\n") else text.removesuffix("\n")
    if not text:
        raise click.UsageError("Standard input is empty, and a text has at least one character.")
    return text


def _escaped(text: str) -> str:
    """Return the text so that Slack shows it as it is.

    Source: https://docs.slack.dev/messaging/formatting-message-text#escaping.
    """
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _command(channel: str, text: str, thread: str | None, broadcast: bool) -> dict[str, Any]:
    """Return the command.

    Raises:
        UsageError: the pump would reject it.
    """
    if broadcast and thread is None:
        raise click.UsageError("--broadcast needs --thread TS.")
    fields: dict[str, Any] = {"type": "message", "channel": channel, "text": text}
    if thread is not None:
        fields["thread_ts"] = thread
    if broadcast:
        fields["reply_broadcast"] = True
    try:
        command_parsing.parse(json.dumps(fields).encode())
    except CommandRejected as rejected:
        raise click.UsageError(one_line(rejected.message)) from rejected
    return fields


def _report_queued(client: Client, queue: str, as_json: bool) -> None:
    """Print where the command is, and whether a pump is there to take it."""
    consumers: int | None = None
    # A user who may only send may not be allowed to ask; the command is safe all the same.
    with suppress(ClientError):
        consumers = client.depth(queue).consumers
    if as_json:
        place = {"queued": queue, "node": client.node, "vhost": client.vhost}
        print_json(place | {"consumers": consumers})
        return
    waits = "; no pump takes it now, so it waits" if consumers == 0 else ""
    click.echo(one_line(f"queued in {queue} of {client.where}{waits}"))


def _result(client: Client, queue: str, asked: Asked, timeout: float) -> dict[str, Any]:
    """Wait until RabbitMQ has the command, and for its result.

    Raises:
        RtmpumpError: RabbitMQ did not take it, or the result is none.
        ServiceUnreachable: it is not known whether RabbitMQ took it, or there is no result.
    """
    if not asked.settled.wait(max(timeout, _CONFIRM_TIMEOUT_MIN)):
        why = "it has a memory or disk alarm" if client.is_blocked else "it did not confirm"
        raise ServiceUnreachable("RabbitMQ", why, _NOT_SENT if asked.cancel() else _NOT_KNOWN)
    stays = f"the command stays in {queue} of {client.where} until `rtmpump run` takes it"
    with usable(_whereabouts(asked)):
        try:
            return asked.result(timeout)
        except TimeoutError:
            problem = f"no answer within {timeout:g} s"
            raise ServiceUnreachable("the pump", problem, stays) from None
        except ClientError as error:
            if (refusal := _refusal(error.code, queue, client.where)) is not None:
                raise refusal from error
            raise


def _whereabouts(asked: Asked) -> str:
    """Return what is known of a command that is settled, if no result comes."""
    if asked.confirmed:
        return _TAKEN
    error = asked.exception()
    return _NOT_KNOWN if isinstance(error, ClientError) and error.uncertain else ""


def _refusal(code: str, queue: str, where: str) -> RtmpumpError | None:
    """Return what is wrong with the queue; None: it is something else."""
    match code:
        case "no_queue":
            return not_declared("queue", queue, where)
        case "queue_refused":
            problem = f"{queue} ({where}) is full or failing"
            return RtmpumpError(f"RabbitMQ refused the command: {problem}")
        case "no_result":
            fix = f"check which programs consume {queue} of {where}"
            return RtmpumpError(f"the answer is no result of rtmpump; {fix}")
    return None


def _report(result: dict[str, Any], as_json: bool) -> None:
    """Print what Slack answered; raise an error if it refused, also after printing JSON."""
    doubt = " (it may be there twice: a connection broke)" if result.get("uncertain") else ""
    if result["ok"] is True:
        where, ts = result.get("channel", "?"), result.get("ts", "?")
        if not as_json:
            click.echo(one_line(f"sent to {where}, ts {ts}{doubt}"))
        return
    error = result.get("error")
    given = error if isinstance(error, dict) else {}
    reason = f"{given.get('code', 'unknown')}: {given.get('message', '')}"
    raise RtmpumpError(f"not sent: {reason}" + (" (uncertain)" if result.get("uncertain") else ""))
