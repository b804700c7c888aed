"""Facts about declaring in groups, of which the broker may refuse some."""

from __future__ import annotations

from rtmpump.links.rabbitmq.connection import BrokerConnection
from rtmpump.links.rabbitmq.declaring import Refusal
from rtmpump.links.rabbitmq.topology import Binding, Exchange, Item
from tests.links.rabbitmq.test_connection import made
from tests.support.broker import Broker


def test_a_binding_to_what_is_gone_refuses_its_group_alone(broker_url: str, broker: Broker) -> None:
    """A queue can vanish between its declaration and its binding; the other groups are declared."""
    groups: dict[str, list[Item]] = {
        "gone": [Binding("amq.topic", "nowhere", "queue", "#")],
        "other": [Exchange("rtm.other", "topic", {})],
    }
    told: list[Refusal] = []

    def declare(rabbit: BrokerConnection) -> None:
        def done(refusals: list[Refusal]) -> None:
            told.extend(refusals)
            rabbit.close()

        rabbit.declare_groups(groups, done)

    rabbit, _ = made(broker_url, on_ready=declare)
    rabbit.run()
    ((group, reason, _),) = told
    assert (group, reason) == ("gone", "not_found")
    assert broker.exists(exchange="rtm.other")
