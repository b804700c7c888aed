"""What is allowed in the gateway's tables, and does not do what it seems to.

A pattern that begins with a wild card names nothing, so nothing is said of what it takes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from rtmpump.config.sections import CLIENTS, Config, GatewayClient

# What Slack waits for an answer on, and programs mostly want to give one.
_ASKS: Final = ("slash_command", "interactive.view_submission", "interactive.block_suggestion")
_OF_SOCKET_MODE: Final = ("slash_command", "interactive")
_OF_NO_PROGRAM: Final = ("hello", "goodbye", "rtmpump")
_WILD: Final = ("*", "#")


class Trap(NamedTuple):
    """A key of a client, what happens in spite of it, and what to do."""

    key: str
    risk: str
    fix: str


def gateway_traps(config: Config) -> list[Trap]:
    """Return the traps in the tables of all clients."""
    return [trap for client in config.gateway.clients for trap in _of_client(client, config)]


def _of_client(client: GatewayClient, config: Config) -> Iterator[Trap]:
    table = f"{CLIENTS}.{client.name}"
    if missing := sorted(client.api_methods - config.outbound.api_methods):
        risk = f"the pump's list lacks {', '.join(missing)}, so these calls fail with not_allowed"
        yield Trap(f"{table}.api_methods", risk, "add them to outbound.api_methods")
    key = f"{table}.events"
    for pattern in client.events:
        word = pattern.partition(".")[0]
        if word in _OF_NO_PROGRAM:
            yield Trap(key, f"{pattern} goes to no program", "leave it out")
        elif word in _OF_SOCKET_MODE and config.slack.mode == "rtm":
            risk = f'Slack sends nothing for {pattern} where slack.mode is "rtm"'
            yield Trap(key, risk, "leave it out")
        elif pattern in config.events.ignore:
            risk = f"events.ignore names {pattern}, so it is not published"
            yield Trap(key, risk, "take it out of one of the two")
    named = [one for one in client.events if one.partition(".")[0] not in _WILD]
    unasked = [
        asks
        for asks in _ASKS
        if config.slack.mode == "socket" and any(_takes(pattern, asks) for pattern in named)
        if not config.slack.answered & {asks, asks.partition(".")[0]}
    ]
    if unasked:
        words = ", ".join(unasked)
        risk = f"what the program answers to {words} does not reach Slack"
        yield Trap(key, risk, "add it to slack.answered, unless it gives no answers")


def _takes(pattern: str, key: str) -> bool:
    """Return whether a topic pattern matches a routing key, as RabbitMQ has it."""
    return _matches(pattern.split("."), key.split("."))


def _matches(pattern: list[str], words: list[str]) -> bool:
    if not pattern:
        return not words
    if pattern[0] == "#":
        return any(_matches(pattern[1:], words[at:]) for at in range(len(words) + 1))
    return bool(words) and pattern[0] in ("*", words[0]) and _matches(pattern[1:], words[1:])
