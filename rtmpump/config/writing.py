"""Sets keys in the text of a configuration, and leaves all else as people wrote it."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Mapping
from typing import Final

from rtmpump.config.sources import lines_of
from rtmpump.errors import ConfigError

# Of one value.
_LINES_MAX: Final = 200


def with_keys(text: str, keys: Mapping[str, str | list[str]]) -> str:
    """Return a TOML text in which each `section.key` has its value, a string or a list of strings.

    A key that is there keeps its place; what is in its lines, comments too, goes. Another one comes
    first in its section, after those that were set before it, or in a new one.

    Raises:
        ConfigError: the text is no TOML, or it is written so that no lines can be replaced.
    """
    last: dict[str, str] = {}
    for name, value in keys.items():
        section, _, key = name.partition(".")
        try:
            wanted = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise ConfigError(f"is no TOML: {error}") from None
        table = wanted.setdefault(section, {})
        if not isinstance(table, dict):
            raise ConfigError("must be a table", key=section)
        table[key] = value
        # A TOML basic string has the escapes of JSON.
        line = f"{key} = {json.dumps(value, ensure_ascii=False)}"
        texts = _with_line(text, (section, key), last.get(section, ""), line)
        found = next((one for one in texts if _parsed(one) == wanted), None)
        if found is None:
            raise ConfigError("can't be set by one line of this file", key=name, fix="set it there")
        text = found
        last[section] = key
    return text


def _with_line(text: str, name: tuple[str, str], before: str, line: str) -> Iterator[str]:
    """Put a key's line in, or after that of the key `before`, "" for the header of its section.

    Yield one text for each number of lines that the old value may have.
    """
    section, places = name[0], lines_of(text)
    # TOML has no other ends of lines than these two.
    lines = text.removesuffix("\n").split("\n") if text else []
    if "\r\n" in text:
        line += "\r"
    if name in places:
        first = places[name] - 1
        for last in range(first + 1, min(len(lines), first + _LINES_MAX) + 1):
            yield "\n".join([*lines[:first], line, *lines[last:]]) + "\n"
        return
    if (section, before) in places:
        lines.insert(places[section, before], line)
    else:
        lines += [*([""] if lines else []), f"[{section}]", line]
    yield "\n".join(lines) + "\n"


def _parsed(text: str) -> object:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return None
