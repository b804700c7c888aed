"""`run`: the daemon, in the foreground."""

from __future__ import annotations

import os
import sys
from typing import NoReturn

import click

from rtmpump.cli.common import file_option, load, risks, start_log


@click.command()
@file_option
def run(config_file: str | None) -> None:
    """Run the daemon in the foreground until SIGTERM or Ctrl-C, then drain and exit 0.

    A second signal stops it at once. Nothing is lost: the rest stays in the spool and the queue.
    """
    loaded = load(config_file, need_token=True)
    config = loaded.config
    start_log(config)
    # Here, so that `--help` and a wrong configuration are answered at once.
    from rtmpump import log
    from rtmpump.daemon.supervisor import Supervisor
    from rtmpump.daemon.wiring import build
    from rtmpump.links.systemd import Notifier

    for risk in risks(loaded):
        log.get("config").warning("config.unwise", **risk)
    notifier = Notifier(os.environ)
    supervisor = Supervisor(build(config, notifier, loaded.file), notifier)
    code = supervisor.run()
    if supervisor.alive():
        _exit_now(code)
    sys.exit(code)


def _exit_now(code: int) -> NoReturn:
    """Exit without waiting for a thread that waits for a peer without an answer."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            continue
    os._exit(code)
