"""Translates what ends a connection to the broker into a LinkError: one word and one line."""

from __future__ import annotations

import socket
import ssl
from typing import Final

from pika import exceptions as amqp

from rtmpump.errors import LinkError

TOO_LARGE: Final = "content_too_large"
"""The reason for a message that is larger than the broker's `max_message_size`."""
CANCELLED: Final = "cancelled"
"""The reason where the broker ended our consumer: its queue is gone."""
ACK_TIMEOUT: Final = "ack_timeout"
"""The reason where a delivery was not acknowledged within the broker's `consumer_timeout`."""

_REASON_OF_CODE: Final = {
    311: TOO_LARGE,
    312: "no_route",
    313: "no_consumers",
    320: "closed_by_broker",
    402: "invalid_path",
    403: "access_refused",
    404: "not_found",
    405: "resource_locked",
    406: "precondition_failed",
    530: "not_allowed",
    541: "internal_error",
}
# A queue that was made by hand, or before pumps took turns. What is in it must not be deleted too.
_WITHOUT_TURNS: Final = (
    "; the queue was made without this argument, by which several pumps take turns: have one pump "
    'with broker.declare = "passive" empty it, then delete it, and it is made anew'
)

_NO_LOCK: Final = (
    "; delete it, it holds nothing of worth, and is made anew: only a quorum queue with a single "
    "active consumer can be the lock"
)


def closed_by_broker(link: str, code: int, text: str) -> LinkError:
    """Return the error for a reply code, with a fix; after some the next try is at once."""
    reason = _REASON_OF_CODE.get(code, f"code_{code}")
    hint = ""
    if code == 406:
        reason, hint = _precondition_failed(text)
        if link == "broker_lock" and reason != ACK_TIMEOUT:
            hint = _NO_LOCK
    elif code == 404:
        hint = '; it is made by broker.declare = "active"'
    elif code == 403:
        hint = "; give the RabbitMQ user this permission"
    return LinkError(link, reason, f"{text}{hint}", at_once=code == 404 or reason == ACK_TIMEOUT)


def _precondition_failed(text: str) -> tuple[str, str]:
    """Return the reason and the fix for a 406; AMQP has this one code for all that follows."""
    if "message size" in text:
        return TOO_LARGE, ""
    if "delivery acknowledgement" in text and "timed out" in text:
        return ACK_TIMEOUT, (
            "; nothing is lost, what waited comes again: lower outbound.prefetch, raise "
            "outbound.rate or raise RabbitMQ's consumer_timeout"
        )
    if "inequivalent arg 'x-single-active-consumer'" in text and "current is none" in text:
        return _REASON_OF_CODE[406], _WITHOUT_TURNS
    if "inequivalent arg" in text:
        hint = '; delete it or make it alike, or set broker.declare = "passive"'
        return _REASON_OF_CODE[406], hint
    return _REASON_OF_CODE[406], ""


def cancelled(link: str, queue: str) -> LinkError:
    """Return the error for a consumer that the broker cancelled."""
    # RabbitMQ 4 cancels the consumer of a quorum queue where 3 closed the channel.
    late = "or a message waited longer than RabbitMQ's consumer_timeout"
    return LinkError(link, CANCELLED, f"the queue {queue} went away, {late}", at_once=True)


def translated(link: str, error: BaseException) -> LinkError:
    """Return the error for what pika raised: one word, and one line."""
    match error:
        case amqp.ConnectionClosedByBroker() | amqp.ChannelClosedByBroker():
            return closed_by_broker(link, error.reply_code, error.reply_text)
        case amqp.AMQPHeartbeatTimeout():
            return LinkError(link, "heartbeat", "the broker sent no heartbeat", at_once=True)
        case ssl.SSLError():
            return LinkError(link, "tls", str(error))
        case socket.gaierror():
            return LinkError(link, "unreachable", f"no such host: {error.strerror}")
        case TimeoutError():
            return LinkError(link, "timeout", "no answer in time")
        case amqp.StreamLostError() | amqp.AMQPConnectionError() | OSError():
            detail = str(error) or type(error).__name__
            return LinkError(link, "lost", detail, at_once=True)
    return LinkError(link, "lost", repr(error), at_once=True)
