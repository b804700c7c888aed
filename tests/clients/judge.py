"""One library before one server: all scenarios, one after the other, and how each ended."""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from rtmpump.sandbox.rabbitmq.node import RabbitNode
from tests.clients import installed, scenarios
from tests.clients.libraries import SANDBOX, Library
from tests.clients.program import ClientProgram
from tests.clients.scenarios import Scenario, Trial
from tests.clients.servers import Server, behind_gateway, sandbox
from tests.support.broker_node import add_vhost, delete_vhost

_OF_THE_GATEWAY: Final = ("kill",)


def scenarios_of(library: Library, server: str) -> dict[str, Scenario]:
    """Return what a library is put through before a server: what its face and the server have."""
    face = scenarios.RTM if library.face == "RTM" else scenarios.SOCKET_MODE
    return {
        name: scenario
        for name, scenario in face.items()
        if server != SANDBOX or name not in _OF_THE_GATEWAY
    }


def judge(library: Library, server: str, node: RabbitNode) -> dict[str, str]:
    """Return for each scenario how it failed; "" if it passed.

    Raises:
        NotHere: the library can't run on this machine.
    """
    command = installed.command(library)
    with (
        tempfile.TemporaryDirectory(prefix="rtmpump-clients-") as folder,
        _serving(server, node, Path(folder)) as serving,
    ):
        program = ClientProgram(command, serving.settings, Path(folder))
        try:
            trial = Trial(library, serving, program)
            return {
                name: _outcome(trial, name, scenario)
                for name, scenario in scenarios_of(library, server).items()
            }
        finally:
            program.end()


def _outcome(trial: Trial, name: str, scenario: Scenario) -> str:
    try:
        if name != "connect":
            trial.ensure_connected()
        scenario(trial)
    except AssertionError as failure:
        return str(failure) or "it failed"
    return ""


@contextmanager
def _serving(server: str, node: RabbitNode, folder: Path) -> Iterator[Server]:
    if server == SANDBOX:
        with sandbox() as one:
            yield one
        return
    vhost = f"clients-{secrets.token_hex(4)}"
    try:
        with behind_gateway(add_vhost(node, vhost), folder) as behind:
            yield behind
    finally:
        delete_vhost(node, vhost)
