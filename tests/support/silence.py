"""Hosts that take no connection and refuse none: as a network that drops all, on loopback."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import pytest

from rtmpump.sandbox.ports import free_port


class Silence:
    """So many addresses of 127.0.0.0/8 whose backlog is full: a SYN is never answered there."""

    def __init__(self, count: int, port: int = 0) -> None:
        self.port = port or free_port()
        self.hosts = [f"127.0.7.{number}" for number in range(1, count + 1)]
        self._stack = ExitStack()

    def __enter__(self) -> Silence:
        for host in self.hosts:
            listener = self._stack.enter_context(socket.socket())
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((host, self.port))
            listener.listen(0)
            for _ in range(4):
                full = self._stack.enter_context(socket.socket())
                full.setblocking(False)
                full.connect_ex((host, self.port))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()


def resolve_to(monkeypatch: pytest.MonkeyPatch, name: str, hosts: Sequence[str]) -> None:
    """Have a name lead to these addresses, in this order."""
    real = socket.getaddrinfo

    def getaddrinfo(host: Any, *args: Any, **more: Any) -> list[Any]:
        if host != name:
            return real(host, *args, **more)
        return [found for one in hosts for found in real(one, *args, **more)]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
