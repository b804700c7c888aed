"""What is declared in RabbitMQ, as data: exchanges, queues and bindings, in the order they need.

Laws:

- Nothing here connects. `connection` declares it and `rtmpump topology` prints it, so both say the
  same.
- Everything is durable; nothing is auto-delete, internal or exclusive. So no field says so.
- If an argument changes here, the broker closes the channel with 406 wherever the old one is
  declared. Such a change needs a line in the changelog that says what to do.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal, NamedTuple, TypeAlias
from urllib.parse import unquote, urlsplit

from rtmpump.config import Broker, Config, Events, Outbound
from rtmpump.core.event_types import TYPES

TYPES_MAX: Final = 512
"""The most type exchanges; events of further types go to the events exchange only."""

_UNROUTED_MESSAGES: Final = 100_000
_UNROUTED_TTL_MS: Final = 7 * 24 * 3600 * 1000
NO_DELIVERY_LIMIT: Final = 1_000_000
"""By default RabbitMQ 4 lets go of a message of a quorum queue after 20 redeliveries, and a program
that is restarted often would lose messages to that. For commands `outbound.max_attempts` decides.
"""

Arguments: TypeAlias = Mapping[str, str | int]


class Exchange(NamedTuple):
    """An exchange; `kind` is its AMQP type."""

    name: str
    kind: Literal["topic", "fanout"]
    arguments: Arguments


class Queue(NamedTuple):
    """A queue; `x-queue-type` among its arguments says which kind."""

    name: str
    arguments: Arguments


class Binding(NamedTuple):
    """A binding of the exchange `source` to a queue or another exchange, without arguments."""

    source: str
    destination: str
    destination_kind: Literal["exchange", "queue"]
    routing_key: str


Item: TypeAlias = Exchange | Queue | Binding


def events(events: Events) -> list[Item]:
    """Return what the events need; each item comes after those that it names."""
    documented = (item for type in TYPES for item in for_type(events, type))
    return [*basis(events), *unrouted(events), *documented]


def basis(events: Events) -> list[Item]:
    """Return what no event can be published without.

    The exchange has no arguments: with an alternate exchange it could be declared only with that
    same argument, and the ordinary declaration of other programs would fail.
    """
    return [Exchange(events.exchange, "topic", {}), *_stream(events)]


def for_type(events: Events, type: str) -> list[Item]:
    """Return the exchange of one event type, as `Route.type` has it, and its binding.

    Return nothing if there is to be none: `events.type_exchange` is "", or the name for this type
    belongs to another exchange of ours, or RabbitMQ reserves it ("amq.").
    """
    name = events.type_exchange.replace("{type}", type)
    if name in ("", events.exchange, events.unrouted) or name.startswith("amq."):
        return []
    # No alternate exchange here: it would take each event that no queue is bound to by its type,
    # even one that a queue bound to the events exchange already has. So the pump publishes as
    # mandatory and itself sends to `events.unrouted` what is returned.
    return [
        Exchange(name, "topic", {}),
        Binding(events.exchange, name, "exchange", f"{type}.#"),
    ]


def unrouted(events: Events) -> list[Item]:
    """Return what keeps events that no queue takes, for a limited time and up to a limit."""
    name = events.unrouted
    if not name:
        return []
    arguments: Arguments = {
        "x-queue-type": "quorum",
        "x-max-length": _UNROUTED_MESSAGES,
        "x-overflow": "drop-head",
        "x-message-ttl": _UNROUTED_TTL_MS,
    }
    return [Exchange(name, "fanout", {}), Queue(name, arguments), Binding(name, name, "queue", "")]


def outbound(outbound: Outbound) -> list[Item]:
    """Return the queue of the dead commands, which must exist first, and that of the commands."""
    dead: Arguments = {"x-queue-type": "quorum", "x-delivery-limit": NO_DELIVERY_LIMIT}
    return [
        Queue(outbound.dead_queue, dead),
        Queue(
            outbound.queue,
            {
                "x-queue-type": "quorum",
                # RabbitMQ itself dead-letters only what expired; at-least-once, which asks for
                # reject-publish, makes that survive a crash
                # (https://www.rabbitmq.com/docs/quorum-queues#dead-lettering).
                "x-dead-letter-exchange": "",
                "x-dead-letter-routing-key": outbound.dead_queue,
                "x-dead-letter-strategy": "at-least-once",
                "x-overflow": "reject-publish",
                "x-delivery-limit": NO_DELIVERY_LIMIT,
                # Of several pumps one sends at a time, so order and rate hold.
                "x-single-active-consumer": True,
            },
        ),
    ]


def lock(name: str) -> Queue:
    """Return the queue by which two pumps elect the active one; its messages have no value."""
    return Queue(
        name,
        {
            "x-queue-type": "quorum",
            "x-single-active-consumer": True,
            "x-delivery-limit": NO_DELIVERY_LIMIT,
        },
    )


def definitions(config: Config) -> dict[str, Any]:
    """Return what `rabbitmqctl import_definitions` takes (https://www.rabbitmq.com/docs/definitions).

    All of it is in the vhost of the first broker URL, which must exist; no user, no password.
    """
    vhost = _vhost(config.broker)
    items = _all(config)
    return {
        "exchanges": [_exchange_entry(item, vhost) for item in items if isinstance(item, Exchange)],
        "queues": [_queue_entry(item, vhost) for item in items if isinstance(item, Queue)],
        "bindings": [_binding_entry(item, vhost) for item in items if isinstance(item, Binding)],
    }


def describe(config: Config) -> list[str]:
    """Return the same for people, one line each; all exchanges of event types share one line."""
    of_types = [item for type in TYPES for item in for_type(config.events, type)]
    lines = [f"vhost {_vhost(config.broker)}"]
    lines += [_line(item) for item in _all(config) if item not in of_types]
    return lines + _types_line(config.events, of_types)


def _all(config: Config) -> list[Item]:
    election = [lock(config.ha.lock)] if config.ha.enabled else []
    return [*events(config.events), *outbound(config.outbound), *election]


def _stream(events: Events) -> Iterator[Item]:
    """Yield the stream that keeps all events; with it no event is ever unrouted."""
    if not events.stream:
        return
    yield Queue(events.stream, {"x-queue-type": "stream", "x-max-age": events.stream_max_age})
    yield Binding(events.exchange, events.stream, "queue", "#")


def _vhost(broker: Broker) -> str:
    url = broker.urls[0] if broker.urls else broker.url
    return unquote(urlsplit(url.reveal()).path[1:]) or "/"


def _exchange_entry(item: Exchange, vhost: str) -> dict[str, Any]:
    return {
        "name": item.name,
        "vhost": vhost,
        "type": item.kind,
        "durable": True,
        "auto_delete": False,
        "internal": False,
        "arguments": dict(item.arguments),
    }


def _queue_entry(item: Queue, vhost: str) -> dict[str, Any]:
    return {
        "name": item.name,
        "vhost": vhost,
        "durable": True,
        "auto_delete": False,
        "arguments": dict(item.arguments),
    }


def _binding_entry(item: Binding, vhost: str) -> dict[str, Any]:
    return {
        "source": item.source,
        "vhost": vhost,
        "destination": item.destination,
        "destination_type": item.destination_kind,
        "routing_key": item.routing_key,
        "arguments": {},
    }


def _line(item: Item) -> str:
    if isinstance(item, Binding):
        to = f"{item.destination_kind} {item.destination}"
        return f'binding {item.source} -> {to} with "{item.routing_key}"'
    if isinstance(item, Exchange):
        return f"exchange {item.name} {item.kind}{_in_words(item.arguments)}"
    return f"queue {item.name}{_in_words(item.arguments)}"


def _in_words(arguments: Arguments) -> str:
    return "".join(f" {key}={_value(value)}" for key, value in arguments.items())


def _value(value: str | int) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return '""' if value == "" else str(value)


def _types_line(events: Events, of_types: list[Item]) -> list[str]:
    count = sum(isinstance(item, Exchange) for item in of_types)
    if not count:
        return []
    name = events.type_exchange.replace("{type}", "<type>")
    source = events.exchange
    return [
        f"exchanges {name} topic, each bound to {source} with <type>.#: "
        f"{count} documented types now, others before their first event, {TYPES_MAX} at most"
    ]
