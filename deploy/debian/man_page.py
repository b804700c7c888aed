"""Writes the man page of rtmpump from what `--help` says: `python man_page.py DATE VERSION`.

It is run with the program and its libraries on the path, and prints man macros of groff.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from inspect import cleandoc

import click

from rtmpump.cli import main

_FILES = {
    "/etc/rtmpump/config.toml": "The configuration; it explains each of its keys.",
    "/etc/rtmpump/gateway/NAME": "The token of the program NAME at the gateway.",
    "/var/lib/rtmpump/spool.db": "The spool: events that RabbitMQ has not confirmed yet.",
}


# What groff would take for typography.
_SIGNS = str.maketrans(
    {"\\": r"\e", "-": r"\-", "'": r"\(aq", "`": r"\(ga", "^": r"\(ha", "~": r"\(ti"}
)


def escaped(text: str) -> str:
    """Return text that groff prints as it is."""
    return re.sub(r"^\.", r"\\&.", text.translate(_SIGNS), flags=re.MULTILINE)


def entries(pairs: Iterator[tuple[str, str]]) -> Iterator[str]:
    """Yield a list of names in bold, each with what it means."""
    for name, meaning in pairs:
        yield f".TP\n.B {escaped(name)}\n{escaped(meaning)}"


def prose(help_text: str) -> Iterator[str]:
    """Yield the paragraphs of a help text; one that click's mark begins keeps its lines."""
    for paragraph in cleandoc(help_text).split("\n\n"):
        if paragraph.startswith("\b\n"):
            yield f".PP\n.nf\n{escaped(paragraph[2:])}\n.fi"
        else:
            yield f".PP\n{escaped(' '.join(paragraph.split()))}"


def options(ctx: click.Context) -> Iterator[tuple[str, str]]:
    """Yield each option of a command but `--help`, as its help shows it."""
    for parameter in ctx.command.get_params(ctx):
        record = parameter.get_help_record(ctx)
        if record and "--help" not in parameter.opts:
            yield record


def command(ctx: click.Context) -> Iterator[str]:
    """Yield what is said of a command, then of the commands in it."""
    usage = " ".join(ctx.command.collect_usage_pieces(ctx))
    if ctx.parent:
        yield f".SS {escaped(f'{ctx.command_path} {usage}')}"
        yield from prose(ctx.command.help or "")
        yield from entries(options(ctx))
    if isinstance(ctx.command, click.Group):
        for name in ctx.command.list_commands(ctx):
            found = ctx.command.get_command(ctx, name)
            if found and not found.hidden:
                yield from command(click.Context(found, ctx, name))


def page(date: str, version: str) -> Iterator[str]:
    """Yield the whole page."""
    ctx = click.Context(main, info_name="rtmpump")
    summary, _, rest = cleandoc(main.help or "").partition("\n\n")
    yield f'.TH RTMPUMP 1 {escaped(date)} "rtmpump {escaped(version)}" "User Commands"'
    yield f".SH NAME\nrtmpump \\- {escaped(' '.join(summary.split()).rstrip('.'))}"
    yield ".SH SYNOPSIS\n.B rtmpump\n[OPTIONS] COMMAND [ARGS]..."
    yield ".SH DESCRIPTION"
    yield from prose(rest)
    yield ".SH OPTIONS"
    yield from entries(options(ctx))
    yield ".SH COMMANDS"
    yield from command(ctx)
    yield ".SH FILES"
    yield from entries(iter(_FILES.items()))
    yield ".SH SEE ALSO\n.BR systemctl (1),\n.BR rabbitmq\\-server (8)"


if __name__ == "__main__":
    sys.stdout.reconfigure(encoding="utf-8")  # type: ignore[union-attr]
    print("\n".join(page(*sys.argv[1:])))
