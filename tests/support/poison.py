"""Addresses that RabbitMQ punishes: who publishes to one loses the connection."""

from __future__ import annotations

import base64
import struct


def foreign_reply_address(host: str = "rabbit@gone.example") -> str:
    """Return a direct reply address of a node that is no part of our broker."""
    node = host.encode()
    # The external form of an Erlang process id: a name, two numbers, and the node's creation.
    pid = b"\x83X" + b"w" + bytes([len(node)]) + node + struct.pack(">LLL", 1234, 0, 1)
    return f"amq.rabbitmq.reply-to.{base64.b64encode(pid).decode()}.{'a' * 22}"
