"""The group of commands, and how an error ends the program.

Laws:

- A command's module is imported when the command is used. So `--help` answers at once; no heavy
  module may be imported at the top of this file.
- Ctrl-C ends the program with 130 and no traceback, also during the imports, unless the command has
  an end of its own.
- A RtmpumpError ends the program with one line on standard error and its own exit code. A traceback
  appears only with RTMPUMP_LOG_LEVEL=debug.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any, Final, NamedTuple

import click
from click.shell_completion import CompletionItem

from rtmpump.cli import interrupts
from rtmpump.cli.common import one_line
from rtmpump.errors import ConfigError, RtmpumpError


class _Row(NamedTuple):
    """The module of a command (a click command with its name) and its line in `--help`."""

    module: str
    help: str


_COMMANDS: Final = {
    "run": _Row("rtmpump.cli.run", "The daemon, in the foreground, until SIGTERM or Ctrl-C."),
    "init": _Row("rtmpump.cli.init", "Make the configuration: ask, write, check."),
    "manifest": _Row("rtmpump.cli.manifest", "A Slack app for Socket Mode, to paste or to open."),
    "check": _Row("rtmpump.cli.check", "Validate the configuration; ask Slack and RabbitMQ."),
    "demo": _Row("rtmpump.cli.demo", "The whole thing, with no account and no setup."),
    "tail": _Row("rtmpump.cli.tail", "Print events live from RabbitMQ."),
    "send": _Row("rtmpump.cli.send", "Send a message to Slack and print the answer."),
    "status": _Row("rtmpump.cli.status", "What the running daemon is doing."),
    "spool": _Row("rtmpump.cli.spool", "Look at the events that RabbitMQ has not confirmed."),
    "dead": _Row("rtmpump.cli.dead", "List, retry or drop the dead-lettered commands."),
    "gateway": _Row("rtmpump.cli.gateway", "An endpoint for Slack's own client libraries."),
    "topology": _Row("rtmpump.cli.topology", "What is declared in RabbitMQ."),
}

_LIST: Final = ", ".join(_COMMANDS)


class LazyGroup(click.Group):
    """A group that imports a command only when it is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order in which a person needs them."""
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command; return None if there is none with this name."""
        row = _COMMANDS.get(cmd_name)
        if row is None:
            return None
        with interrupts.ending_at_once():
            command = getattr(import_module(row.module), cmd_name)
        if not isinstance(command, click.Command):
            raise TypeError(f"{row.module}.{cmd_name} is no click command")
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; name the nearest one if there is none of that name."""
        if args and args[0] not in _COMMANDS and not args[0].startswith("-"):
            import difflib

            near = difflib.get_close_matches(args[0], _COMMANDS, 1)
            hint = f"Did you mean `rtmpump {near[0]}`?" if near else f"There are {_LIST}."
            ctx.fail(f"No such command {one_line(args[0])!r}. {hint}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, row.help) for name, row in _COMMANDS.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Propose commands without importing them, then options."""
        names = [
            CompletionItem(name, help=row.help)
            for name, row in _COMMANDS.items()
            if name.startswith(incomplete)
        ]
        return names + click.Command.shell_complete(self, ctx, incomplete)

    def main(self, args: Sequence[str] | None = None, *more: Any, **extra: Any) -> Any:
        """Do as click does; as the program itself (no `args`), Ctrl-C ends it at once."""
        if args is None:
            interrupts.end_at_once()
        return super().main(args, *more, **extra)

    def invoke(self, ctx: click.Context) -> object:
        """Run the command; turn one of our errors into one line and an exit code."""
        _write_anything()
        try:
            with interrupts.raising():
                return super().invoke(ctx)
        except RtmpumpError as error:
            _print_error(error)
            ctx.exit(error.exit_code)
        except KeyboardInterrupt:
            ctx.exit(interrupts.INTERRUPTED)


def _write_anything() -> None:
    """Write a character that the terminal can't show as an escape; it must not end the program."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")


def _print_error(error: RtmpumpError) -> None:
    if os.environ.get("RTMPUMP_LOG_LEVEL", "").lower() == "debug":
        import traceback

        click.echo("".join(traceback.format_exception(error)), err=True, nl=False)
    others = error.more if isinstance(error, ConfigError) else ()
    for one in (error, *others):
        click.echo(f"rtmpump: {one_line(str(one))}", err=True)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="rtmpump", message="%(prog)s %(version)s")
@click.option("-c", "--config", "config_file", metavar="FILE", hidden=True)
def main(config_file: str | None) -> None:
    """Pump Slack's events into RabbitMQ, and messages from RabbitMQ into Slack; lose none.

    Start with `rtmpump demo`, which needs no account; then try `rtmpump check --connect`.

    Exit codes: 0 done, 1 failed, 2 wrong usage, 69 a service was not reachable, 78 the
    configuration is wrong or Slack refused the token.
    """
