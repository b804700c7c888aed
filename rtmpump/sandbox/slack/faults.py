"""All that a simulated workspace can do wrong on request, in one place.

Set the fields of `workspace.faults` at any time; they count from then on. A field that is a queue
loses one entry from its front on each occasion; when it is empty, all is well again. Faults that
happen at once are methods of the workspace: `goodbye`, `close`, `cut`, `reset`, `silence`, `raw`,
`down` and `up`.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, TypeAlias, TypeVar

from rtmpump.slack_side import socket_mode, tickets

_Entry = TypeVar("_Entry")
_Otherwise = TypeVar("_Otherwise")

_NOTHING: deque[Any] = deque()
EXPIRED_URL = {"code": 1, "msg": "Socket URL has expired"}


@dataclass(frozen=True)
class HttpAnswer:
    """An HTTP answer instead of the right one; `headers` win over the usual ones."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str | bytes = ""


@dataclass(frozen=True)
class Hang:
    """No answer for `seconds`, then the right one."""

    seconds: float


@dataclass(frozen=True)
class Reset:
    """A reset of the connection (RST) instead of an answer."""


@dataclass(frozen=True)
class Raw:
    """These bytes instead of an answer, and the end of the connection."""

    data: bytes


# What a Web API call can meet: one of the above, a Slack error code ("invalid_auth"), or the
# members of the answer itself.
ApiFault: TypeAlias = "HttpAnswer | Hang | Reset | str | dict[str, Any]"
HandshakeFault: TypeAlias = "HttpAnswer | Hang | Reset | Raw"


class AnswerKind(Enum):
    """What happens to one message that a client sends."""

    NORMAL = "normal"
    ERROR = "error"
    NEVER = "never"
    LATE = "late"
    TWICE = "twice"
    ECHO_BEFORE = "echo before"
    ECHO_AFTER = "echo after"
    ECHO_ONLY = "echo only"
    CUT_BEFORE_REPLY = "cut before reply"
    CUT_BEFORE_ACCEPT = "cut before accept"


@dataclass(frozen=True)
class Answer:
    """How a message is answered; `code` and `msg` are of an error, `seconds` of a late reply."""

    kind: AnswerKind
    code: int = 0
    msg: str = ""
    seconds: float = 0.0


NORMAL = Answer(AnswerKind.NORMAL)
NEVER = Answer(AnswerKind.NEVER)
TWICE = Answer(AnswerKind.TWICE)
ECHO_BEFORE = Answer(AnswerKind.ECHO_BEFORE)
ECHO_AFTER = Answer(AnswerKind.ECHO_AFTER)
ECHO_ONLY = Answer(AnswerKind.ECHO_ONLY)
CUT_BEFORE_REPLY = Answer(AnswerKind.CUT_BEFORE_REPLY)
CUT_BEFORE_ACCEPT = Answer(AnswerKind.CUT_BEFORE_ACCEPT)


def error(code: int, msg: str) -> Answer:
    """Refuse the message: `{"ok": false, "error": {"code": …, "msg": …}}`."""
    return Answer(AnswerKind.ERROR, code=code, msg=msg)


def late(seconds: float) -> Answer:
    """Accept the message, and reply after `seconds`; other replies may overtake it."""
    return Answer(AnswerKind.LATE, seconds=seconds)


ReplyPolicy: TypeAlias = "Answer | Callable[[dict[str, Any]], Answer] | deque[Answer]"


@dataclass
class Faults:
    """The switches of one workspace; with these defaults nothing goes wrong.

    Web API:
        `api_errors[method]` (or `["*"]` for any) is a queue of `ApiFault`s for the next calls.
        `url_ttl`: for how many seconds a WebSocket URL can be used; 0 = it expires at once. A queue
        has one for each URL that a client uses, then all is well.
        `connect_url`, if not "": rtm.connect answers with this URL instead of the right one.
        `place`, if not "": host and port in that URL, such as those of a proxy before us.
    Opening of the WebSocket:
        `handshakes` is a queue of `HandshakeFault`s for the next upgrades.
        `hello` is what follows the upgrade: "send", "never", or "error" (the frame `hello_error`,
        then a close); a queue has one for each connection, then "send".
        `repeat_last_reply`: after hello comes the reply ("reply") or the echo ("echo") to the last
        message that was accepted on an earlier connection; "" = neither.
    Answers to messages:
        `reply_policy` is an `Answer` for all, a queue of them, or a function of the client's frame.
        It counts for chat.postMessage too (NEVER: accepted, but no answer; the `msg` of an error is
        Slack's error code). `post_rate` is in messages a second for each channel (HTTP 429).
        `rate_limit`: messages a second for each connection; faster ones are refused with code -1.
    Socket Mode:
        `ack_seconds`: how long an envelope may stay unacknowledged; `retry_after`: how long after
        that each further try comes; `same_envelope_id`: whether a retry has the id of the first.
        `copies`: to how many connections each event goes at once.
        `deaf_to_acks`: acknowledgements get lost on the way.
        `most_sockets`: further connections are refused as `too_many_websockets`.
        `ping_seconds`: how often each connection gets a WebSocket ping.
    Interactions:
        `trigger_ttl`: for how many seconds a trigger_id can be used.
    Delivery:
        `byte_by_byte`: each byte is sent alone.
        `fragment`: messages are cut into WebSocket fragments of so many bytes; 0 = not cut.
    """

    api_errors: defaultdict[str, deque[ApiFault]] = field(
        default_factory=lambda: defaultdict(deque)
    )
    url_ttl: float | deque[float] = tickets.GOOD_FOR
    connect_url: str = ""
    place: str = ""
    handshakes: deque[HandshakeFault] = field(default_factory=deque)
    hello: str | deque[str] = "send"
    hello_error: dict[str, Any] = field(default_factory=lambda: dict(EXPIRED_URL))
    repeat_last_reply: str = ""
    reply_policy: ReplyPolicy = NORMAL
    rate_limit: float | None = None
    post_rate: float | None = None
    byte_by_byte: bool = False
    fragment: int = 0
    ack_seconds: float = socket_mode.ACK_SECONDS
    retry_after: tuple[float, ...] = (0.0, 60.0, 300.0)
    same_envelope_id: bool = False
    copies: int = 1
    deaf_to_acks: bool = False
    most_sockets: int = socket_mode.CONNECTIONS_MAX
    ping_seconds: float = 5.0
    trigger_ttl: float = socket_mode.TRIGGER_SECONDS

    def next_api_fault(self, method: str) -> ApiFault | None:
        """Take the fault of the next call of `method`, or None."""
        for key in (method, "*"):
            fault: ApiFault | None = _front(self.api_errors.get(key, _NOTHING), None)
            if fault is not None:
                return fault
        return None

    def next_handshake(self) -> HandshakeFault | None:
        """Take the fault of the next WebSocket upgrade, or None."""
        return _front(self.handshakes, None)

    def next_url_ttl(self) -> float:
        """Take the seconds for which the URL that is used now is good."""
        ttl = self.url_ttl
        return _front(ttl, tickets.GOOD_FOR) if isinstance(ttl, deque) else ttl

    def next_hello(self) -> str:
        """Take what follows the next upgrade: "send", "never" or "error"."""
        return self.hello if isinstance(self.hello, str) else _front(self.hello, "send")

    def answer_to(self, frame: dict[str, Any]) -> Answer:
        """Take the answer to the message `frame`."""
        policy = self.reply_policy
        if isinstance(policy, Answer):
            return policy
        if isinstance(policy, deque):
            return _front(policy, NORMAL)
        return policy(frame)


def _front(queue: deque[_Entry], otherwise: _Otherwise) -> _Entry | _Otherwise:
    """Take the next entry in one step: two connections may ask at the same time."""
    try:
        return queue.popleft()
    except IndexError:
        return otherwise
