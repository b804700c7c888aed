"""What goes wrong for a service that uses the client: each error has a `code` to decide by."""

from __future__ import annotations

from typing import Final

from rtmpump.errors import EXIT_UNREACHABLE, LinkError, RtmpumpError
from rtmpump.links.rabbitmq.refusals import BETWEEN_NODES

# What the pump's own fixes say is about its configuration.
_FIXES: Final = {
    "access_refused": "give the RabbitMQ user this permission",
    "ack_timeout": "choose a smaller prefetch, or raise RabbitMQ's consumer_timeout",
    "auth": "check both in the URL",
    "not_found": "start rtmpump once, or let this user declare it",
}


class ClientError(RtmpumpError):
    """The root. `code` is one short word, `message` a line for people.

    `uncertain`: a message may be in Slack in spite of the error, or there twice.
    """

    def __init__(self, code: str, message: str, *, uncertain: bool = False) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message
        self.uncertain = uncertain

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"


class BrokerUnavailable(ClientError):
    """RabbitMQ is away or refuses, and surely nothing was sent.

    `code` is `refused`, `unreachable`, `timeout`, `auth`, `access_refused`, `not_found` … for what
    RabbitMQ or the network said; `no_queue` where there is no queue of commands, because rtmpump
    never ran; `queue_refused` where it is full; `closed` for a client that was closed.
    """

    exit_code = EXIT_UNREACHABLE


class CommandFailed(ClientError):
    """The pump or Slack refused a command, after so many `attempts`.

    `code` is one of those of docs/send.md, such as `channel_not_found`, or Slack's as `slack_…`.
    """

    def __init__(self, code: str, message: str, *, attempts: int, uncertain: bool) -> None:
        super().__init__(code, message, uncertain=uncertain)
        self.attempts = attempts


class ResultMissing(ClientError):
    """RabbitMQ may have the command, but no result came: whether it is in Slack is not known.

    `code` is `timeout`, or `uncertain` where the connection ended before the result came.
    """


class NotAnswerable(ClientError):
    """The event asks for no answer; `code` is `no_reply_to`."""


def unavailable(error: LinkError) -> BrokerUnavailable:
    """Return the error for what RabbitMQ or the network said, which is its cause."""
    unavailable = BrokerUnavailable(error.reason, in_words(error))
    unavailable.__cause__ = error
    return unavailable


def in_words(error: LinkError) -> str:
    """Return what ended or refused a connection, and what the service's operator can do."""
    nodes = [node.partition(";")[0] for node in error.detail.split(BETWEEN_NODES)]
    # The reason is that of the last node alone.
    fix = _FIXES.get(error.reason) if len(nodes) == 1 else None
    problem = BETWEEN_NODES.join(nodes)
    return f"{problem}; {fix}" if fix else problem
