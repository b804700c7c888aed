"""How one value is read: a TOML value or a text from the environment in, a checked value out.

Laws:

- A kind knows no section, no file and no environment. It says what is wrong and how to fix it;
  `sources` adds the key and the place.
- A secret never appears in a message, also if it was written into the wrong key.
"""

from __future__ import annotations

import math
import os
import re
import tomllib
from abc import ABC, abstractmethod
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import Final, Generic, TypeVar

from rtmpump.errors import ConfigError

_T = TypeVar("_T")
MASK: Final = "***"
_SECRET_LOOK = re.compile(r"xox[a-z]|xapp-|://[^/]*@", re.IGNORECASE)
_SHORT_STRING = 255
_EVENT_TYPE = 100


def nearest(word: str, words: Iterable[str], cutoff: float = 0.6) -> str:
    """Return the word of `words` that is most like `word`, or ""."""
    return next(iter(get_close_matches(word, sorted(words), n=1, cutoff=cutoff)), "")


def masked(text: str) -> str:
    """Return the text, or the mask if it looks like a token or a URL with a password."""
    return MASK if _SECRET_LOOK.search(text) else text


def found(value: object) -> str:
    """Return in TOML's words what was found instead of a good value; mask a secret."""
    if isinstance(value, bool):
        return "found true" if value else "found false"
    if isinstance(value, str):
        return f"found {MASK}" if masked(value) == MASK else f"found {value[:60]!r}"
    if isinstance(value, int | float):
        return f"found {value}"
    if isinstance(value, list | dict):
        return "found a table" if isinstance(value, dict) else "found an array"
    return "found a date or time"


def wrong(must: str, value: object, fix: str = "") -> ConfigError:
    """Return the error that says what a value must be, and what was found."""
    return ConfigError(f"must be {must}, {found(value)}", fix=fix)


def reason(error: OSError) -> str:
    """Return the text of the system, without the number and the path."""
    return (error.strerror or str(error)).lower()


class Kind(ABC, Generic[_T]):
    """One kind of value; both ways of reading raise ConfigError without `key` and `where`."""

    @abstractmethod
    def read(self, value: object) -> _T:
        """Check and convert a value from TOML."""

    def read_text(self, text: str) -> _T:
        """Check and convert a value from the environment."""
        return self.read(text)


class Text(Kind[str]):
    """One line of text, in UTF-8 at most `longest` bytes; "" only where `empty` allows it."""

    def __init__(self, *, empty: bool = True, longest: int = 4096) -> None:
        self._empty = empty
        self._longest = longest

    def read(self, value: object) -> str:
        """Return the text as it is."""
        if not isinstance(value, str):
            raise wrong("a string", value)
        if not value.isprintable():
            raise ConfigError("must be one line without control characters")
        if not value and not self._empty:
            raise ConfigError("must not be empty")
        if len(value.encode()) > self._longest:
            raise ConfigError(f"must be at most {self._longest} bytes long")
        return value


class Name(Text):
    """The name of an exchange or a queue: an AMQP short string (AMQP 0-9-1, 4.2.5.3)."""

    def __init__(self, *, empty: bool = False) -> None:
        super().__init__(empty=empty, longest=_SHORT_STRING)


class TypeExchange(Text):
    """A pattern with one `{type}` in it, or "" for no exchange of each type."""

    def __init__(self) -> None:
        super().__init__(longest=_SHORT_STRING - _EVENT_TYPE)

    def read(self, value: object) -> str:
        """Return the pattern; `type` is its only placeholder."""
        text = super().read(value)
        if text and not re.fullmatch(r"[^{}]*\{type\}[^{}]*", text):
            raise wrong('a name with one {type} in it, such as "rtm.{type}"', text)
        return text


class MaxAge(Text):
    """The age limit of a RabbitMQ stream: a whole number and one of Y, M, D, h, m, s."""

    def read(self, value: object) -> str:
        """Return the age as RabbitMQ's `x-max-age` takes it."""
        text = super().read(value)
        if not re.fullmatch(r"[1-9]\d*[YMDhms]", text, re.ASCII):
            raise wrong('an age such as "7D" or "12h" (units Y, M, D, h, m, s)', text)
        return text


class Choice(Kind[str]):
    """One of a few words."""

    def __init__(self, *words: str) -> None:
        self._words = words

    def read(self, value: object) -> str:
        """Return the word."""
        if isinstance(value, str) and value in self._words:
            return value
        allowed = " or ".join(f'"{word}"' for word in self._words)
        near = nearest(value.lower(), self._words) if isinstance(value, str) else ""
        raise wrong(allowed, value, f'did you mean "{near}"?' if near else "")


class Flag(Kind[bool]):
    """True or false."""

    def read(self, value: object) -> bool:
        """Return the boolean."""
        if isinstance(value, bool):
            return value
        raise wrong("true or false", value)

    def read_text(self, text: str) -> bool:
        """Take the words true and false, in any case."""
        return self.read({"true": True, "false": False}.get(text.lower(), text))


class Whole(Kind[int]):
    """A whole number from `low` to `high`."""

    def __init__(self, low: int, high: int) -> None:
        self._low = low
        self._high = high

    def read(self, value: object) -> int:
        """Return the number."""
        if type(value) is int and self._low <= value <= self._high:
            return value
        raise wrong(f"a whole number from {self._low} to {self._high}", value)

    def read_text(self, text: str) -> int:
        """Take decimal digits."""
        return self.read(int(text) if re.fullmatch(r"[+-]?\d{1,18}", text, re.ASCII) else text)


class Number(Kind[float]):
    """A number above zero and at most `high`."""

    def __init__(self, high: float) -> None:
        self._high = high

    def read(self, value: object) -> float:
        """Return the number as a float."""
        number = _number(value)
        if 0 < number <= self._high:
            return float(number)
        raise wrong(f"a number above 0 and at most {self._high:g}", value)

    def read_text(self, text: str) -> float:
        """Take a decimal number."""
        return self.read(float(text) if re.fullmatch(_DECIMAL, text, re.ASCII) else text)


_DECIMAL = r"\d{1,18}(?:\.\d+)?"
_SECONDS = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_BYTES = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12} | {
    "kib": 2**10,
    "mib": 2**20,
    "gib": 2**30,
    "tib": 2**40,
}


def _number(value: object) -> float:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else math.nan


def _scaled(value: object, units: dict[str, float] | dict[str, int]) -> float:
    """Return a number, or a text with a number and a unit, in the base unit; NaN if neither."""
    if not isinstance(value, str):
        return _number(value)
    parts = re.fullmatch(rf"({_DECIMAL}) ?([a-zA-Z]*)", value, re.ASCII)
    scale = units.get(parts[2].lower()) if parts else None
    return float(parts[1]) * scale if parts and scale else math.nan


class Duration(Kind[float]):
    """Seconds as a float, above zero and at most `high`: `15`, `"10s"`, `"2m"`, `"500ms"`."""

    def __init__(self, high: float = 86_400.0) -> None:
        self._high = high

    def read(self, value: object) -> float:
        """Return the seconds."""
        seconds = _scaled(value, _SECONDS)
        if 0 < seconds <= self._high:
            return float(seconds)
        raise wrong(f"a time above 0 and at most {self._high:g} seconds", value, _TIMES)


_TIMES = 'write seconds as a number, or "10s", "2m", "1h"'


class WholeSeconds(Duration):
    """A duration of whole seconds, as AMQP's heartbeat needs it."""

    def read(self, value: object) -> int:
        """Return the seconds as an int."""
        seconds = super().read(value)
        if not seconds.is_integer():
            raise wrong("a whole number of seconds", value)
        return int(seconds)


class Size(Kind[int]):
    """Bytes as an int, at least `low`; `16777216`, `"64MiB"`, `"1.5GB"`."""

    def __init__(self, low: int) -> None:
        self._low = low

    def read(self, value: object) -> int:
        """Return the bytes."""
        size = _scaled(value, _BYTES)
        if not self._low <= size < 2**62 or not float(size).is_integer():
            least = f"a size of at least {self._low // 2**20}MiB"
            raise wrong(least, value, 'write bytes as a number, or "64MiB", "1GiB"')
        return int(size)


class ListOf(Kind[_T]):
    """A list of strings; in the environment a TOML array, or words separated by commas."""

    def read_text(self, text: str) -> _T:
        """Split the text; an empty one is the empty list."""
        if not text.lstrip().startswith("["):
            return self.read([word.strip() for word in text.split(",") if word.strip()])
        try:
            return self.read(tomllib.loads(f"list = {text}")["list"])
        except tomllib.TOMLDecodeError:
            raise ConfigError("is no TOML array", fix='write ["a", "b"] or a,b') from None

    def strings(self, value: object) -> list[str]:
        """Return the list; each of its items is a string."""
        if not isinstance(value, list):
            raise ConfigError("must be a list of strings")
        for item in value:
            if not isinstance(item, str):
                raise ConfigError("must hold strings only")
        return value


class EventTypes(ListOf[frozenset[str]]):
    """Event types to ignore: `type`, or `type.subtype`."""

    def read(self, value: object) -> frozenset[str]:
        """Return them as a set."""
        words = self.strings(value)
        for word in words:
            if not re.fullmatch(r"[^.\s]+(\.[^.\s]+)?", word):
                raise ConfigError(f'must hold "type" or "type.subtype" only, {found(word)}')
        return frozenset(words)


class Methods(ListOf[frozenset[str]]):
    """Methods of Slack's Web API, each by its whole name."""

    def read(self, value: object) -> frozenset[str]:
        """Return them as a set."""
        words = self.strings(value)
        for word in words:
            if len(word) > 80 or not re.fullmatch(r"[A-Za-z0-9]+(\.[A-Za-z0-9]+)+", word):
                fix = "patterns are not taken"
                raise wrong('a list of whole names such as "reactions.add"', word, fix)
        return frozenset(words)


class Patterns(ListOf[tuple[str, ...]]):
    """Patterns of a topic exchange, such as `message.#`."""

    def read(self, value: object) -> tuple[str, ...]:
        """Return them without repeats, in their order."""
        words = self.strings(value)
        for word in words:
            if not re.fullmatch(r"[A-Za-z0-9_*#-]+(\.[A-Za-z0-9_*#-]+)*", word) or len(word) > 255:
                raise wrong('a list of patterns such as "message.#"', word)
        return tuple(dict.fromkeys(words))


class File(Text):
    """A file that must exist, or "" for none."""

    def read(self, value: object) -> str:
        """Return the path as it is written."""
        text = super().read(value)
        if text and not os.path.isfile(text):
            raise ConfigError(f"no such file, {found(text)}")
        return text


class NewFile(Kind[Path]):
    """A file that need not exist yet."""

    def read(self, value: object) -> Path:
        """Return the path."""
        return Path(Text(empty=False).read(value))


def host_and_port(text: str) -> tuple[str, int] | None:
    """Split `host:port` or `[IPv6]:port`; return None if it is neither. Port 0 is any free port."""
    parts = re.fullmatch(r"(?:\[([0-9a-fA-F:.]+)\]|([^\s:/\[\]]+)):(\d{1,5})", text, re.ASCII)
    if not parts or int(parts[3]) > 65_535:
        return None
    return parts[1] or parts[2], int(parts[3])


class Address(Text):
    """Where a server listens, `host:port`, or "" for nowhere where `empty` allows it."""

    def read(self, value: object) -> str:
        """Return the address as it is written."""
        text = super().read(value)
        if text and host_and_port(text) is None:
            raise wrong('"host:port" or ""', text, 'such as "127.0.0.1:9464" or "[::1]:9464"')
        return text
