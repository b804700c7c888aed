"""`manifest`: a Slack app for Socket Mode, ready to paste or to open."""

from __future__ import annotations

from collections.abc import Callable

import click

from rtmpump.core import app_manifest


def _checked(read: Callable[[str], str]) -> Callable[..., str | tuple[str, ...]]:
    """Return a callback of click that refuses what `read` does, in its words."""

    def check(
        _ctx: click.Context, _parameter: click.Parameter, value: str | tuple[str, ...]
    ) -> str | tuple[str, ...]:
        try:
            return read(value) if isinstance(value, str) else tuple(map(read, value))
        except ValueError as error:
            raise click.BadParameter(str(error)) from error

    return check


def _events(_ctx: click.Context, _parameter: click.Parameter, value: str | None) -> list[str]:
    words = app_manifest.DEFAULT_EVENTS if value is None else value.replace(",", " ").split()
    try:
        return app_manifest.events_of(words)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


@click.command()
@click.option(
    "--name",
    default="rtmpump",
    show_default=True,
    callback=_checked(app_manifest.checked_name),
    help="The name of the app and of its bot.",
)
@click.option(
    "--events",
    metavar="TYPE,…",
    callback=_events,
    help="The events to subscribe to in place of the usual ones; `message` is all conversations.",
)
@click.option(
    "--command",
    "commands",
    metavar="/NAME",
    multiple=True,
    callback=_checked(app_manifest.checked_command),
    help="A slash command; may be given several times.",
)
@click.option(
    "--link", is_flag=True, help="Print a link that opens Slack's page with it filled in."
)
def manifest(name: str, events: list[str], commands: tuple[str, ...], link: bool) -> None:
    """Print the manifest (YAML) of a Slack app for Socket Mode, with the least scopes.

    It needs no configuration and no token. Paste it at https://api.slack.com/apps (Create New App,
    From a manifest), or open what --link prints. RTM apps can't be made any more.

    \b
    rtmpump manifest --link
    rtmpump manifest --events message,app_mention,file_shared --command /deploy
    """  # noqa: D301 - click wants this control character
    text = app_manifest.manifest(name, events, commands)
    click.echo(app_manifest.link(text) if link else text, nl=link)
