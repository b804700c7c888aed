"""`topology`: what the daemon declares in RabbitMQ."""

from __future__ import annotations

import click

from rtmpump.cli.common import config_option, load, one_line, print_json
from rtmpump.links.rabbitmq.topology import definitions, describe


@click.command()
@config_option
@click.option("--json", "as_json", is_flag=True, help="An importable RabbitMQ definitions file.")
def topology(config_file: str | None, as_json: bool) -> None:
    """Print what `rtmpump run` declares in RabbitMQ, without asking it.

    With --json it is a definitions file for `rabbitmqctl import_definitions`, for those who set
    broker.declare = "passive".
    """
    config = load(config_file, need_token=False).config
    if as_json:
        print_json(definitions(config), indent=2)
    else:
        click.echo("\n".join(one_line(line) for line in describe(config)))
