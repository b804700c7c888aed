"""Addresses that RabbitMQ punishes: who publishes to one loses the connection."""

from __future__ import annotations

import base64
import struct

import pika
import pika.exceptions
import pytest


def foreign_reply_address(host: str = "rabbit@gone.example") -> str:
    """Return a direct reply address of a node that is no part of our broker."""
    node = host.encode()
    # The external form of an Erlang process id: a name, two numbers, and the node's creation.
    pid = b"\x83X" + b"w" + bytes([len(node)]) + node + struct.pack(">LLL", 1234, 0, 1)
    return f"amq.rabbitmq.reply-to.{base64.b64encode(pid).decode()}.{'a' * 22}"


def require_punishment(broker_url: str) -> None:
    """Skip the test where this version of RabbitMQ lets such a result vanish without a word."""
    connection = pika.BlockingConnection(pika.URLParameters(broker_url))
    channel = connection.channel()
    channel.confirm_delivery()
    try:
        channel.basic_publish("", foreign_reply_address(), b"")
    except pika.exceptions.AMQPError:
        return
    connection.close()
    pytest.skip("this RabbitMQ takes a result to a foreign reply address")
