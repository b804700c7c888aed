"""Values that hold a secret or a URL: tokens, broker URLs, the proxy, the address of Slack's API.

Laws:

- A value that is read here never appears in a message, not even a part of it: in a mistyped URL any
  part may be the password. A path does not appear either: people write a token where its file is
  meant.
- A value is kept as a Secret, which prints as `***`.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final, NoReturn
from urllib.parse import SplitResult, urlsplit

from rtmpump.config.values import MASK, Kind, ListOf, masked, reason
from rtmpump.errors import ConfigError

_LONGEST: Final = 65_536
_LOOPBACK = re.compile(r"localhost|::1|127(\.\d{1,3}){3}", re.ASCII)
_ENCODE: Final = 'special characters of the password are percent-encoded, a "/" as %2F'


_FROM_PAGE: Final = "a token begins with xoxb- (bot) or xapp- (app-level)"
# What people take for a token, by its look alone.
_NO_TOKENS: Final = (
    (re.compile("[\"'`\u201c\u2018]"), "stands in quotes", "leave them out"),
    (re.compile(r"(export\s+)?[A-Za-z_]\w*\s*="), "has a name and = before it", "leave both out"),
    (re.compile("(?i)bearer\\b"), 'has "Bearer" before it', "leave it out"),
    (re.compile("(?i)https?:"), "is a URL (of a webhook?) and no token", _FROM_PAGE),
    (re.compile(r"[0-9a-f]{32}\Z"), "looks like a signing secret, and is no token", _FROM_PAGE),
    (re.compile(r"\d+\.\d+\Z"), "looks like a client id, and is no token", _FROM_PAGE),
)


class Secret:
    """A token, or a URL with a password: it prints as `***`; `reveal` returns the real value.

    One that stands in a file can be read again, for what is in the file may change.
    """

    __slots__ = ("_file", "_hidden")

    def __init__(self, hidden: str, file: str = "") -> None:
        self._hidden = hidden
        self._file = file

    def read_again(self) -> Secret:
        """Return what its file holds now; the same secret if it came from no file.

        Raises:
            ConfigError: the file can't be read, or holds no token.
        """
        return TokenFile().read(self._file) if self._file else self

    def reveal(self) -> str:
        """Return the real value; only for the line that gives it to Slack or RabbitMQ."""
        return self._hidden

    def __repr__(self) -> str:
        return MASK

    def __format__(self, spec: str) -> str:
        return format(MASK, spec)

    def __bool__(self) -> bool:
        return bool(self._hidden)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._hidden == self._hidden

    def __hash__(self) -> int:
        return hash((Secret, self._hidden))

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret can't be pickled")


class Token(Kind[Secret]):
    """A Slack token, or "" for none; hidden."""

    def read(self, value: object) -> Secret:
        """Return the value, hidden."""
        if not isinstance(value, str):
            raise ConfigError("must be a string")
        for look, problem, fix in _NO_TOKENS:
            if look.match(value):
                raise ConfigError(problem, fix=fix)
        if re.search(r"\s", value):
            raise ConfigError("must not hold blanks or line breaks")
        if not value.isascii() or not value.isprintable():
            raise ConfigError("must hold printable ASCII characters only")
        return Secret(value)


_SLACKS_PREFIX: Final = re.compile("xoxb-|xoxp-|xapp-")
_TOKEN_LEAST: Final = 24
MADE_WITH: Final = "make one with: openssl rand -hex 24"
"""What to do where a program of the gateway has no good token."""


def without_prefix(token: str) -> str:
    """Return a token without the prefix that Slack's libraries want to see, if it has one."""
    return _SLACKS_PREFIX.sub("", token, count=1) if _SLACKS_PREFIX.match(token) else token


class GatewayToken(Kind[Secret]):
    """A token that the operator made up for one program, or "" for none; hidden."""

    def read(self, value: object) -> Secret:
        """Return the value without Slack's prefix, hidden."""
        if not isinstance(value, str):
            raise ConfigError("must be a string")
        if not value:
            return Secret("")
        if not re.fullmatch("[!-~]+", value):
            raise ConfigError("must hold printable ASCII characters only, and no blanks")
        token = without_prefix(value)
        if len(token) < _TOKEN_LEAST:
            problem = f"must have at least {_TOKEN_LEAST} characters behind xoxb- or xapp-"
            raise ConfigError(problem, fix=MADE_WITH)
        return Secret(token)


def _split(url: str) -> SplitResult | None:
    """Split a URL; return None if it has no host, a bad port, or impossible characters."""
    try:
        parts = urlsplit(url)
        usable = parts.hostname and parts.port != 0 and url.isprintable() and " " not in url
    except ValueError:
        return None
    return parts if usable else None


def is_loopback(host: str) -> bool:
    """Return whether a host is this machine alone."""
    return bool(_LOOPBACK.fullmatch(host))


def is_protected(url: str) -> bool:
    """Return whether the way to a good URL is protected: it has TLS, or stays on this machine."""
    parts = urlsplit(url)
    return parts.scheme == "https" or bool(_LOOPBACK.fullmatch(parts.hostname or ""))


def shown_url(url: Secret) -> str:
    """Return a good URL without its password, such as `amqp://user:***@host/vhost`."""
    parts = urlsplit(url.reveal())
    user, password = parts.username, parts.password
    who = "" if user is None else f"{user}{'' if password is None else f':{MASK}'}@"
    place = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{who}{place}{parts.path}" + ("?…" if parts.query else "")


class AmqpUrl(Kind[Secret]):
    """The URL of a RabbitMQ node (https://www.rabbitmq.com/docs/uri-spec); hidden."""

    def read(self, value: object) -> Secret:
        """Return the value, hidden."""
        if not isinstance(value, str) or not re.match("amqps?://", value):
            raise ConfigError("must be a URL that begins with amqp:// or amqps://")
        parts = _split(value)
        if parts is None or parts.fragment:
            raise ConfigError("must be a URL as amqp://user:password@host:port/vhost", fix=_ENCODE)
        if parts.path.count("/") > 1:
            raise ConfigError("has more than one part after the host", fix=_ENCODE)
        return Secret(value)


class AmqpUrls(ListOf[tuple[Secret, ...]]):
    """The URLs of several nodes, in the order to try them."""

    def read(self, value: object) -> tuple[Secret, ...]:
        """Return the values, hidden."""
        return tuple(AmqpUrl().read(url) for url in self.strings(value))


class ApiUrl(Kind[str]):
    """Where Slack's Web API is."""

    def read(self, value: object) -> str:
        """Return the URL with a slash at its end."""
        parts = _split(value) if isinstance(value, str) else None
        if parts is None or parts.scheme not in ("http", "https"):
            raise ConfigError("must be a URL such as https://slack.com/api/")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise ConfigError("must be a URL without user, password, query and fragment")
        return parts.geturl().rstrip("/") + "/"


class PublicUrl(Kind[str]):
    """The URL by which programs reach the gateway, or "" for the host that they name."""

    def read(self, value: object) -> str:
        """Return the URL without a slash at its end."""
        parts = _split(value) if isinstance(value, str) and value else None
        if value == "":
            return ""
        if parts is None or parts.scheme not in ("http", "https"):
            raise ConfigError("must be a URL such as https://gateway.example, or empty")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise ConfigError("must be a URL without user, password, query and fragment")
        return parts.geturl().rstrip("/")


class ProxyUrl(Kind[Secret]):
    """The URL of an HTTP proxy, or "" for none; hidden: it may have a password."""

    def read(self, value: object) -> Secret:
        """Return the value, hidden."""
        parts = _split(value) if isinstance(value, str) and value else None
        if value != "" and (parts is None or parts.scheme != "http"):
            raise ConfigError("must be a URL such as http://proxy.example:3128, or empty")
        return Secret(str(value))


class UrlFile(Kind[tuple[Secret, ...]]):
    """A file with one URL on each line."""

    def read(self, value: object) -> tuple[Secret, ...]:
        """Read the file; return the URLs, hidden."""
        urls = tuple(AmqpUrl().read(line) for line in _lines(str(value)))
        if not urls:
            raise ConfigError("the file is empty")
        return urls


class TokenFile(Kind[Secret]):
    """A file with a token and nothing else."""

    def read(self, value: object) -> Secret:
        """Read the file; return the token, hidden."""
        lines = _lines(str(value))
        if len(lines) != 1:
            raise ConfigError(f"the file must hold one line, the token; it has {len(lines)}")
        return Secret(Token().read(lines[0]).reveal(), str(value))


class GatewayTokenFile(Kind[Secret]):
    """A file with the token of one program of the gateway and nothing else."""

    def read(self, value: object) -> Secret:
        """Read the file; return the token, hidden. An error names a file that surely is one."""
        path = str(value)
        try:
            lines = _lines(path)
            if len(lines) != 1:
                raise ConfigError(f"the file must hold one line, the token; it has {len(lines)}")
            return GatewayToken().read(lines[0])
        except ConfigError as error:
            name = f"{path}: " if is_place(Path(path)) else ""
            raise ConfigError(f"{name}{error.problem}", fix=error.fix or MADE_WITH) from None


def is_place(path: Path) -> bool:
    """Return whether a value is the path of a file, and not a token that was written in its place.

    One whose file is missing counts where its folder is there.
    """
    try:
        return path.is_file() or (len(path.parts) > 2 and path.parent.is_dir())
    except (OSError, ValueError):
        return False


def is_blank(path: Path) -> bool:
    """Return whether a file holds white space alone; one that can't be read does not count."""
    try:
        with path.open("rb") as file:
            return not file.read(_LONGEST).strip()
    except OSError:
        return False


def mode_for_all(path: Path) -> str:
    """Return a file's mode if all users of this machine may read or write it, else ""."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return ""
    return f"{mode & 0o7777:04o}" if mode & 0o006 else ""


def holds_secret(value: object) -> bool:
    """Return whether a TOML value looks like a token, or like a URL with a password."""
    if isinstance(value, list):
        return any(map(holds_secret, value))
    return isinstance(value, str) and masked(value) == MASK


def _lines(path: str) -> list[str]:
    """Return the lines of a file with a secret, without blank ones; errors never quote them."""
    try:
        with Path(path).open("rb") as file:
            content = file.read(_LONGEST)
        lines = content.decode("ascii").splitlines()
    except OSError as error:
        raise ConfigError(f"can't read the file: {reason(error)}") from None
    except UnicodeDecodeError:
        raise ConfigError("the file must hold ASCII characters only") from None
    return [line.strip() for line in lines if line.strip()]
