"""The tree of errors: each says what is at fault and what happens next.

An error holds its facts as fields; `__str__` makes the one line for users. `fate` says what the
daemon does: try again, stop for good, or reject this one input and go on. No field may ever hold a
token or a password of the broker.
"""

from __future__ import annotations

from enum import Enum


class Fate(Enum):
    """What happens after an error."""

    RETRY = "retry"
    FATAL = "fatal"
    REJECTED = "rejected"


EXIT_DONE = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_UNREACHABLE = 69
EXIT_CONFIG = 78


class RtmpumpError(Exception):
    """The root. If this error ends the program, it ends with `exit_code`."""

    fate = Fate.FATAL
    exit_code = EXIT_FAILED


class ConfigError(RtmpumpError):
    """The configuration is wrong: `key` as `section.key`, `where` a file or variable.

    `more` holds the other mistakes that were found with this one.
    """

    exit_code = EXIT_CONFIG
    more: tuple[ConfigError, ...] = ()

    def __init__(self, problem: str, *, key: str = "", where: str = "", fix: str = "") -> None:
        super().__init__(problem, key, where, fix)
        self.problem = problem
        self.key = key
        self.where = where
        self.fix = fix

    def __str__(self) -> str:
        place = ": ".join(part for part in (self.where, self.key) if part)
        line = f"{place}: {self.problem}" if place else self.problem
        return f"{line}; {self.fix}" if self.fix else line


class TokenRefused(RtmpumpError):
    """Slack will never accept this token; `code` is Slack's error code (`invalid_auth` …)."""

    exit_code = EXIT_CONFIG

    def __init__(self, code: str, fix: str) -> None:
        super().__init__(code, fix)
        self.code = code
        self.fix = fix

    def __str__(self) -> str:
        return f"Slack refused the token ({self.code}); {self.fix}"


class ServiceUnreachable(RtmpumpError):
    """A service that the command needs did not answer."""

    exit_code = EXIT_UNREACHABLE

    def __init__(self, service: str, detail: str, fix: str = "") -> None:
        super().__init__(service, detail, fix)
        self.service = service
        self.detail = detail
        self.fix = fix

    def __str__(self) -> str:
        line = f"{self.service} is not reachable: {self.detail}"
        return f"{line}; {self.fix}" if self.fix else line


class PortRefused(RtmpumpError):
    """A port can't be opened; `listen` is the value of its `key`."""

    def __init__(self, listen: str, problem: str, *, key: str = "http.listen") -> None:
        super().__init__(listen, problem, key)
        self.listen = listen
        self.problem = problem
        self.key = key

    def __str__(self) -> str:
        fix = "choose another port"
        if self.key == "http.listen":
            fix = f'{fix}, or set http.listen = "" for none'
        return f"{self.key}: can't listen on {self.listen}: {self.problem}; {fix}"


class LinkError(RtmpumpError):
    """A link to the outside (Slack or RabbitMQ) failed or ended; it is made again.

    `reason` is one short word for metrics (`goodbye`, `reset` …), `detail` a line for people,
    `retry_after` the seconds that the peer asks us to wait, `at_once` whether the first new try
    needs no wait, `held` for how many seconds the link had been up.
    """

    fate = Fate.RETRY

    def __init__(
        self,
        link: str,
        reason: str,
        detail: str = "",
        *,
        retry_after: float | None = None,
        at_once: bool = False,
        held: float = 0.0,
    ) -> None:
        super().__init__(link, reason, detail)
        self.link = link
        self.reason = reason
        self.detail = detail
        self.retry_after = retry_after
        self.at_once = at_once
        self.held = held

    @property
    def problem(self) -> str:
        """What happened, for people; the reason where nothing more is known."""
        return self.detail or self.reason

    def __str__(self) -> str:
        return f"{self.link}: {self.reason}" + (f" ({self.detail})" if self.detail else "")


class NotConnected(LinkError):
    """Nothing was written: the link is down."""


class WriteFailed(LinkError):
    """The link broke while a frame was written; how much of it arrived is unknown."""


class CommandRejected(RtmpumpError):
    """A command that can never be executed; `code` is one of the contract, `field` is at fault."""

    fate = Fate.REJECTED

    def __init__(self, code: str, message: str, field: str = "") -> None:
        super().__init__(code, message, field)
        self.code = code
        self.message = message
        self.field = field

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"


class SpoolError(RtmpumpError):
    """The spool file can't be used; `path` is the file."""

    def __init__(self, path: str, problem: str, fix: str = "") -> None:
        super().__init__(path, problem, fix)
        self.path = path
        self.problem = problem
        self.fix = fix

    def __str__(self) -> str:
        line = f"spool {self.path}: {self.problem}"
        return f"{line}; {self.fix}" if self.fix else line


class SpoolLocked(SpoolError):
    """Another process holds the spool."""


class SpoolFull(SpoolError):
    """`spool.max_bytes` is reached and the policy is `block`: wait for confirms, then try again."""

    fate = Fate.RETRY


class SpoolFailed(SpoolError):
    """The disk failed on a write or a read (full, I/O error); nothing was accepted: try again."""

    fate = Fate.RETRY


class SpoolCorrupt(SpoolError):
    """The file is damaged: it is set aside, and a new one is started."""
