"""`rtmpump demo`: its options, and how it ends."""

from __future__ import annotations

import os
import secrets
import tempfile
from typing import Final

import click

from rtmpump.config import Secret
from rtmpump.demo.interrupt import Interrupt
from rtmpump.demo.screen import Screen
from rtmpump.demo.show import DemoOptions, Show
from rtmpump.demo.stage import PumpEnded
from rtmpump.demo.summary import Summary
from rtmpump.errors import (
    EXIT_DONE,
    EXIT_FAILED,
    ConfigError,
    RtmpumpError,
    ServiceUnreachable,
    TokenRefused,
)

# What a shell makes of a program that a signal ended: 130 for Ctrl-C.
_SIGNALLED: Final = 128


@click.command()
@click.option(
    "--seconds",
    type=click.FloatRange(1, 86_400),
    default=20,
    show_default=True,
    help="How long it runs.",
)
@click.option(
    "--rate",
    type=click.FloatRange(0.1, 10_000),
    default=20,
    show_default=True,
    help="Events a second that the simulated workspace emits.",
)
@click.option(
    "--mode",
    type=click.Choice(["rtm", "socket"]),
    default="rtm",
    show_default=True,
    help="How the pump connects to Slack; socket is Socket Mode.",
)
@click.option(
    "--broker-url",
    metavar="URL",
    default="",
    help="Your RabbitMQ instead of a private one; the demo deletes at its end what it made there.",
)
@click.option(
    "--live",
    is_flag=True,
    help="Use the real workspace of SLACK_API_TOKEN (and SLACK_APP_TOKEN); send nothing to it.",
)
@click.option(
    "--chaos",
    is_flag=True,
    help="While it runs, cut the WebSocket, kill the pump (-9), restart the private RabbitMQ.",
)
@click.option(
    "--backfill",
    is_flag=True,
    help="Let the pump fetch what it missed from the history (events.backfill): try with --chaos.",
)
@click.option(
    "--http",
    metavar="ADDR",
    default="",
    help="Where the pump serves health, status and metrics, such as 127.0.0.1:9464.",
)
@click.option("--seed", type=int, help="Repeat an earlier demo: the seed that it printed.")
def demo(
    seconds: float,
    rate: float,
    mode: str,
    broker_url: str,
    live: bool,
    chaos: bool,
    backfill: bool,
    http: str,
    seed: int | None,
) -> None:
    """Run the whole thing, with no account and no setup.

    It starts a simulated workspace, a private RabbitMQ node, the real pump, a consumer and a
    sender. It shows events and messages as they pass, and at the end counts what was sent,
    received, lost and repeated.

    Exit codes: 0 nothing was lost, 1 something was, 69 there is no RabbitMQ, 78 no usable token,
    130 Ctrl-C before it began, or twice while it ran.
    """
    if live and chaos:
        raise click.UsageError("--chaos needs the simulated workspace; leave out --live")
    needed = ("SLACK_API_TOKEN", "SLACK_APP_TOKEN")[: 2 if mode == "socket" else 1]
    for variable in needed if live else ():
        if not os.environ.get(variable, "").strip():
            raise ConfigError("there is no Slack token", where=variable, fix="set it")
    seed = secrets.randbelow(10**6) if seed is None else seed
    url = Secret(broker_url) if broker_url else None
    options = DemoOptions(seconds, rate, url, live, chaos, http, seed, mode, backfill)
    raise SystemExit(_play(options))


def _play(options: DemoOptions) -> int:
    interrupt = Interrupt()
    screen = Screen(gone=interrupt.stop.set)
    screen.paragraph(_title(options), bold=True)
    show = Show(options, screen, interrupt)
    # The first call tests the folder with a file, which a signal at that moment would leave behind.
    tempfile.gettempdir()
    with interrupt.listening():
        try:
            summary = show.run()
        except KeyboardInterrupt:
            screen.paragraph("interrupted before it began; all that was started has been ended")
            return _SIGNALLED + interrupt.number
        except RtmpumpError as error:
            if not isinstance(error, TokenRefused | ConfigError):
                _show_log(error.words if isinstance(error, PumpEnded) else show.last_words)
            raise _as_options(error) from error
        finally:
            screen.live.close()
    summary.show(screen)
    if summary.is_cut_short:
        return _SIGNALLED + interrupt.number
    return _end(summary, show)


def _end(summary: Summary, show: Show) -> int:
    if summary.ok:
        return EXIT_DONE
    _show_log(show.last_words)
    return EXIT_FAILED


def _title(options: DemoOptions) -> str:
    length = f"{options.seconds:g} seconds"
    if options.mode == "socket":
        length += " of Socket Mode"
    if options.live:
        return f"rtmpump demo: {length}, with the real Slack"
    chaos = ", with chaos" if options.chaos else ""
    chaos += ", with backfill" if options.backfill else ""
    return f"rtmpump demo: {length}, {options.rate:g} events a second{chaos} (seed {options.seed})"


def _show_log(words: list[str]) -> None:
    if words:
        click.echo("the end of the pump's log:", err=True)
    for line in words:
        click.echo(f"  {line}", err=True)


def _as_options(error: RtmpumpError) -> RtmpumpError:
    """Name the option in place of the key of the pump's own configuration."""
    options = {"broker.url": "--broker-url", "http.listen": "--http"}
    if isinstance(error, ConfigError) and error.key in options:
        return ConfigError(error.problem, where=options[error.key], fix=error.fix)
    if isinstance(error, ServiceUnreachable):
        detail = error.detail.replace("broker.url", "--broker-url")
        return ServiceUnreachable(error.service, detail, error.fix)
    return error
