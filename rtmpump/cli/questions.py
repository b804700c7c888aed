"""The questions of `init`, and their answers: from options, variables or a person at a terminal.

No secret is shown; a person types it without echo.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from urllib.parse import quote, urlsplit

import click

from rtmpump.config.secrets import AmqpUrl, Secret, Token, TokenFile, UrlFile, shown_url
from rtmpump.config.sections import DEFAULT_URL
from rtmpump.config.values import MASK
from rtmpump.core import app_manifest
from rtmpump.errors import ConfigError


class Questions:
    """Gets each answer: from an option or a variable, else from the person, else the default."""

    def __init__(self, options: Mapping[str, str | None], *, is_person: bool) -> None:
        self._options = options
        self._is_person = is_person

    def leave_to_go_on(self, question: str) -> None:
        """Return if a person says yes, or if there is none to ask.

        Raises:
            Abort: the person said no.
        """
        if self._is_person:
            click.confirm(question, default=True, abort=True)

    def mode(self) -> str:
        """Return which kind of app there is; help those who have none."""
        mode = self._options["mode"]
        if mode is None and self._is_person:
            click.echo("Which Slack app have you?")
            click.echo("  1  none yet, or one that was made since 2020 (Socket Mode)")
            click.echo("  2  a classic app whose bot token has the scope bot (RTM)")
            choice = click.prompt("1 or 2", type=click.Choice(["1", "2"]), default="1")
            mode = "socket" if choice == "1" else "rtm"
            if mode == "socket":
                self._show_how_to_make_an_app()
        return mode or "socket"

    @staticmethod
    def _show_how_to_make_an_app() -> None:
        events = app_manifest.events_of(app_manifest.DEFAULT_EVENTS)
        click.echo("No app yet? Open this link; Slack's page makes it:")
        click.echo(f"  {app_manifest.link(app_manifest.manifest('rtmpump', events, ()))}")
        click.echo("Then, on the pages of the app:")
        click.echo("  Install App: the Bot User OAuth Token (xoxb-…)")
        click.echo("  Basic Information, App-Level Tokens: generate one with connections:write")

    def token(self, option: str, variable: str, prompt: str, begins: str) -> Secret:
        """Return a token that begins as it should."""

        def read(text: str) -> Secret:
            token = Token().read(text.strip())
            if not token.reveal().startswith(begins):
                raise ConfigError(f"must begin with {begins}")
            return token

        if file := self._options[option]:
            with _naming(f"--{option.replace('_', '-')}"):
                return read(TokenFile().read(file).reveal())
        if given := os.environ.get(variable, "").strip():
            with _naming(variable):
                return read(given)
        if self._is_person:
            return self._until_good(prompt, read)
        raise click.UsageError(f"There is no --{option.replace('_', '-')} and no {variable}.")

    def broker_urls(self, present: tuple[Secret, ...]) -> tuple[Secret, ...] | None:
        """Return the URLs of RabbitMQ's nodes, with their passwords; None to leave the present."""
        if file := self._options["broker_url_file"]:
            with _naming("--broker-url-file"):
                return UrlFile().read(file)
        if given := self._options["broker_url"]:
            with _naming("--broker-url"):
                return (self._with_password(AmqpUrl().read(given)),)
        if not self._is_person:
            return None
        kept = ", ".join(map(shown_url, present or (DEFAULT_URL,)))
        while True:
            shown = click.prompt("URL of RabbitMQ", default=kept)
            if shown == kept:
                return None
            if shown == shown_url(DEFAULT_URL):
                return (DEFAULT_URL,)
            try:
                return (self._with_password(AmqpUrl().read(shown)),)
            except ConfigError as error:
                click.echo(f"  {error}")

    def _with_password(self, url: Secret) -> Secret:
        parts = urlsplit(url.reveal())
        # Who changes the URL that is shown leaves the mask in it.
        if not self._is_person or not parts.username or parts.password not in (None, MASK):
            return url
        prompt = f"Password of {parts.username}"
        password = click.prompt(prompt, hide_input=True, default="", show_default=False)
        user, host = parts.username, parts.netloc.rpartition("@")[2]
        netloc = f"{user}:{quote(password, safe='')}@{host}" if password else f"{user}@{host}"
        return Secret(parts._replace(netloc=netloc).geturl())

    @staticmethod
    def _until_good(prompt: str, read: Callable[[str], Secret]) -> Secret:
        while True:
            try:
                return read(click.prompt(prompt, hide_input=True))
            except ConfigError as error:
                click.echo(f"  {error}")


@contextmanager
def _naming(where: str) -> Iterator[None]:
    """Say in an error which option or variable is wrong."""
    try:
        yield
    except ConfigError as error:
        raise ConfigError(error.problem, where=where, fix=error.fix) from error
