"""`gateway`: an endpoint that Slack's own client libraries connect to."""

from __future__ import annotations

import os
from importlib.util import find_spec
from typing import Final

import click

from rtmpump.cli.common import file_option, load, start_log
from rtmpump.errors import ConfigError, RtmpumpError

_INSTALL: Final = "install it with pip install 'rtmpump[gateway]'"


@click.command()
@file_option
def gateway(config_file: str | None) -> None:
    """Let programs written with Slack's client libraries live behind RabbitMQ.

    It needs RabbitMQ, and no token of Slack. Each program has a table [gateway.clients.NAME] in the
    configuration. It runs in the foreground until SIGTERM or Ctrl-C.
    """
    loaded = load(config_file, need_token=False, need_clients=True)
    if not loaded.config.gateway.clients:
        where = str(loaded.file or "")
        fix = "add a table [gateway.clients.NAME] with a token"
        raise ConfigError("no program is configured", key="gateway", where=where, fix=fix)
    if find_spec("aiohttp") is None:
        raise RtmpumpError(f"rtmpump gateway needs aiohttp; {_INSTALL}")
    start_log(loaded.config)
    # Here, so that `--help` and a wrong configuration are answered at once.
    from rtmpump.gateway.server import serve
    from rtmpump.links.systemd import Notifier

    serve(loaded.config, Notifier(os.environ))
