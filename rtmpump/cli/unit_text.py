"""The text of a systemd unit and of its environment files, read as systemd reads them.

The rules are those of systemd.syntax(7), systemd.service(5) (command lines), systemd.unit(5)
(specifiers) and systemd.exec(5) (EnvironmentFile=).
"""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator, Mapping
from typing import Final

from rtmpump.errors import RtmpumpError

_SECTION: Final = re.compile(r"\[(.+)\]$")
_ESCAPE: Final = re.compile(
    r"x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[0-3][0-7]{2}|.", re.DOTALL
)
_LETTERS: Final = {
    **{"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "s": " "},
    **{"\\": "\\", '"': '"', "'": "'"},
}
_VARIABLE: Final = re.compile(r"\$(?:\$|\{(\w+)\})", re.ASCII)
_WORD_VARIABLE: Final = re.compile(r"\$(\w+)", re.ASCII)
_NAME: Final = re.compile(r"[A-Za-z_]\w*", re.ASCII)
# In double quotes a backslash escapes these alone.
_QUOTED_ESCAPES: Final = '"\\`$'


class Settings:
    """The section [Service] of a unit and its drop-ins, specifiers filled in.

    `%d` becomes `folder`.
    """

    def __init__(self, name: str, text: str, folder: str) -> None:
        self.name = name
        prefix, _, instance = name.removesuffix(".service").partition("@")
        self.prefix = prefix
        self._specifiers = {
            **{"%": "%", "i": instance, "I": instance, "p": prefix, "P": prefix, "n": name},
            **{"N": name.removesuffix(".service"), "d": folder, "H": socket.gethostname()},
            **{"S": "/var/lib", "E": "/etc", "C": "/var/cache", "L": "/var/log", "t": "/run"},
            **{"h": "/root", "u": "root", "U": "0", "T": "/tmp", "V": "/var/tmp"},  # noqa: S108
        }
        self._values: dict[str, list[str]] = {}
        section = ""
        for line in _statements(text):
            if header := _SECTION.match(line):
                section = header[1]
            elif section == "Service":
                key, _, value = line.partition("=")
                self._assign(key.strip(), value.strip())

    def _assign(self, key: str, value: str) -> None:
        if value:
            self._values.setdefault(key, []).append(value)
        else:
            self._values.pop(key, None)

    def all(self, key: str) -> list[str]:
        """Return all values of a setting that is a list, without those that were reset."""
        return [
            re.sub("%(.)", lambda found: self._specifiers.get(found[1], found[0]), value)
            for value in self._values.get(key, [])
        ]

    def last(self, key: str) -> str:
        """Return the value of a setting, "" if it has none."""
        return next(reversed(self.all(key)), "")

    def says_yes(self, key: str) -> bool:
        """Return the value of a setting that is a boolean; one that is not there is false."""
        return self.last(key).lower() in ("yes", "true", "on", "1", "y", "t")

    def words(self, key: str) -> list[str]:
        """Return the words of all values, in which quotes count.

        Raises:
            RtmpumpError: a quote has no end; the value is not shown, it may hold a secret.
        """
        try:
            return [word for value in self.all(key) for word in words(value)]
        except ValueError as error:
            raise RtmpumpError(f"--unit {self.name}: its {key}=: {error}") from None


def _statements(text: str) -> Iterator[str]:
    """Yield the lines that count, each with those that continue it.

    Comments and blank lines never continue, and may stand inside of a continued line.
    """
    begun = ""
    for line in text.split("\n"):
        if line.lstrip().startswith(("#", ";")):
            continue
        begun += line
        backslashes = len(begun) - len(begun.rstrip("\\"))
        if backslashes % 2:
            begun = f"{begun[:-1]} "
            continue
        if begun.strip():
            yield begun.strip()
        begun = ""
    if begun.strip():
        yield begun.strip()


def words(text: str) -> list[str]:
    """Cut a value into words at blanks; quotes keep a word together, and C escapes count.

    Raises:
        ValueError: a quote has no end.
    """
    found: list[str] = []
    word, quote, at = None, "", 0
    while at < len(text):
        char = text[at]
        at += 1
        if char == "\\" and (escape := _ESCAPE.match(text, at)):
            word, at = (word or "") + _unescaped(escape[0]), escape.end()
        elif char == quote:
            quote = ""
        elif quote:
            word = (word or "") + char
        elif char in "\"'":
            word, quote = word or "", char
        elif not char.isspace():
            word = (word or "") + char
        elif word is not None:
            found.append(word)
            word = None
    if quote:
        raise ValueError(f"a quote ({quote}) has no end")
    return found if word is None else [*found, word]


def _unescaped(escape: str) -> str:
    if len(escape) > 1:
        return chr(int(escape[1:], 16) if escape[0] in "xuU" else int(escape, 8))
    return _LETTERS.get(escape, f"\\{escape}")


def unescaped(text: str) -> str:
    """Return a text with its C escapes carried out, as those of SetCredential=."""
    return re.sub(
        rf"\\({_ESCAPE.pattern})", lambda found: _unescaped(found[1]), text, flags=re.DOTALL
    )


def expanded(command: list[str], env: Mapping[str, str]) -> list[str]:
    """Return the words of ExecStart=, without what comes before the program, variables filled in.

    `${NAME}` is put into its word, a word `$NAME` becomes the words of the value.
    """
    if not command:
        return []
    program = command[0].lstrip("@-:+!|")
    marks = command[0].removesuffix(program)
    rest = command[2:] if "@" in marks else command[1:]
    if ":" in marks:
        return [program, *rest]
    done = [program]
    for word in rest:
        if whole := _WORD_VARIABLE.fullmatch(word):
            done += env.get(whole[1], "").split()
        else:
            done.append(_VARIABLE.sub(lambda one: env.get(one[1], "") if one[1] else "$", word))
    return done


def variables(text: str) -> dict[str, str]:
    """Return what an EnvironmentFile= sets.

    A value ends with its line; blanks and `#` in it count, and so do quotes that don't begin it.
    """
    found: dict[str, str] = {}
    at = 0
    while at < len(text):
        line_end = _line_end(text, at)
        line = text[at:line_end]
        key, equals, _ = line.partition("=")
        if line.lstrip().startswith(("#", ";")) or not equals:
            at = line_end + 1
            continue
        value, at = _value(text, at + len(key) + 1)
        if _NAME.fullmatch(key.strip()):
            found[key.strip()] = value
    return found


def _line_end(text: str, at: int) -> int:
    end = text.find("\n", at)
    return len(text) if end < 0 else end


def _value(text: str, at: int) -> tuple[str, int]:
    """Return the value that begins here, and where the next line begins."""
    value = ""
    while at < len(text) and text[at] != "\n":
        char = text[at]
        if char.isspace():
            at += 1
        elif char in "\"'":
            part, at = _quoted(text, at + 1, char)
            value += part
        else:
            part, at = _plain(text, at)
            value += part
            break
    return value, at + 1


def _plain(text: str, at: int) -> tuple[str, int]:
    value, kept = "", 0
    while at < len(text) and text[at] != "\n":
        if text[at] == "\\":
            at += 1
            if at < len(text) and text[at] != "\n":
                value += text[at]
            kept = len(value)
        else:
            value += text[at]
        at += 1
    return value[:kept] + value[kept:].rstrip(), at


def _quoted(text: str, at: int, quote: str) -> tuple[str, int]:
    value = ""
    while at < len(text) and text[at] != quote:
        char = text[at]
        if char == "\\" and quote == '"' and at + 1 < len(text):
            at += 1
            escaped = text[at]
            if escaped in _QUOTED_ESCAPES:
                value += escaped
            elif escaped != "\n":
                value += char + escaped
        else:
            value += char
        at += 1
    return value, at + 1
