"""Which events `tail` shows: channels, users, and from when on."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

import click

from rtmpump.cli.common import one_line
from rtmpump.cli.events import ShownEvent

_UNITS: Final = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_TIME: Final = re.compile(r"(\d{1,9}(?:\.\d{1,3})?) ?([smhd])", re.ASCII)
_YEAR: Final = 366 * 86_400.0
# An id holds a digit or is long; GENERAL is no id, although it has the form of one.
_REST: Final = r"(?:[A-Z]*[0-9][A-Z0-9]*|[A-Z]{8,})"


class _Ids(NamedTuple):
    """The ids of one kind: their first letters, the sign before them in a text, an example."""

    letters: str
    sign: str
    example: str
    where: str


_CHANNELS: Final = _Ids("CGD", "#", "C024BE91L", "at the foot of the channel's details")
_USERS: Final = _Ids("UW", "@", "U024BE7LH", "in the menu of the person's profile")


def channel_ids(
    ctx: click.Context, parameter: click.Parameter, given: tuple[str, ...]
) -> frozenset[str]:
    """Read ids of channels, also as Slack writes them in a text: `<#C024BE91L|general>`."""
    return frozenset(_id(one, _CHANNELS, ctx, parameter) for one in given)


def user_ids(
    ctx: click.Context, parameter: click.Parameter, given: tuple[str, ...]
) -> frozenset[str]:
    """Read ids of users, also as Slack writes them in a text: `<@U024BE7LH>`."""
    return frozenset(_id(one, _USERS, ctx, parameter) for one in given)


def _id(given: str, ids: _Ids, ctx: click.Context, parameter: click.Parameter) -> str:
    written = re.fullmatch(rf"<{ids.sign}([^<>|]*)(?:\|[^<>]*)?>", given)
    name = written[1] if written else given
    if re.fullmatch(rf"[{ids.letters}]{_REST}", name):
        return name
    problem = (
        f"{one_line(given)!r} is no id. Events hold ids, and only Slack knows the names: "
        f"give an id such as {ids.example} (Slack shows it {ids.where})."
    )
    raise click.BadParameter(problem, ctx, parameter)


def seconds(ctx: click.Context, parameter: click.Parameter, given: str | None) -> float | None:
    """Read a time such as `90s`, `10m`, `1h`, `2d`, in seconds."""
    if given is None:
        return None
    found = _TIME.fullmatch(given.strip())
    if found and 0 < (time := float(found[1]) * _UNITS[found[2]]) <= _YEAR:
        return time
    problem = f"{one_line(given)!r} is no time up to a year; write 90s, 10m, 1h or 2d."
    raise click.BadParameter(problem, ctx, parameter)


class Filters(NamedTuple):
    """Whom an event must be about to be shown; an empty one lets all pass."""

    channels: frozenset[str] = frozenset()
    users: frozenset[str] = frozenset()

    def take(self, event: ShownEvent) -> bool:
        """Return whether the event is shown."""
        if self.channels and self.channels.isdisjoint(event.ids("channel")):
            return False
        return not self.users or not self.users.isdisjoint(event.ids("user"))
