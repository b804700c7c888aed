"""AMQP on an asyncio loop: what it says where no connection comes about, and where one ends."""

from __future__ import annotations

import asyncio
import io

import pytest

from rtmpump.config import Broker, Secret
from rtmpump.errors import LinkError
from rtmpump.links.rabbitmq.listener import Delivery, Properties
from rtmpump.links.rabbitmq.loop_connection import LoopConnection
from rtmpump.sandbox.rabbitmq.node import RabbitNode


def broker(*urls: str) -> Broker:
    """A configuration with these nodes."""
    return Broker(url=Secret(urls[0]), urls=tuple(map(Secret, urls)))


def test_who_refuses_and_why(node: RabbitNode, broker_url: str) -> None:
    """A wrong password, a vhost that is not there, no node: each in one line, with what to do."""

    async def refused(url: str) -> LinkError:
        with pytest.raises(LinkError) as caught:
            await LoopConnection.open("gateway", broker(url))
        return caught.value

    async def all_of_them() -> list[LinkError]:
        return [
            await refused(broker_url.replace("guest:guest", "guest:wrong")),
            await refused(broker_url + "-nowhere"),
            await refused("amqp://guest:guest@127.0.0.1:1/"),
        ]

    auth, vhost, away = asyncio.run(all_of_them())
    assert auth.reason == "auth"
    assert "RabbitMQ refused the user 'guest' or its password" in auth.detail
    assert "wrong" not in auth.detail
    assert vhost.reason == "not_allowed"
    assert "there is no vhost" in vhost.detail or "no permission" in vhost.detail
    assert (away.reason, away.detail) == ("refused", "127.0.0.1:1: connection refused")


def test_the_next_node_is_tried_and_a_channel_ends_alone(broker_url: str) -> None:
    """A refusal of the broker ends the channel that asked, for all who wait on it."""

    async def run() -> None:
        connection = await LoopConnection.open(
            "gateway", broker("amqp://guest:guest@127.0.0.1:1/", broker_url)
        )
        bad, good = await connection.channel(), await connection.channel()
        with pytest.raises(LinkError) as caught:
            await bad.declare_queue("nowhere", {}, passive=True)
        assert caught.value.reason == "not_found"
        assert (await bad.ended).reason == "not_found"
        with pytest.raises(LinkError):
            await bad.publish("q", b"", Properties())
        bad.ack(1)
        await good.declare_queue("q", {})
        await good.confirm_publishes()
        assert await good.publish("q", b"1", Properties(message_id="1")) == "taken"
        assert await good.publish("nowhere", b"2", Properties(message_id="2")) == "unroutable"
        assert await good.take_one("q") == (1, b"1")
        assert await good.take_one("q") is None
        await connection.close()
        assert connection.ended.done()
        with pytest.raises(LinkError):
            await connection.channel()

    asyncio.run(run())


def test_a_connection_may_have_only_so_many_channels(broker_url: str) -> None:
    """One too many is refused in words, and the others go on."""

    async def run() -> None:
        connection = await LoopConnection.open("gateway", broker(f"{broker_url}?channel_max=2"))
        assert connection.channels_max == 2
        channels = [await connection.channel() for _ in range(2)]
        with pytest.raises(LinkError) as caught:
            await connection.channel()
        assert caught.value.reason == "not_allowed"
        assert "channel_max" in caught.value.detail
        await channels[0].declare_queue("q", {})
        await connection.close()

    asyncio.run(run())


def test_a_channel_that_nobody_waits_for_any_more_is_closed(broker_url: str) -> None:
    """It would count for as long as the connection is there."""

    async def run() -> None:
        connection = await LoopConnection.open("gateway", broker(f"{broker_url}?channel_max=1"))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(connection.channel(), 0)
        opening = asyncio.create_task(connection.channel())
        await asyncio.sleep(0)
        opening.cancel()
        await asyncio.gather(opening, return_exceptions=True)
        while True:
            try:
                await connection.channel()
            except LinkError:
                await asyncio.sleep(0.01)
            else:
                break
        await connection.close()

    asyncio.run(asyncio.wait_for(run(), 60))


def test_a_message_that_meets_a_bug_is_acknowledged(
    broker_url: str, log_lines: io.StringIO, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is logged without its content, and the next one comes."""
    got: list[bytes] = []

    def deliver(_key: str, delivery: Delivery) -> None:
        got.append(delivery.body)
        if delivery.body == b"secret":
            raise ValueError(delivery.body)

    async def run() -> None:
        connection = await LoopConnection.open("gateway", broker(broker_url))
        channel = await connection.channel()
        await channel.declare_queue("q", {})
        for body in (b"secret", b"good"):
            channel.send("q", body, Properties())
        await channel.consume("q", 1, deliver)
        while len(got) < 2:
            await asyncio.sleep(0.01)
        await connection.close()

    asyncio.run(asyncio.wait_for(run(), 60))
    told = log_lines.getvalue() + "".join(capsys.readouterr())
    assert "gateway.bug" in told
    assert "test_loop_connection.py" in told
    assert "secret" not in told
