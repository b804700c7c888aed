"""`init`: the guided first set-up, from a Slack app to a configuration that was checked.

Laws:

- No secret is shown, and none is written into the configuration: each has a file of its own.
- All is computed and checked before anything is changed. A file is written whole or not at all, as
  `cli.whole_files` has it. An existing configuration keeps all but the keys that are set here.
"""

from __future__ import annotations

import grp
import os
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

import click

from rtmpump.cli.check import report_on
from rtmpump.cli.common import Loaded, start_log
from rtmpump.cli.credentials import copies
from rtmpump.cli.questions import Questions
from rtmpump.cli.unit import NOT_INHERITED
from rtmpump.cli.whole_files import WholeFiles, mode_in
from rtmpump.config import load
from rtmpump.config.exposure import secret_keys
from rtmpump.config.secrets import AmqpUrl, AmqpUrls, Secret, UrlFile
from rtmpump.config.sections import DEFAULT_URL
from rtmpump.config.sources import lines_of
from rtmpump.config.writing import with_keys
from rtmpump.errors import EXIT_DONE, ConfigError, RtmpumpError

_ETC: Final = Path("/etc/rtmpump/config.toml")
# The package makes this user; where it is there, the daemon may read the files of secrets itself.
_GROUP: Final = "rtmpump"
_TOKENS: Final = ("SLACK_API_TOKEN", "SLACK_APP_TOKEN")


class _Answers(NamedTuple):
    """What was asked; `app_token` is empty in RTM, `broker_urls` None to leave what is there."""

    mode: str
    token: Secret
    app_token: Secret
    broker_urls: tuple[Secret, ...] | None


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
    text = _text_of(place.config)
    ask = Questions(options, is_person=not yes and sys.stdin.isatty())
    if place.config.exists():
        ask.leave_to_go_on(f"{place.config} is there. Set mode, tokens and broker in it?")
    answers = _Answers(
        mode := ask.mode(),
        ask.token("token_file", "SLACK_API_TOKEN", "Bot token (xoxb-…)", "xox"),
        ask.token("app_token_file", "SLACK_APP_TOKEN", "App-level token (xapp-…)", "xapp-")
        if mode == "socket"
        else Secret(""),
        ask.broker_urls(_present_urls(place, text)),
    )
    plan = _plan(place, text, answers)
    with ExitStack() as loading:
        env = _environment(place, plan, loading)
        _try(place, text, plan.tried, answers, env)
        for path in _write(place, plan):
            click.echo(f"wrote {path}")
        loaded = Loaded(load(place.config, env), place.config, env, None)
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


class _Plan(NamedTuple):
    """What will be written: the text, the secrets by their names, and a secret that goes."""

    text: str
    tried: str
    secrets: Mapping[str, str]
    obsolete: Path | None


def _text_of(config: Path) -> str:
    try:
        text = config.read_bytes().decode("utf-8-sig")
        tomllib.loads(text)
        return text
    except FileNotFoundError:
        return "# rtmpump check shows what differs from the defaults.\n"
    except (OSError, ValueError) as error:
        raise RtmpumpError(f"can't read {config}: {error}") from error


def _in_section(text: str, section: str) -> Mapping[str, Any]:
    """Return the keys of a section; one that is no table has none, and `with_keys` says so."""
    table = tomllib.loads(text).get(section, {})
    return table if isinstance(table, dict) else {}


def _own_urls(text: str) -> tuple[Secret, ...]:
    """Return the URLs that the configuration itself holds; wrong ones are none, `load` says so."""
    broker = _in_section(text, "broker")
    with suppress(ConfigError):
        if urls := broker.get("urls"):
            return AmqpUrls().read(urls)
        if url := broker.get("url"):
            return (AmqpUrl().read(url),)
    return ()


def _present_urls(place: _Place, text: str) -> tuple[Secret, ...]:
    """Return the URLs that are in use before; none if there are none or they can't be read."""
    file = _in_section(text, "broker").get("url_file")
    own = tuple(url for url in _own_urls(text) if url != DEFAULT_URL)
    if not file and not own and place.is_system:
        file = place.secret("broker-url")
    with suppress(ConfigError):
        return UrlFile().read(file) if file else own
    return ()


def _plan(place: _Place, text: str, answers: _Answers) -> _Plan:
    """Compute all that will be written, and change nothing.

    Raises:
        ConfigError: the text can't take the keys.
    """
    keys: dict[str, str | list[str]] = {"slack.mode": answers.mode}
    keys |= {"slack.token": "", "slack.app_token": ""}
    secrets = {"slack-token": answers.token.reveal(), "slack-app-token": answers.app_token.reveal()}
    named = {"slack-token": "slack.token_file", "slack-app-token": "slack.app_token_file"}
    urls, obsolete = answers.broker_urls, None
    if urls is None and place.is_system and any(map(_has_password, _own_urls(text))):
        urls = _own_urls(text)
    if urls is not None:
        keys |= {"broker.url": DEFAULT_URL.reveal(), "broker.urls": [], "broker.url_file": ""}
        if len(urls) > 1 or _has_password(urls[0]):
            secrets["broker-url"] = "\n".join(url.reveal() for url in urls)
            named["broker-url"] = "broker.url_file"
        else:
            keys["broker.url"] = urls[0].reveal()
            # The unit would hand over the one of an earlier time.
            obsolete = place.secret("broker-url") if place.is_system else None
    secrets = {name: secret for name, secret in secrets.items() if secret}
    tried = keys | {"broker.urls": [_bare(url) for url in urls]} if urls else keys
    tried = tried | {"broker.url": DEFAULT_URL.reveal()} if urls else tried
    for name in secrets:
        keys[named[name]] = "" if place.is_service else str(place.secret(name))
    return _Plan(
        with_keys(text, _needed(keys, text)),
        with_keys(text, _needed(tried, text)),
        secrets,
        obsolete,
    )


def _has_password(url: Secret) -> bool:
    """Return whether a URL holds a secret; the default's password is none."""
    return url != DEFAULT_URL and bool(urlsplit(url.reveal()).password)


def _bare(url: Secret) -> str:
    """Return a URL without its password, which is in no file yet."""
    parts = urlsplit(url.reveal())
    user, host = parts.username, parts.netloc.rpartition("@")[2]
    return parts._replace(netloc=host if user is None else f"{user}@{host}").geturl()


def _needed(keys: Mapping[str, str | list[str]], text: str) -> dict[str, str | list[str]]:
    """Return the keys to write: a default only where the file says something else."""
    defaults: tuple[object, ...] = ("", [], DEFAULT_URL.reveal())

    def is_there(name: str) -> bool:
        section, _, key = name.partition(".")
        return key in _in_section(text, section)

    return {name: value for name, value in keys.items() if value not in defaults or is_there(name)}


def _try(place: _Place, before: str, text: str, answers: _Answers, env: Mapping[str, str]) -> None:
    """Load the text that will stand in place of the one before, when nothing is changed yet.

    Raises:
        ConfigError: it would be wrong; the lines are those of the text before.
    """
    tokens = zip(_TOKENS, (answers.token.reveal(), answers.app_token.reveal()), strict=True)
    # It has no name, so that it is gone whatever ends this process: it may hold a secret.
    with tempfile.TemporaryFile() as file:
        file.write(text.encode())
        file.seek(0)
        name = f"/dev/fd/{file.fileno()}"
        try:
            load(Path(name), {**env, **dict(tokens)})
        except ConfigError as error:
            raise _of_file(error, name, place.config, lines_of(before)) from None


def _of_file(
    error: ConfigError, tried: str, config: Path, lines: Mapping[tuple[str, str], int]
) -> ConfigError:
    where = error.where
    if where.startswith(tried):
        section, _, key = error.key.partition(".")
        line = lines.get((section, key))
        where = f"{config}:{line}" if line else str(config)
    renamed = ConfigError(error.problem, key=error.key, where=where, fix=error.fix)
    renamed.more = tuple(_of_file(one, tried, config, lines) for one in error.more)
    return renamed


def _write(place: _Place, plan: _Plan) -> Iterator[Path]:
    """Write all files, secrets first; yield each one."""
    mode_of_config = partial(_mode_of_config, place, plan)
    _make_folder(place)
    with WholeFiles() as files:
        for name, secret in plan.secrets.items():
            files.add(place.secret(name), secret, partial(_mode_of_secret, place), place.group)
        files.add(place.config, plan.text, mode_of_config, _group_of_config(place))
        yield from files.put()
    if plan.obsolete is not None:
        plan.obsolete.unlink(missing_ok=True)


def _mode_of_secret(place: _Place, old: os.stat_result | None) -> int:
    kept = 0 if old is None else mode_in(old) & 0o070
    return 0o600 | kept | (0o040 if place.group is not None else 0)


def _is_readable(place: _Place, old: os.stat_result) -> bool:
    """Return whether the service may read a configuration as it is now."""
    return _is_allowed(place, old, 0o4)


def _is_allowed(place: _Place, old: os.stat_result, bit: int) -> bool:
    """Return whether the service has this right of a file or a folder."""
    mode = mode_in(old)
    if mode & bit:
        return True
    # Who gave it to a group of their own did so for the service's user.
    group = old.st_gid == place.group if place.group is not None else old.st_gid != 0
    return bool(mode & bit << 3) and group


def _group_of_config(place: _Place) -> int | None:
    with suppress(OSError):
        if _is_readable(place, place.config.stat()):
            return None
    return place.group


def _mode_of_config(place: _Place, plan: _Plan, old: os.stat_result | None) -> int:
    """Return the mode with which the service can read it, or that of before.

    Raises:
        ConfigError: for that all users would have to read a secret in it.
    """
    mode = 0o600 if old is None else mode_in(old)
    if not place.is_system or (old is not None and _is_readable(place, old)):
        return mode
    if place.group is not None:
        return mode | 0o040
    for key in secret_keys(plan.text):
        problem = "holds a secret, and the service's user must be able to read this file"
        variable = f"RTMPUMP_{key.replace('.', '_').upper()}"
        fix = f"take it out, and set {variable} in an EnvironmentFile= of the unit"
        raise ConfigError(problem, key=key, where=str(place.config), fix=fix)
    return mode | 0o044


def _make_folder(place: _Place) -> None:
    folder = place.config.parent
    if folder.is_dir():
        if place.is_system and not _is_allowed(place, folder.stat(), 0o1):
            problem = f"the service's user can't enter {folder}, so it could read nothing there"
            raise RtmpumpError(f"{problem}; run `chmod 0755 {folder}` first")
        return
    # The service's user must get in, whatever the person keeps to themselves.
    before = os.umask(0o022) if place.is_system else None
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise RtmpumpError(f"can't make the folder {folder}: {error.strerror}") from error
    finally:
        if before is not None:
            os.umask(before)


def _environment(place: _Place, plan: _Plan, loading: ExitStack) -> dict[str, str]:
    """Return the environment of the daemon: a service has nothing of this one's configuration."""
    if not place.is_system:
        return {key: value for key, value in os.environ.items() if key not in _TOKENS}
    env = {key: value for key, value in os.environ.items() if not key.startswith(NOT_INHERITED)}
    credentials = loading.enter_context(copies())
    credentials.add({name: secret.encode() for name, secret in plan.secrets.items()})
    url = place.secret("broker-url")
    if "broker-url" not in plan.secrets and plan.obsolete is None and url.is_file():
        credentials.add({"broker-url": url.read_bytes()})
    env |= {"CREDENTIALS_DIRECTORY": str(credentials.folder), "INVOCATION_ID": "0"}
    return env


def _what_next(place: _Place, mode: str, *, is_good: bool) -> Iterator[str]:
    unit = "rtmpump" if place.config == _ETC else f"rtmpump@{place.config.stem}"
    option = "" if place.config == _ETC else f" -c {place.config}"
    if place.is_service:
        # The URL of RabbitMQ may be a credential, which the configuration does not name.
        option = f" --unit {unit}"
    yield ""
    if not is_good:
        yield "Mend what is said above, then run this again, or:"
        yield f"  rtmpump check --connect{f' --unit {unit}' if place.is_system else option}"
        return
    yield "Next:"
    if place.is_system:
        yield f"  systemctl enable --now {unit}      (restart {unit}, if it runs already)"
        yield f"  rtmpump status{option}"
    else:
        yield f"  rtmpump run{option}"
    if mode == "socket":
        yield "  in Slack, in each channel that it shall read: /invite @rtmpump"
    yield f"  rtmpump tail{option}"
