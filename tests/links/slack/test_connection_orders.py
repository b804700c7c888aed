"""Facts about the connections that are ordered and delivered."""

from __future__ import annotations

import threading
import time
from typing import cast

import pytest

from rtmpump.links.slack.connection_orders import ConnectionOrders
from rtmpump.links.slack.websocket import SlackConnection

SECONDS = 20.0


class Closable:
    """All that is needed of a connection here."""

    def __init__(self) -> None:
        self.is_closed = False

    def close(self) -> None:
        """End it."""
        self.is_closed = True


def deliver(orders: ConnectionOrders) -> Closable:
    """Delivers a connection."""
    connection = Closable()
    orders.deliver(cast("SlackConnection", connection))
    return connection


@pytest.fixture
def orders() -> ConnectionOrders:
    """Orders that are open."""
    orders = ConnectionOrders()
    orders.open()
    return orders


def test_an_order_is_pending_until_it_is_taken(orders: ConnectionOrders) -> None:
    """First it is to be delivered, then to be taken."""
    orders.order(2)
    assert (orders.ordered, orders.pending) == (2, 2)
    connection = deliver(orders)
    assert (orders.ordered, orders.pending) == (1, 2)
    assert list[object](orders.take()) == [connection]
    assert (orders.ordered, orders.pending) == (1, 1)
    assert orders.take() == []


@pytest.mark.parametrize("count", [0, -1])
def test_less_than_one_is_no_order(orders: ConnectionOrders, count: int) -> None:
    """There may be more connections than are wanted."""
    orders.order(count)
    assert orders.pending == 0


def test_nothing_is_ordered_before_it_is_open() -> None:
    """Nor after it was closed."""
    orders = ConnectionOrders()
    orders.order(1)
    orders.open()
    orders.close()
    orders.order(1)
    assert orders.ordered == 0


def test_what_comes_after_the_close_is_closed(orders: ConnectionOrders) -> None:
    """What came before can still be taken."""
    orders.order(2)
    early = deliver(orders)
    orders.close()
    late = deliver(orders)
    assert (early.is_closed, late.is_closed) == (False, True)
    assert list[object](orders.take()) == [early]
    assert orders.pending == 0


@pytest.mark.parametrize("what", ["order", "wake"])
def test_a_wait_for_an_order_ends(orders: ConnectionOrders, what: str) -> None:
    """At once, with an order or with a wake; and it says which."""
    found: list[bool] = []
    waits = threading.Thread(target=lambda: found.append(orders.wait(SECONDS)))
    began = time.monotonic()
    waits.start()
    time.sleep(0.05)
    if what == "order":
        orders.order(1)
    else:
        orders.wake_dialer()
    waits.join(SECONDS)
    assert time.monotonic() - began < SECONDS / 2
    assert found == [what == "order"]


def test_a_wait_has_an_end(orders: ConnectionOrders) -> None:
    """Without any order."""
    assert not orders.wait(0.01)
