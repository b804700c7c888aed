"""`init`: the guided first set-up, from a Slack app to a configuration that was checked.

Laws:

- No secret is shown, and none is written into the configuration: each has a file of its own.
- A file is written whole or not at all, with its mode from the first moment on. An existing
  configuration keeps all but the keys that are set here.
"""

from __future__ import annotations

import grp
import os
import sys
import tempfile
import tomllib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import quote, urlsplit

import click

from rtmpump.cli.check import report_on
from rtmpump.cli.common import Loaded, start_log
from rtmpump.config import load
from rtmpump.config.secrets import AmqpUrl, Secret, Token, TokenFile, UrlFile, shown_url
from rtmpump.config.sections import DEFAULT_URL
from rtmpump.config.writing import with_keys
from rtmpump.core import app_manifest
from rtmpump.errors import EXIT_DONE, ConfigError, RtmpumpError

_ETC: Final = Path("/etc/rtmpump/config.toml")
# The package makes this user; where it is there, the daemon may read the files of secrets itself.
_GROUP: Final = "rtmpump"
_CREDENTIALS: Final = ("slack-token", "slack-app-token", "broker-url")
_TOKENS: Final = ("SLACK_API_TOKEN", "SLACK_APP_TOKEN")


class _Answers(NamedTuple):
    """What was asked; `app_token` is empty in RTM."""

    mode: str
    token: Secret
    app_token: Secret
    broker_url: Secret

    @property
    def has_password(self) -> bool:
        """Whether the broker's URL holds a secret; the default's password is none."""
        return self.broker_url != DEFAULT_URL and bool(urlsplit(self.broker_url.reveal()).password)


class _Place(NamedTuple):
    """Where the files go: `group` may read them, None for none but their owner.

    `is_service`: systemd hands the secrets to a user that can't read them.
    """

    config: Path
    group: int | None
    is_service: bool

    @property
    def is_system(self) -> bool:
        """Whether systemd will run the daemon, as another user and in another folder."""
        return self.is_service or self.group is not None

    def secret(self, name: str) -> Path:
        """Return the file of a secret, as the systemd units know it."""
        prefix = "" if self.config.stem == "config" else f"{self.config.stem}."
        return self.config.with_name(f"{prefix}{name}")


@click.command()
@click.option(
    "-c",
    "--config",
    "config_file",
    metavar="FILE",
    help="The file to write; else $RTMPUMP_CONFIG, else /etc/rtmpump/config.toml for root,"
    " ./config.toml for others.",
)
@click.option("--mode", type=click.Choice(["socket", "rtm"]), help="Which app you have.")
@click.option("--token-file", metavar="FILE", help="Holds the bot token; else SLACK_API_TOKEN.")
@click.option(
    "--app-token-file", metavar="FILE", help="Holds the app-level token; else SLACK_APP_TOKEN."
)
@click.option("--broker-url", metavar="URL", help="The URL of RabbitMQ, without its password.")
@click.option("--broker-url-file", metavar="FILE", help="Holds the URL of RabbitMQ, whole.")
@click.option("--yes", is_flag=True, help="Don't ask: take options, variables and defaults.")
@click.option("--no-connect", is_flag=True, help="Don't ask Slack and RabbitMQ at the end.")
def init(config_file: str | None, *, yes: bool, no_connect: bool, **options: str | None) -> None:
    """Make the configuration: ask for tokens and broker, write the files, check them.

    Each secret goes into a file of its own that other users can't read. A configuration that is
    there already keeps all keys but those that are set here.

    \b
    rtmpump init
    rtmpump init --yes --mode socket --token-file T --app-token-file A --broker-url amqp://host
    """  # noqa: D301 - click wants this control character
    place = _place(config_file)
    ask = _Asking(options, is_person=not yes and sys.stdin.isatty())
    if place.config.exists():
        ask.leave_to_go_on(f"{place.config} is there. Set mode, tokens and broker in it?")
    answers = _Answers(
        mode := ask.mode(),
        ask.token("token_file", "SLACK_API_TOKEN", "Bot token (xoxb-…)", "xox"),
        ask.token("app_token_file", "SLACK_APP_TOKEN", "App-level token (xapp-…)", "xapp-")
        if mode == "socket"
        else Secret(""),
        ask.broker_url(),
    )
    for path in _write(place, answers):
        click.echo(f"wrote {path}")
    loaded = _loaded(place, answers)
    start_log(loaded.config)
    code = report_on(loaded, connect=not no_connect, on_this_machine=not place.is_system)
    click.echo("\n".join(_what_next(place, mode, is_good=code == EXIT_DONE)))
    sys.exit(code)


def _place(config_file: str | None) -> _Place:
    is_root = os.geteuid() == 0
    named = config_file or os.environ.get("RTMPUMP_CONFIG")
    config = Path(named or (_ETC if is_root else "config.toml")).absolute()
    is_system = is_root and config.parent == _ETC.parent
    try:
        # An instance runs as another user, which exists only while it runs.
        group = grp.getgrnam(_GROUP).gr_gid if is_system and config == _ETC else None
    except KeyError:
        group = None
    return _Place(config, group, is_system and group is None)


class _Asking:
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

    def broker_url(self) -> Secret:
        """Return RabbitMQ's URL, with the password that it needs."""
        if file := self._options["broker_url_file"]:
            with _naming("--broker-url-file"):
                return UrlFile().read(file)[0]
        if given := self._options["broker_url"]:
            with _naming("--broker-url"):
                return self._with_password(AmqpUrl().read(given))
        if not self._is_person:
            return DEFAULT_URL
        while True:
            shown = click.prompt("URL of RabbitMQ", default=shown_url(DEFAULT_URL))
            if shown == shown_url(DEFAULT_URL):
                return DEFAULT_URL
            try:
                return self._with_password(AmqpUrl().read(shown))
            except ConfigError as error:
                click.echo(f"  {error}")

    def _with_password(self, url: Secret) -> Secret:
        parts = urlsplit(url.reveal())
        if not self._is_person or not parts.username or parts.password is not None:
            return url
        prompt = f"Password of {parts.username}"
        password = click.prompt(prompt, hide_input=True, default="", show_default=False)
        user, _, host = parts.netloc.rpartition("@")
        netloc = f"{user}:{quote(password, safe='')}@{host}" if password else parts.netloc
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


def _write(place: _Place, answers: _Answers) -> Iterator[Path]:
    """Write all files, secrets first; yield each one."""
    keys = {"slack.mode": answers.mode, "slack.token": "", "slack.app_token": ""}
    keys |= {"broker.url": DEFAULT_URL.reveal(), "broker.url_file": ""}
    secrets = {"slack-token": answers.token, "slack-app-token": answers.app_token}
    named = {"slack-token": "slack.token_file", "slack-app-token": "slack.app_token_file"}
    if answers.has_password:
        secrets["broker-url"], named["broker-url"] = answers.broker_url, "broker.url_file"
    else:
        # The unit would hand over one of an earlier time.
        place.secret("broker-url").unlink(missing_ok=True)
        keys["broker.url"] = answers.broker_url.reveal()
    _make_folder(place)
    for name, secret in secrets.items():
        if secret:
            _write_whole(place.secret(name), secret.reveal(), 0o600, place.group)
            keys[named[name]] = "" if place.is_service else str(place.secret(name))
            yield place.secret(name)
    text = _text_of(place.config)
    _write_whole(place.config, with_keys(text, _needed(keys, text)), 0o600, place.group)
    if place.is_service:
        # It holds no secret, and the service's user is none of ours.
        place.config.chmod(0o644)
    yield place.config


def _needed(keys: Mapping[str, str], text: str) -> dict[str, str]:
    """Return the keys to write: a default only where the file says something else."""
    found = tomllib.loads(text)
    defaults = {"", DEFAULT_URL.reveal()}

    def is_there(name: str) -> bool:
        section, _, key = name.partition(".")
        return key in found.get(section, {})

    return {name: value for name, value in keys.items() if value not in defaults or is_there(name)}


def _text_of(config: Path) -> str:
    try:
        text = config.read_text("utf-8")
        tomllib.loads(text)
        return text
    except FileNotFoundError:
        return "# rtmpump check shows what differs from the defaults.\n"
    except (OSError, ValueError) as error:
        raise RtmpumpError(f"can't read {config}: {error}") from error


def _make_folder(place: _Place) -> None:
    folder = place.config.parent
    if folder.is_dir():
        return
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise RtmpumpError(f"can't make the folder {folder}: {error.strerror}") from error


def _write_whole(path: Path, text: str, mode: int, group: int | None) -> None:
    """Write a file with its owner and mode, in place of the old one."""
    try:
        descriptor, new = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
        try:
            with open(descriptor, "w", encoding="utf-8") as file:
                file.write(text if text.endswith("\n") else f"{text}\n")
                if group is not None:
                    os.fchown(descriptor, 0, group)
                os.fchmod(descriptor, mode | (0o040 if group is not None else 0))
                file.flush()
                os.fsync(descriptor)
            os.replace(new, path)
        except BaseException:
            os.unlink(new)
            raise
    except OSError as error:
        raise RtmpumpError(f"can't write {path}: {error.strerror}") from error


def _loaded(place: _Place, answers: _Answers) -> Loaded:
    """Load what was written, with the secrets as the service will have them."""
    env = {key: value for key, value in os.environ.items() if key not in _TOKENS}
    if place.is_service:
        ctx = click.get_current_context()
        folder = Path(ctx.with_resource(tempfile.TemporaryDirectory(prefix="rtmpump-")))
        url = answers.broker_url if answers.has_password else Secret("")
        secrets = (answers.token, answers.app_token, url)
        for name, secret in zip(_CREDENTIALS, secrets, strict=True):
            _write_whole(folder / name, secret.reveal(), 0o400, None)
        env["CREDENTIALS_DIRECTORY"] = str(folder)
    return Loaded(load(place.config, env), place.config, env, None)


def _what_next(place: _Place, mode: str, *, is_good: bool) -> Iterator[str]:
    option = "" if place.config == _ETC else f" -c {place.config}"
    yield ""
    if not is_good:
        yield "Mend what is said above, then run this again, or:"
        yield f"  rtmpump check --connect{' --unit rtmpump' if place.is_system else option}"
        return
    yield "Next:"
    if place.is_system:
        unit = "rtmpump" if place.config == _ETC else f"rtmpump@{place.config.stem}"
        yield f"  systemctl enable --now {unit}      (restart {unit}, if it runs already)"
        yield f"  rtmpump status{option}"
    else:
        yield f"  rtmpump run{option}"
    if mode == "socket":
        yield "  in Slack, in each channel that it shall read: /invite @rtmpump"
    yield f"  rtmpump tail{option}"
