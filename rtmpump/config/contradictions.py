"""Values that are each right but can't go together."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from rtmpump.config import secrets
from rtmpump.config.sections import CLIENTS, Broker, Config, Gateway

# The lock's own heartbeat is half of it, and AMQP counts in whole seconds.
_LEAST_HEARTBEAT: Final = 2
_GATEWAYS_OWN: Final = ("rtm.gateway", "rtm.gateway.dropped")


class Contradiction(NamedTuple):
    """What is wrong; `names` are the keys at fault."""

    problem: str
    names: tuple[str, ...]


def contradictions(config: Config) -> Iterator[Contradiction]:
    """Yield each contradiction in a configuration."""
    if config.retry.max < config.retry.initial:
        names = ("retry.max", "retry.initial")
        yield Contradiction("retry.max must be at least retry.initial", names)
    if config.events.exchange == config.events.unrouted:
        yield _same("events.unrouted", "events.exchange")
    if config.ha.enabled and config.slack.mode == "socket":
        # Slack itself spreads the events of an app over all its connections.
        problem = 'ha.enabled is for slack.mode = "rtm"; in Socket Mode several pumps need no lock'
        yield Contradiction(problem, ("ha.enabled", "slack.mode"))
    if config.slack.answered and config.slack.mode == "rtm":
        problem = 'slack.answered is for slack.mode = "socket": RTM asks nothing'
        yield Contradiction(problem, ("slack.answered", "slack.mode"))
    for word in sorted(config.slack.answered & config.events.ignore):
        problem = f"slack.answered and events.ignore both name {word}, so nobody could answer it"
        yield Contradiction(problem, ("slack.answered", "events.ignore"))
    if config.ha.enabled and config.broker.heartbeat < _LEAST_HEARTBEAT:
        problem = f"ha.enabled needs a broker.heartbeat of {_LEAST_HEARTBEAT} seconds or more"
        yield Contradiction(problem, ("broker.heartbeat", "ha.enabled"))
    yield from _tls_contradictions(config.broker)
    yield from _gateway_contradictions(config.gateway)
    taken: dict[str, str] = {}
    for name, queue in _queues(config):
        if queue in taken:
            yield _same(name, taken[queue])
        taken[queue] = name


def _same(name: str, other: str) -> Contradiction:
    return Contradiction(f"{name} and {other} must differ", (name, other))


def _queues(config: Config) -> list[tuple[str, str]]:
    queues = [
        ("outbound.queue", config.outbound.queue),
        ("outbound.dead_queue", config.outbound.dead_queue),
        ("events.unrouted", config.events.unrouted),
        ("events.stream", config.events.stream),
        ("ha.lock", config.ha.lock if config.ha.enabled else ""),
        *(
            (f"{CLIENTS}.{client.name}.queue", client.queue_name)
            for client in config.gateway.clients
        ),
    ]
    return [(name, queue) for name, queue in queues if queue]


def _gateway_contradictions(gateway: Gateway) -> Iterator[Contradiction]:
    if bool(gateway.tls_cert) is not bool(gateway.tls_key):
        names = ("gateway.tls_cert", "gateway.tls_key")
        yield Contradiction("gateway.tls_cert and gateway.tls_key need each other", names)
    elif not gateway.tls_cert and not secrets.is_loopback(gateway.address[0]):
        problem = "gateway.listen other than loopback needs gateway.tls_cert and gateway.tls_key"
        yield Contradiction(problem, ("gateway.listen",))
    for client in gateway.clients:
        if client.queue_name in _GATEWAYS_OWN:
            problem = f"{CLIENTS}.{client.name}.queue can't be {client.queue_name}, which is ours"
            yield Contradiction(problem, (f"{CLIENTS}.{client.name}.queue",))
    holders: dict[str, str] = {}
    for client in gateway.clients:
        token, source = client.token.reveal(), "token_file" if client.token_file else "token"
        key = f"{CLIENTS}.{client.name}.{source}"
        if token and token in holders:
            problem = f"{key} and {holders[token]} must differ: {secrets.MADE_WITH}"
            yield Contradiction(problem, (key, holders[token]))
        holders[token] = key


def _tls_contradictions(broker: Broker) -> Iterator[Contradiction]:
    plain = [url for url in broker.urls if not url.reveal().startswith("amqps:")]
    for name in ("ca_file", "client_cert", "client_key"):
        if getattr(broker, name) and plain:
            problem = f"broker.{name} is for TLS: each broker URL must begin with amqps://"
            yield Contradiction(problem, (f"broker.{name}",))
    if broker.client_key and not broker.client_cert:
        problem = "broker.client_key needs broker.client_cert"
        yield Contradiction(problem, ("broker.client_key",))
    if broker.auth == "external" and not broker.client_cert:
        problem = 'broker.auth = "external" needs broker.client_cert'
        yield Contradiction(problem, ("broker.auth",))
