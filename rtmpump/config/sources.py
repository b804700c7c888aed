"""The sources of the configuration: a TOML file and the environment, each value with its place.

Laws: only the names are checked here; no value is checked or converted. A wrong name is added to
the mistakes, and the reading goes on. A place is for people: `file:line`, or the name of the
variable.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from rtmpump.config.mistakes import Mistakes
from rtmpump.config.sections import CLIENTS
from rtmpump.config.values import found, masked, nearest, reason
from rtmpump.errors import ConfigError

Names = Mapping[str, tuple[str, ...]]
_PREFIX = "RTMPUMP_"
# A client's keys are three tables down.
_DEEPEST = 3
_ANY_CLIENT = f"{CLIENTS}.NAME"
_CLIENT_NAME = re.compile("[A-Za-z0-9_-]{1,64}")
# Kubernetes sets these in every container for a Service with a name like `rtmpump-http`.
_SERVICE_LINK = re.compile(r"_SERVICE_(HOST|PORT)(_|$)|_PORT_\d+_(TCP|UDP|SCTP)(_|$)")


class Given(NamedTuple):
    """One value as it was written; `text` means that it comes from the environment."""

    section: str
    key: str
    value: Any
    where: str
    text: bool = False

    @property
    def name(self) -> str:
        """The whole name, `section.key`."""
        return f"{self.section}.{self.key}"

    def wrong(self, error: ConfigError) -> ConfigError:
        """Return the same error with the key and the place."""
        return ConfigError(error.problem, key=masked(self.name), where=self.where, fix=error.fix)


def from_file(path: Path, names: Names, mistakes: Mistakes) -> list[Given]:
    """Return the values of a TOML file; `names` are the keys of each section.

    A mistake is that the file can't be read or is no TOML (then it has no values), that a name is
    unknown, or that a section is no table.
    """
    with mistakes.collected():
        return list(_in_file(path, names, mistakes))
    return []


def _in_file(path: Path, names: Names, mistakes: Mistakes) -> Iterator[Given]:
    text = _text_of(path)
    try:
        data = tomllib.loads(text)
        lines = lines_of(text)
    except tomllib.TOMLDecodeError as error:
        raise _not_toml(path, text, error) from None
    except (ValueError, RecursionError):
        # A number of thousands of digits, or lists nested thousands deep.
        raise ConfigError("holds a value too large to be read", where=str(path)) from None
    for section, table in data.items():
        with mistakes.collected():
            for key, value in _keys(section, table, names, f"{path}:{lines[section, '']}"):
                one = Given(section, key, value, f"{path}:{lines[section, key]}")
                if one.name == CLIENTS:
                    with mistakes.collected():
                        yield from _in_clients(path, one, names, lines, mistakes)
                    continue
                with mistakes.collected():
                    _check_name(one, names)
                    yield one


def _in_clients(
    path: Path,
    group: Given,
    names: Names,
    lines: Mapping[tuple[str, str], int],
    mistakes: Mistakes,
) -> Iterator[Given]:
    """Yield the values of each table of a group, and first one without a key for the table."""
    if not isinstance(group.value, dict):
        raise group.wrong(ConfigError(f"must be a table, {found(group.value)}"))
    for name, table in group.value.items():
        section = f"{group.name}.{name}"
        where = f"{path}:{lines[group.name, name]}"
        with mistakes.collected():
            _check_client(name, section, table, where)
            yield Given(section, "", None, where)
            for key, value in table.items():
                one = Given(section, key, value, f"{path}:{lines[section, key]}")
                with mistakes.collected():
                    _check_name(one, names)
                    yield one


def _check_client(name: str, section: str, table: object, where: str) -> None:
    if not _CLIENT_NAME.fullmatch(name):
        fix = "a name has 1 to 64 of the characters a-z, A-Z, 0-9, _ and -"
        raise ConfigError("can't be a name", key=masked(section), where=where, fix=fix)
    if not isinstance(table, dict):
        fix = f"write [{section}] above its keys"
        raise ConfigError(
            f"must be a table, {found(table)}", key=masked(section), where=where, fix=fix
        )


def from_env(env: Mapping[str, str], names: Names, mistakes: Mistakes) -> list[Given]:
    """Return every `RTMPUMP_<SECTION>_<KEY>`; a mistake is one that is nearly the name of a key."""
    known = {f"{s}_{k}".upper(): (s, k) for s, keys in names.items() if s != CLIENTS for k in keys}
    given = []
    for variable in sorted(name for name in env if name.startswith(_PREFIX)):
        name = variable.removeprefix(_PREFIX)
        if name in known:
            given.append(Given(*known[name], env[variable], variable, text=True))
        elif not _is_service_link(name, env[variable]):
            with mistakes.collected():
                _check_variable(name, known, names)
    return given


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ConfigError(f"can't read it: {reason(error)}", where=str(path)) from None
    except UnicodeDecodeError:
        raise ConfigError("is not UTF-8 text", where=str(path)) from None


def _not_toml(path: Path, text: str, error: tomllib.TOMLDecodeError) -> ConfigError:
    problem, _, at = str(error).partition(" (at ")
    place = re.match(r"line (\d+)", at)
    line = place[1] if place else text.rstrip().count("\n") + 1
    return ConfigError(f"is no TOML: {problem[:1].lower()}{problem[1:]}", where=f"{path}:{line}")


def _keys(section: str, table: object, names: Names, where: str) -> Iterator[tuple[str, Any]]:
    """Yield the keys and values of a section, if it is known and a table."""
    if section not in names:
        raise _unknown_section(section, table, names, where)
    if not isinstance(table, dict):
        raise ConfigError(f"must be a table, {found(table)}", key=section, where=where)
    yield from table.items()


def _unknown_section(section: str, value: object, names: Names, where: str) -> ConfigError:
    homes = [] if isinstance(value, dict) else [s for s, keys in names.items() if section in keys]
    if homes:
        fix = f"it belongs under [{homes[0]}]"
        return ConfigError("stands outside of its section", key=section, where=where, fix=fix)
    near = nearest(section, names)
    fix = f"did you mean [{near}]?" if near else _all_sections(names)
    return ConfigError("unknown section", key=masked(section), where=where, fix=fix)


def _all_sections(names: Names) -> str:
    return "there are " + _listed(f"[{name}]" for name in names if name != CLIENTS)


def _check_name(given: Given, names: Names) -> None:
    section = CLIENTS if given.section.startswith(f"{CLIENTS}.") else given.section
    if given.key not in names[section]:
        fix = _did_you_mean(section, given.key, names)
        raise given.wrong(ConfigError("unknown key", fix=fix))


def _did_you_mean(section: str, key: str, names: Names) -> str:
    near = nearest(key, names[section])
    homes = [other for other, keys in names.items() if key in keys]
    if near or homes:
        shown = section.replace(CLIENTS, _ANY_CLIENT)
        home = f"{homes[0].replace(CLIENTS, _ANY_CLIENT)}.{key}" if homes else ""
        return f"did you mean {shown}.{near}?" if near else f"did you mean {home}?"
    return f"[{section.replace(CLIENTS, _ANY_CLIENT)}] has " + _listed(names[section])


def _listed(words: Any) -> str:
    return ", ".join(words)


def _is_service_link(name: str, value: str) -> bool:
    bare_port = name.endswith("_PORT") and re.match("(tcp|udp|sctp)://", value)
    return bool(bare_port or _SERVICE_LINK.search(name))


def _check_variable(name: str, known: Mapping[str, tuple[str, str]], names: Names) -> None:
    """Refuse a variable that is nearly one of ours, by its section or its key; allow all others."""
    section = name.partition("_")[0].lower()
    near = nearest(name, known, cutoff=0.85)
    if section in names:
        near = near or nearest(name, (n for n in known if n.startswith(f"{section}_".upper())))
    else:
        # RabbitMQ's section is called [broker], and others are guessed wrong too.
        key = name.partition("_")[2].lower()
        near = near or next((n for n, (_, own) in known.items() if own == key), "")
    if near or section in names:
        fix = f"did you mean {_PREFIX}{near}?" if near else f"[{section}] has no such key"
        raise ConfigError("unknown variable", where=_PREFIX + name, fix=fix)


def lines_of(text: str) -> dict[tuple[str, str], int]:
    """Return the line at which each section, as `(section, "")`, and each key begins.

    A key of a table in a section is there by the whole name of its table: `("a.b", "key")`.

    tomllib gives no positions. So the text is cut into statements: each has the fewest lines that
    parse alone under the current table header. This is exact for arrays and strings of many lines
    too. `text` must be valid TOML.
    """
    lines: dict[tuple[str, str], int] = {}
    header, statement, start = "", "", 1
    for number, line in enumerate(text.split("\n"), 1):
        statement += line + "\n"
        data = _parsed(header + statement)
        if data is None:
            continue
        for section, key in _names_in(data):
            lines.setdefault((section, key), start)
        if statement.lstrip().startswith("["):
            header = statement
        statement, start = "", number + 1
    return lines


def _parsed(text: str) -> dict[str, Any] | None:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return None


def _names_in(data: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for section, table in data.items():
        yield section, ""
        yield from _names_below(section, table, _DEEPEST)


def _names_below(path: str, table: object, depth: int) -> Iterator[tuple[str, str]]:
    if isinstance(table, dict) and depth > 0:
        for key, value in table.items():
            yield path, key
            yield from _names_below(f"{path}.{key}", value, depth - 1)
