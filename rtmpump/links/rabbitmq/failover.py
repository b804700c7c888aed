"""The nodes of a broker in their order: the first that opens a connection is the one."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pika

from rtmpump.config import Broker, Secret
from rtmpump.errors import LinkError
from rtmpump.links.rabbitmq import refusals as words
from rtmpump.links.rabbitmq.nodes import parameters
from rtmpump.links.rabbitmq.opening import HandshakeFailed
from rtmpump.links.scarcity import scarce


class GivenUp(Exception):
    """A close came while a connection was being made."""


def serve_first_of(
    urls: Iterable[Secret],
    broker: Broker,
    link: str,
    serve: Callable[[pika.URLParameters], None],
) -> LinkError | None:
    """Serve on the first node that opens a connection; if none does, return why.

    `serve` raises OSError where the node is not reached, HandshakeFailed where it opens no
    connection, and GivenUp.
    """
    nodes = [parameters(url, broker, link) for url in urls]
    refusals: list[tuple[words.BrokerAddress, LinkError]] = []
    for node in nodes:
        peer = words.peer_of(node)
        try:
            with scarce(link):
                serve(node)
        except GivenUp:
            return None
        except HandshakeFailed as failed:
            refusals.append((peer, words.not_opened(link, peer, *failed.args)))
        except OSError as error:
            refusals.append((peer, words.not_reached(link, error)))
        else:
            return None
    return words.none_opened(refusals)
