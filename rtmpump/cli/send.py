"""`tail` and `send`: events and commands by hand. Both need RabbitMQ only, and no token."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from functools import partial
from typing import Any, Final

import click
import msgspec

from rtmpump.cli.common import (
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
from rtmpump.core import tolerant_json
from rtmpump.core.outbound import command_parsing
from rtmpump.errors import CommandRejected, LinkError, RtmpumpError, ServiceUnreachable
from rtmpump.links.rabbitmq.client import BrokerClient, PublishOutcome, Received, Unanswered

_ACK_EVERY: Final = 50
_REST_MAX: Final = 200
_CONFIRM_TIMEOUT_MIN: Final = 10.0
_SHOWN_ALREADY: Final = ("type", "subtype", "channel", "user", "ts", "event_ts", "text")


@click.command()
@config_option
@click.argument("patterns", metavar="[PATTERN]...", nargs=-1)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@click.option("--count", type=click.IntRange(1), help="End after so many events.")
def tail(
    config_file: str | None, patterns: tuple[str, ...], as_json: bool, count: int | None
) -> None:
    """Print events live from RabbitMQ until Ctrl-C.

    A PATTERN is an AMQP topic: `*` is one word, `#` any number of them; all events by default.

    \b
    rtmpump tail 'message.#' reaction_added
    rtmpump tail --json | jq .body.text
    """  # noqa: D301 - click wants this control character
    config = load(config_file, need_token=False).config
    start_log(config)
    show = _json_line if as_json else _line
    try:
        with reachable("RabbitMQ"), BrokerClient("tail", config.broker) as client:
            for event in _events(client, config, patterns or ("#",), count):
                click.echo(show(event))
    except KeyboardInterrupt:
        return


def _events(
    client: BrokerClient, config: Config, patterns: tuple[str, ...], count: int | None
) -> Iterator[Received]:
    exchange = config.events.exchange
    try:
        client.listen(exchange, patterns)
    except LinkError as error:
        if error.reason != "not_found":
            raise
        raise not_declared("exchange", exchange) from error
    wanted = " ".join(patterns)
    click.echo(f"listening to {exchange} for {one_line(wanted)}; Ctrl-C ends", err=True)
    seen = 0
    while count is None or seen < count:
        event = client.receive()
        if event is None:
            continue
        yield event
        seen += 1
        if seen % _ACK_EVERY == 0:
            client.ack(event.tag)


def _json_line(event: Received) -> str:
    properties = event.properties
    line = msgspec.json.encode(
        {
            "routing_key": event.routing_key,
            "message_id": properties.message_id,
            "headers": properties.headers or {},
            "body": _raw(event.body),
        },
        enc_hook=str,
    )
    return tolerant_json.shown(line.decode())


def _raw(body: bytes) -> msgspec.Raw | str:
    """Return the body as JSON on one line; as a string if it is no JSON."""
    try:
        body.decode()
        return msgspec.Raw(msgspec.json.format(body, indent=-1))
    except (ValueError, RecursionError, msgspec.DecodeError):
        return body.decode(errors="backslashreplace")


def _line(event: Received) -> str:
    fields = _fields(event.body)
    headers = event.properties.headers or {}
    parts = [
        click.style(_time(headers, event.properties.timestamp), dim=True),
        click.style(one_line(event.routing_key), fg="cyan"),
        click.style(_id(headers, "channel"), fg="green"),
        click.style(_id(headers, "user"), fg="yellow"),
        one_line(_story(fields, event.body)),
    ]
    return " ".join(part for part in parts if click.unstyle(part))


def _fields(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _time(headers: Mapping[str, Any], timestamp: object) -> str:
    """Return the local time of day at which the event was received; now if it does not say."""
    received_at = headers.get("received_at")
    seconds = received_at / 1000 if isinstance(received_at, int) else timestamp
    try:
        when = datetime.fromtimestamp(seconds).astimezone()  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError, OSError):
        when = datetime.now().astimezone()
    return when.strftime("%H:%M:%S") + f".{when.microsecond // 1000:03}"


def _id(headers: Mapping[str, Any], name: str) -> str:
    return one_line(str(headers.get(name, "")))


def _story(fields: dict[str, Any], body: bytes) -> str:
    """Return the text of a message; of other events the fields that the line does not show."""
    if not fields:
        return clipped(body.decode(errors="backslashreplace"), _REST_MAX)
    text = fields.get("text")
    if isinstance(text, str) and text:
        return text
    rest = [f"{key}={_short(value)}" for key, value in fields.items() if key not in _SHOWN_ALREADY]
    return clipped(" ".join(rest), _REST_MAX)


def _short(value: object) -> str:
    try:
        return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    except RecursionError:
        return "…"


@click.command()
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

    A running `rtmpump run` carries it out; without one the command waits in the queue.

    Slack reads `&`, `<` and `>` in a text as markup: `<!channel>` calls everybody. --escape sends
    them as plain characters.
    """
    body = _command(channel, _escaped(text) if escape else text, thread, broadcast)
    config = load(config_file, need_token=False).config
    start_log(config)
    queue = config.outbound.queue
    with reachable("RabbitMQ"), BrokerClient("send", config.broker) as client:
        if not no_wait:
            client.expect_replies()
        correlation_id = uuid.uuid4().hex
        patience = max(timeout, _CONFIRM_TIMEOUT_MIN)
        publish = partial(
            client.publish, queue, body, correlation_id, timeout=patience, reply=not no_wait
        )
        _check_taken(queue, publish)
        if no_wait:
            if as_json:
                print_json({"queued": queue})
            else:
                click.echo(f"queued in {queue}")
            return
        result = _result(client, queue, correlation_id, timeout)
    if as_json:
        print_json(result)
    _report(result, as_json)


def _escaped(text: str) -> str:
    """Return the text so that Slack shows it as it is.

    Source: https://docs.slack.dev/messaging/formatting-message-text#escaping.
    """
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _command(channel: str, text: str, thread: str | None, broadcast: bool) -> bytes:
    """Return the body of the command.

    Raises:
        UsageError: the pump would reject it.
    """
    if broadcast and thread is None:
        raise click.UsageError("--broadcast needs --thread TS.")
    fields: dict[str, object] = {"type": "message", "channel": channel, "text": text}
    if thread is not None:
        fields["thread_ts"] = thread
    if broadcast:
        fields["reply_broadcast"] = True
    body = json.dumps(fields).encode()
    try:
        command_parsing.parse(body)
    except CommandRejected as rejected:
        raise click.UsageError(one_line(rejected.message)) from rejected
    return body


def _check_taken(queue: str, publish: Callable[[], PublishOutcome]) -> None:
    """Publish the command.

    Raises:
        RtmpumpError: RabbitMQ did not take it.
        ServiceUnreachable: it is not known whether RabbitMQ took it.
    """
    try:
        outcome = publish()
    except Unanswered as silence:
        why = "it has a memory or disk alarm" if silence.blocked else "it did not confirm"
        detail = f"{why}; whether it took the command is not known"
        raise ServiceUnreachable("RabbitMQ", detail) from None
    if outcome == "unroutable":
        raise not_declared("queue", queue)
    if outcome == "refused":
        raise RtmpumpError(f"RabbitMQ refused the command: the queue {queue} is full or failing")


def _result(
    client: BrokerClient, queue: str, correlation_id: str, timeout: float
) -> dict[str, Any]:
    stays = f"the command stays in {queue} until `rtmpump run` takes it"
    with reachable("RabbitMQ", stays):
        answer = client.receive(timeout)
    if answer is None:
        raise ServiceUnreachable("the pump", f"no answer within {timeout:g} s", stays)
    result = _fields(answer.body)
    if answer.properties.correlation_id != correlation_id or "ok" not in result:
        raise RtmpumpError(
            f"the answer is no result of rtmpump; check which programs consume {queue}"
        )
    return result


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
