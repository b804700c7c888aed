"""Sets keys in the text of a configuration, and leaves all else as people wrote it."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping

from rtmpump.config.sources import lines_of
from rtmpump.errors import ConfigError


def with_keys(text: str, keys: Mapping[str, str]) -> str:
    """Return a TOML text in which each `section.key` has its value, a string.

    A key that is there keeps its line; a comment behind it goes. Another one comes first in its
    section, after those that were set before it, or in a new one.

    Raises:
        ConfigError: the text is no TOML, or it is written so that no line can be replaced.
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
        text = _with_line(text, (section, key), last.get(section, ""), line)
        last[section] = key
        if _parsed(text) != wanted:
            raise ConfigError("can't be set by one line of this file", key=name, fix="set it there")
    return text


def _with_line(text: str, name: tuple[str, str], before: str, line: str) -> str:
    """Put a key's line in, or after that of the key `before`, "" for the header of its section."""
    section, places, lines = name[0], lines_of(text), text.splitlines()
    if name in places:
        lines[places[name] - 1] = line
    elif (section, before) in places:
        lines.insert(places[section, before], line)
    else:
        lines += [*([""] if lines else []), f"[{section}]", line]
    return "\n".join(lines) + "\n"


def _parsed(text: str) -> object:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return None
