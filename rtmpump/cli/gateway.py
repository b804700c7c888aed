"""`gateway`: an endpoint that Slack's own client libraries connect to."""

from __future__ import annotations

import os

import click

from rtmpump.cli.common import file_option, load, risks, start_log


@click.command()
@file_option
def gateway(config_file: str | None) -> None:
    """Let programs written with Slack's client libraries live behind RabbitMQ.

    It needs RabbitMQ, and no token of Slack. Each program has a table [gateway.clients.NAME] in the
    configuration. It runs in the foreground until SIGTERM or Ctrl-C.
    """
    loaded = load(config_file, need_token=False, need_clients=True)
    loaded.require_clients()
    # Here and below, so that `--help` and a wrong configuration are answered at once.
    from rtmpump.cli.gateway_preflight import require_aiohttp

    require_aiohttp()
    start_log(loaded.config)
    from rtmpump import log
    from rtmpump.gateway.server import serve
    from rtmpump.links.systemd import Notifier

    for risk in risks(loaded):
        log.get("config").warning("config.unwise", **risk)
    serve(loaded.config, Notifier(os.environ), loaded.file)
