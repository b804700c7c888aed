"""Says whether a line that calls `rtmpump` names a command, and options, that are there."""

from __future__ import annotations

import re

import click

from rtmpump.cli import main

_OPTION = re.compile(r"(?<![\w-])--?[a-z][\w-]*")
_NAMES = re.compile(r"[a-z]+(?:\|[a-z]+)*")


def problems(words: str) -> list[str]:
    """Return what is wrong with the words behind `rtmpump`; `a|b` stands for either."""
    name, _, rest = words.partition(" ")
    if name.startswith("-"):
        return _unknown_options(words, [main])
    command = main.get_command(click.Context(main), name)
    if command is None:
        return [f"there is no command {name}"]
    called: list[click.Command] = [command]
    if isinstance(command, click.Group):
        found = _NAMES.match(rest)
        names = found[0].split("|") if found else []
        wrong = [f"{name} has no command {one}" for one in names if one not in command.commands]
        if wrong:
            return wrong
        called += [command.commands[one] for one in names]
    return _unknown_options(rest, called)


def _unknown_options(words: str, commands: list[click.Command]) -> list[str]:
    known = {"--help", "-h"}
    for command in commands:
        for parameter in command.params:
            known |= {*parameter.opts, *parameter.secondary_opts}
    outside_quotes = re.sub(r"'[^']*'|\"[^\"]*\"", "", words)
    given = _OPTION.findall(outside_quotes)
    return [f"there is no option {option}" for option in given if option not in known]
