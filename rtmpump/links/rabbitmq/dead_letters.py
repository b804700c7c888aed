"""A dead letter in its queue: its id, why the command failed, and how it is sent again.

The pump puts commands there with `rtmpump-*` headers, and publishes the result. RabbitMQ puts there
what expired before the pump took it: that has an `x-death` header only, and its producer has had no
result yet (https://www.rabbitmq.com/docs/dlx#effects).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from rtmpump.links.rabbitmq.connection import FRAME_MAX, Properties

LEFT_OUT: Final = "rtmpump-left-out"
"""The header of a dead letter that says what it lacks."""

# What RabbitMQ counts on a message while it lies in a queue.
_COUNTERS: Final = ("x-delivery-count", "x-acquired-count")
_NOT_SENT_AGAIN: Final = (*_COUNTERS, "x-death", "CC", "BCC")
_NOT_SENT_AGAIN_PREFIXES: Final = ("rtmpump-", "x-first-death-", "x-last-death-")
_REFUSED: Final = "rejected"
_OF_BROKER: Final = {
    "expired": "it expired in RabbitMQ before the pump took it",
    _REFUSED: "its body is too large for a command; send at most 65,536 bytes",
}
_GIVEN_TOO_OFTEN: Final = "delivery_limit"
_NOT_KEPT: Final = ("CC", "BCC", "x-delivery-count")
# What a content header frame holds beside the properties, and room for what queues add to them.
_FRAME_REST: Final = 20
_QUEUES_ADD: Final = 128
_ID_DIGITS: Final = 16


class Death(NamedTuple):
    """What a dead letter says of its end.

    `at` is RFC 3339 or "", `attempts` None if RabbitMQ put it there. `answered`: its producer has
    had the result. `uncertain`: Slack may have taken it.
    """

    id: str
    at: str
    code: str
    message: str
    attempts: int | None
    answered: bool
    uncertain: bool


class Version(NamedTuple):
    """One form of a message for the broker; `left_out` names what it lacks, "" for the whole."""

    properties: Properties
    body: bytes
    left_out: str = ""


def letter_versions(given: Properties, body: bytes, headers: dict[str, Any]) -> tuple[Version, ...]:
    """Return the forms of a dead letter, from the whole to the least.

    The whole has the properties of the command, but for harmful ones: an `expiration` would delete
    the letter, RabbitMQ refuses a `user_id` other than ours, and CC or BCC headers would deliver
    the command once more (`x-delivery-count` is the queue's remark, not the producer's). The others
    lack the producer's headers, and then the body too.
    """
    kept = {k: v for k, v in (given.headers or {}).items() if k not in _NOT_KEPT}
    if given.expiration is not None:
        kept["rtmpump-expiration"] = given.expiration
    if given.user_id is not None:
        kept["rtmpump-user-id"] = given.user_id
    versions = [Version(_with_headers(given, kept | headers, given.reply_to), body)]
    for left_out, rest in (("headers", body), ("headers, body", b"")):
        less = _with_headers(given, headers | {LEFT_OUT: left_out}, given.reply_to)
        versions.append(Version(less, rest, left_out))
    return tuple(versions)


def fits(properties: Properties, frame_max: int) -> bool:
    """Return whether pika can write the properties, and in one frame of at most so many bytes."""
    try:
        size = sum(len(piece) for piece in properties.encode())
    except Exception:
        # pika reads more kinds of values than it writes, and raises many kinds of errors.
        return False
    return size <= frame_max - _FRAME_REST - _QUEUES_ADD


def first_that_fits(versions: Sequence[Version], frame_max: int) -> int:
    """Return the index of the first version that fits into the frames of a broker, or of the last.

    One that does not fit would end each connection, for ever.
    """
    if len(versions) == 1:
        return 0
    fitting = (n for n, one in enumerate(versions) if fits(one.properties, frame_max))
    return next(fitting, len(versions) - 1)


def death(properties: Properties, body: bytes) -> Death:
    """Read a dead letter; raise nothing, whatever its headers hold."""
    headers = properties.headers or {}
    name = properties.message_id or _hash(properties, body)
    code = headers.get("rtmpump-error-code")
    if code is None:
        return _death_in_broker(name, headers)
    attempts = headers.get("rtmpump-attempts")
    return Death(
        name,
        str(headers.get("rtmpump-failed-at", "")),
        str(code),
        str(headers.get("rtmpump-error-message", "")),
        attempts if isinstance(attempts, int) else None,
        answered=True,
        uncertain=headers.get("rtmpump-uncertain") is True,
    )


def again(properties: Properties) -> Properties:
    """Return the properties with which a dead letter is sent once more.

    They are the producer's, without what the pump or RabbitMQ added. `expiration` is left out, for
    the command is wanted now; so is `user_id`, which must be that of the connection, and `reply_to`
    if the result was published: there is no second one.
    """
    headers = {
        name: value
        for name, value in (properties.headers or {}).items()
        if name not in _NOT_SENT_AGAIN and not name.startswith(_NOT_SENT_AGAIN_PREFIXES)
    }
    answered = death(properties, b"").answered
    whole = _with_headers(properties, headers, None if answered else properties.reply_to)
    return whole if fits(whole, FRAME_MAX) else _with_headers(whole, {}, whole.reply_to)


def _with_headers(given: Properties, headers: dict[str, Any], reply_to: str | None) -> Properties:
    return Properties(
        content_type=given.content_type,
        content_encoding=given.content_encoding,
        headers=headers or None,
        delivery_mode=2,
        priority=given.priority,
        correlation_id=given.correlation_id,
        reply_to=reply_to,
        message_id=given.message_id,
        timestamp=given.timestamp,
        type=given.type,
        app_id=given.app_id,
    )


def _death_in_broker(name: str, headers: Mapping[str, Any]) -> Death:
    deaths = headers.get("x-death")
    newest = deaths[0] if isinstance(deaths, list) and deaths else {}
    if not isinstance(newest, dict):
        newest = {}
    code = str(newest.get("reason", ""))
    return Death(
        name,
        _moment(newest.get("time")),
        code,
        _OF_BROKER.get(code, ""),
        None,
        # The pump rejects a body that is too large to be held, and answers it before.
        answered=code == _REFUSED,
        # RabbitMQ gave it to a pump again and again, and never heard what became of it.
        uncertain=code == _GIVEN_TOO_OFTEN,
    )


def _moment(time: object) -> str:
    if not isinstance(time, datetime):
        return ""
    when = time if time.tzinfo else time.replace(tzinfo=UTC)
    return when.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _hash(properties: Properties, body: bytes) -> str:
    """Return an id made of all that stays the same while the message is in its queue."""
    headers = properties.headers or {}
    kept = {name: value for name, value in headers.items() if name not in _COUNTERS}
    facts = [
        properties.correlation_id,
        properties.reply_to,
        properties.timestamp,
        properties.type,
        properties.app_id,
        sorted((name, repr(value)) for name, value in kept.items()),
    ]
    return hashlib.sha256(repr(facts).encode() + body).hexdigest()[:_ID_DIGITS]
