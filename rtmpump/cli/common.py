"""What the commands of the program share: the configuration, the log, and lines for people."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

import click

from rtmpump.errors import ConfigError, LinkError, RtmpumpError, ServiceUnreachable

if TYPE_CHECKING:
    from rtmpump.cli.unit import UnitRun
    from rtmpump.config import Config, SlowRate

_UNIT: Final = "rtmpump.unit"
# The files that are read anew for each connection.
_OPENED_LATER: Final = (
    "slack.ca_file",
    "broker.ca_file",
    "broker.client_cert",
    "broker.client_key",
    "gateway.tls_cert",
    "gateway.tls_key",
)
_Function = TypeVar("_Function", bound=Callable[..., Any])


class FreeLastArgument(click.Command):
    """A command whose last argument may be any text: an error says how one with "-" is given."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the words of the command line."""
        given = list(args)
        try:
            return super().parse_args(ctx, args)
        except (click.NoSuchOption, click.MissingParameter) as error:
            if not self._looks_like_text(ctx, given):
                raise
            names = [
                one.human_readable_name for one in self.params if isinstance(one, click.Argument)
            ]
            called = " ".join([ctx.command_path, *names[:-1], "--", names[-1]])
            hint = (
                f'If this is {names[-1]}: what begins with "-" goes after "--", as in `{called}`.'
            )
            raise click.UsageError(f"{one_line(error.format_message())} {hint}", ctx) from error

    def _looks_like_text(self, ctx: click.Context, given: list[str]) -> bool:
        """Return whether a word begins with "-" and is no option; `-c…` may be both."""
        options = {
            name for one in self.get_params(ctx) for name in (*one.opts, *one.secondary_opts)
        }
        words = given[: given.index("--")] if "--" in given else given
        return any(word.startswith("-") and word.split("=")[0] not in options for word in words)


class Loaded(NamedTuple):
    """A configuration, its file (None: defaults and environment), its environment and its unit."""

    config: Config
    file: Path | None
    env: Mapping[str, str]
    unit: UnitRun | None

    @property
    def has_pump(self) -> bool:
        """Whether it is for the pump: all but the unit of a gateway is."""
        return self.unit is None or self.unit.command == "run"

    @property
    def has_gateway(self) -> bool:
        """Whether it is for the gateway too, which the unit of a pump is not."""
        is_asked = self.unit is None or self.unit.command == "gateway"
        return is_asked and bool(self.config.gateway.clients)

    def require_clients(self) -> None:
        """Raise ConfigError if it has no program for the gateway."""
        if not self.config.gateway.clients:
            where = str(self.file or "")
            fix = "add a table [gateway.clients.NAME] with a token"
            raise ConfigError("no program is configured", key="gateway", where=where, fix=fix)

    def to_connect(self) -> Config:
        """Return the configuration without the file of a credential that was read and is gone."""
        from msgspec.structs import replace

        folder, file = self.env.get("CREDENTIALS_DIRECTORY"), self.config.broker.url_file
        if not folder or not Path(file).is_relative_to(folder) or os.path.exists(file):
            return self.config
        return replace(self.config, broker=replace(self.config.broker, url_file=""))


def config_option(function: _Function) -> _Function:
    """Give a command `-c/--config`, as its argument `config_file`, and `--unit` for `load`."""
    unit = click.option(
        "--unit",
        metavar="NAME",
        expose_value=False,
        callback=_keep_unit,
        help="As this systemd unit runs it: its configuration, credentials and user.",
    )
    return unit(file_option(function))


def file_option(function: _Function) -> _Function:
    """Give a command the option `-c/--config`, as its argument `config_file`."""
    return click.option(
        "-c",
        "--config",
        "config_file",
        metavar="FILE",
        callback=_or_before_the_command,
        help="The configuration; else $RTMPUMP_CONFIG, ./config.toml, /etc/rtmpump/config.toml.",
    )(function)


def _or_before_the_command(
    ctx: click.Context, _parameter: click.Parameter, value: str | None
) -> str | None:
    """Take `rtmpump -c FILE status` for `rtmpump status -c FILE`."""
    before: str | None = ctx.find_root().params.get("config_file")
    return before if value is None else value


def _keep_unit(ctx: click.Context, _parameter: click.Parameter, value: str | None) -> None:
    ctx.meta[_UNIT] = value


def named_config() -> list[str]:
    """Return the options with which this command was told its configuration."""
    ctx = click.get_current_context()
    given = (("-c", ctx.params.get("config_file")), ("--unit", ctx.meta.get(_UNIT)))
    return [word for option, value in given if value for word in (option, value)]


def load(config_file: str | None, *, need_token: bool, need_clients: bool = False) -> Loaded:
    """Find and load the configuration, with `--unit` as that systemd unit would.

    The unit of a gateway has no token of Slack, and that of a pump none of the gateway's clients.

    Raises:
        ConfigError: it is wrong, or a file that was named does not exist.
        RtmpumpError: the unit can't be read.
    """
    from rtmpump import config

    ctx = click.get_current_context()
    env: Mapping[str, str] = os.environ
    unit: UnitRun | None = None
    if name := ctx.meta.get(_UNIT):
        from rtmpump.cli.unit import run_of

        unit = ctx.with_resource(run_of(name, os.environ, need_token=need_token))
        env, config_file = unit.env, config_file or unit.config_file
        need_token = need_token and unit.command == "run"
        need_clients = need_clients and unit.command == "gateway"
    folder = unit.folder if unit else ""
    file = config.find(config_file, env, tuple(Path(folder, place) for place in config.PLACES))
    loaded = config.load(file, env, need_token=need_token, need_clients=need_clients, folder=folder)
    if unit is not None:
        files = config.files(loaded, file)
        if need_clients:
            files = config.gateway_files(loaded, file)
        elif not need_token:
            files = {key: name for key, name in files.items() if not key.startswith("slack.")}
        unit.require_readable(files)
        unit.credentials.forget(but=[files[key] for key in _OPENED_LATER if key in files])
    found = Loaded(loaded, file, env, unit)
    is_check = need_token or need_clients
    return found if is_check else found._replace(config=found.to_connect())


def start_log(config: Config) -> None:
    """Log as the configuration says; the libraries log nothing."""
    from rtmpump import log

    log.setup(config.log.level, config.log.format)


def risks(loaded: Loaded) -> list[dict[str, str]]:
    """Return what is allowed but unwise: each has a `risk`, its place, and a `fix`."""
    from rtmpump import config

    with loaded.unit.as_user() if loaded.unit else nullcontext():
        exposed = config.exposed(loaded.config, loaded.file, loaded.env)
    found = [
        {"risk": "all users may read it", "key": key, "file": file, "mode": mode, "fix": fix}
        for key, file, mode, fix in exposed
    ]
    if loaded.config.slack.insecure:
        risk = "token and messages may go over the network unprotected"
        found.append({"risk": risk, "key": "slack.insecure", "fix": "set it to false"})
    found += [_unanswerable(key) for key in config.unanswerable(loaded.config)]
    found += [
        {"risk": risk, "key": key, "fix": fix}
        for key, risk, fix in config.gateway_traps(loaded.config)
    ]
    return found + [_too_slow(slow, loaded.config) for slow in config.slow_rates(loaded.config)]


def _unanswerable(key: str) -> dict[str, str]:
    risk = f"Slack shows no answer to {key}, so its envelopes are acknowledged at once"
    return {"risk": risk, "key": "slack.answered", "fix": "leave it out"}


def _too_slow(slow: SlowRate, config: Config) -> dict[str, str]:
    commands = f"outbound.prefetch ({config.outbound.prefetch:,}) commands"
    risk = f"{commands} take {lasted(slow.seconds)}, and RabbitMQ's consumer_timeout is 30m 0s"
    fix = f"set outbound.prefetch to {slow.prefetch:,} or less, or raise consumer_timeout"
    return {"risk": risk, "key": slow.key, "fix": fix}


@contextmanager
def reachable(service: str, fix: str = "") -> Iterator[None]:
    """Turn a failed link into ServiceUnreachable for `service` (exit code 69)."""
    try:
        yield
    except LinkError as error:
        raise ServiceUnreachable(service, error.problem, fix) from error


def not_declared(kind: str, name: str, where: str) -> RtmpumpError:
    """Return the error for an exchange or a queue that does not exist, with a fix.

    `where` names node and virtual host: it may be there in another one.
    """
    fix = "start `rtmpump run` once, which declares it, or import `rtmpump topology --json`"
    return RtmpumpError(f"there is no {kind} {name} in RabbitMQ ({where}); {fix}")


def one_line(text: str) -> str:
    """Escape all characters that could control a terminal or start another line."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def print_json(value: object, *, indent: int | None = None) -> None:
    """Print JSON that steers no terminal, on one line without `indent`."""
    import json

    from rtmpump.core import tolerant_json

    click.echo(tolerant_json.shown(json.dumps(value, indent=indent, ensure_ascii=False)))


def amount(count: int, what: str) -> str:
    """Return a number with its noun, such as `1 event` or `1,200 events`."""
    return f"{count:,} {what}" + ("" if count == 1 else "s")


def lasted(seconds: float) -> str:
    """Return a time in its two largest units, such as `2h 5m`."""
    left = int(seconds)
    parts: list[str] = []
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, left = divmod(left, size)
        if count or parts or unit == "s":
            parts.append(f"{count}{unit}")
    return " ".join(parts[:2])


def ago(seconds: float) -> str:
    """Return how long ago, such as `2h 5m ago`."""
    return f"{lasted(seconds)} ago"


def size(count: float) -> str:
    """Return a number of bytes, such as `1.5 MiB`."""
    for unit in ("bytes", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} bytes" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"
