"""The names of an event in RabbitMQ: routing key, exchange part, message id, headers.

Laws:

- The names depend on the body and on the facts that the spool keeps with it, on nothing else: an
  event that is published again has the same names.
- Two different events never share a message id. Its first letter is its class. The parts can't
  contain the ":" between them; a part with other odd characters is replaced by its hash.
- All that leaves here fits into AMQP: short strings have at most 255 bytes.

This runs for every event, 20,000 times a second: what can be known in advance is kept.
"""

from __future__ import annotations

import re
from functools import lru_cache
from hashlib import blake2b
from typing import Any

import msgspec

from rtmpump.core import envelopes
from rtmpump.core.frames import Head, head, is_json

UNKNOWN = "unknown"
BACKFILL = "backfill"
PAYLOAD = "payload"
PAYLOAD_LEFT_OUT = "payload_left_out"

_WORD_MAX = 100
_SHORT_STRING = 255
_NAMES_KEPT = 2048
_PART = r"[A-Za-z0-9_.-]{0,48}"

_ODD = re.compile(r"[^A-Za-z0-9_-]")
_is_part = re.compile(_PART).fullmatch
_is_stem = re.compile(rf"[me](?::{_PART}){{4}}").fullmatch
_NOTHING = Head()
# Socket Mode says that a message came with a file; RTM and the history don't.
_UNTOLD_SUBTYPE = "file_share"
# What people and programs write in a thread; none of these changes another message.
_REPLIES = ("", _UNTOLD_SUBTYPE, "bot_message", "me_message", "thread_broadcast")
# Their `ts` says up to where a person has read: it comes again when that is set again.
_POSITIONS = frozenset({"channel_marked", "group_marked", "im_marked", "mpim_marked"})


class Route(msgspec.Struct, frozen=True, gc=False):
    """How one event is published.

    `type` is the event's part of the exchange name `rtm.<type>`. `channel` and `user` are "" if the
    event has none that fits. `received_ms` is in milliseconds since 1970. `facts` are further
    headers. If `body` is not empty, it is published in place of what the spool has. `is_json`:
    consumers can parse the body. `asks` is the id of an envelope whose acknowledgement may have an
    answer; `reply_to` and `correlation_id` are there if a consumer is to give it.
    """

    routing_key: str
    type: str
    message_id: str
    received_ms: int
    seq: int
    team: str
    bot: str
    channel: str
    user: str
    facts: dict[str, Any] | None = None
    body: bytes = b""
    is_json: bool = True
    asks: str = ""
    reply_to: str = ""
    correlation_id: str = ""

    @property
    def timestamp(self) -> int:
        """When it was received, in seconds since 1970."""
        return self.received_ms // 1000

    @property
    def headers(self) -> dict[str, Any]:
        """A new dict each time, so the caller may add to it."""
        own: dict[str, Any] = dict(self.words())
        own["received_at"] = self.received_ms
        own["seq"] = self.seq
        if self.facts:
            own.update(self.facts)
        return own

    def words(self) -> list[tuple[str, str]]:
        """Return the headers that many events share, in the order in which they are written."""
        words = [("team", self.team), ("bot", self.bot)]
        if self.channel:
            words.append(("channel", self.channel))
        if self.user:
            words.append(("user", self.user))
        return words


def route(
    body: bytes,
    *,
    seq: int,
    received_ms: int,
    team: str,
    bot: str,
    epoch: str,
    source: str = "",
) -> Route:
    """Name an event; never raises, whatever `body` is.

    `received_ms` is in milliseconds since 1970. `epoch` and `seq` are those of the spool that
    accepted the event first; `source` is where the event came from, as the spool keeps it.
    """
    if source == envelopes.SOURCE:
        opened = envelopes.read(body)
        if opened is not None:
            # Damage to the spool may have taken it.
            team = team or opened.facts.get("team_id", "")
            return _route_of_envelope(opened, received_ms, team, bot, seq)
    seen = head(body) or _NOTHING
    key, kind = _names(seen.type, seen.subtype)
    message_id = (
        _message_id_of_message(seen, team)
        or _message_id_of_stamped(seen, kind, body, team)
        or f"s:{_part(epoch)}:{seq}"
    )
    channel, user = _short(seen.channel), _short(seen.user)
    facts = {BACKFILL: True} if source == BACKFILL else None
    parses = seen is not _NOTHING or is_json(body)
    return Route(
        key, kind, message_id, received_ms, seq, team, bot, channel, user, facts, b"", parses
    )


def _route_of_envelope(
    opened: envelopes.Envelope, received_ms: int, team: str, bot: str, seq: int
) -> Route:
    """Name what was in an envelope; a message has the same names as over RTM."""
    key, kind = _names(opened.type, opened.subtype)
    message_id, channel, user = "", opened.channel, opened.user
    seen = opened.seen or head(opened.body) or _NOTHING
    if opened.kind == envelopes.EVENTS_API:
        channel, user = _short(seen.channel), _short(seen.user)
        message_id = _message_id_of_message(seen, team) or _message_id_of_stamped(
            seen, kind, opened.body, team
        )
    message_id = message_id or f"v:{_part(team)}:{_part(opened.identity)}"
    facts, body = opened.facts, opened.body
    if opened.payload:
        around = envelopes.wrapping(opened.payload)
        facts |= {PAYLOAD: around} if around else {PAYLOAD_LEFT_OUT: True}
    parses = seen is not _NOTHING or is_json(body)
    return Route(
        key,
        kind,
        message_id,
        received_ms,
        seq,
        team,
        bot,
        channel,
        user,
        facts,
        body,
        parses,
        opened.id if opened.takes_answer else "",
    )


def clean(word: str) -> str:
    """Return a word for a routing key: at most 100 characters, "_" for all but `[A-Za-z0-9_-]`."""
    return _ODD.sub("_", word[:_WORD_MAX])


def is_listed(type: str, subtype: str, words: frozenset[str]) -> bool:
    """Return whether `events.ignore` or `slack.answered`, which these words are, names this event.

    The words are those that consumers see: "message" means all its subtypes too,
    "message.channel_join" that one, "unknown" events without a usable type.
    """
    if not words:
        return False
    key, kind = _names(type, subtype)
    return kind in words or key in words


def _names(type: object, subtype: object) -> tuple[str, str]:
    """Return the routing key and the type as consumers see them."""
    if not isinstance(type, str) or not type:
        return UNKNOWN, UNKNOWN
    # Cut here, so that what is kept stays small whatever Slack sends.
    return _kept_names(type[:_WORD_MAX], subtype[:_WORD_MAX] if isinstance(subtype, str) else "")


@lru_cache(maxsize=_NAMES_KEPT)
def _kept_names(type: str, subtype: str) -> tuple[str, str]:
    kind = clean(type)
    return (f"{kind}.{clean(subtype)}" if subtype else kind), kind


def _message_id_of_message(seen: Head, team: str) -> str:
    """Return the id of class 1, messages that people see; "" for all else.

    Any other copy of the message, also one of a backfill, gets the same id.
    """
    if seen.type != "message":
        return ""
    channel, ts, subtype = seen.channel, seen.ts, "" if seen.subtype is None else seen.subtype
    if not (isinstance(channel, str) and isinstance(ts, str) and isinstance(subtype, str)):
        return ""
    if not (seen.hidden is None or seen.hidden is False or _is_reply(seen, subtype)):
        return ""
    name = f"m:{team}:{channel}:{ts}:{'' if subtype == _UNTOLD_SUBTYPE else subtype}"
    return name if channel and ts and _is_stem(name) else ""


def _is_reply(seen: Head, subtype: str) -> bool:
    """Return whether it is a reply in a thread, which RTM calls hidden and the history does not."""
    thread = seen.thread_ts
    return isinstance(thread, str) and thread not in ("", seen.ts) and subtype in _REPLIES


def _message_id_of_stamped(seen: Head, kind: str, body: bytes, team: str) -> str:
    """Return the id of class 2, other events with a time of their own; "" for those without."""
    event_ts = seen.event_ts if isinstance(seen.event_ts, str) else ""
    ts = seen.ts if isinstance(seen.ts, str) and kind not in _POSITIONS else ""
    if not event_ts and not ts:
        return ""
    stem = f"e:{team}:{kind}:{event_ts}:{ts}"
    if not _is_stem(stem):
        stem = ":".join(("e", _part(team), _part(kind), _part(event_ts), _part(ts)))
    return f"{stem}:{blake2b(body, digest_size=16).hexdigest()}"


def _part(word: str) -> str:
    """Return the word itself; if it is odd or long, a readable part of it and its hash."""
    if _is_part(word):
        return word
    digest = blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
    return f"{clean(word)[:30]}~{digest}"


def _short(word: object) -> str:
    """Return a string that fits into a header, "" for all else."""
    if not isinstance(word, str) or len(word) > _SHORT_STRING:
        return ""
    return word if word.isascii() or len(word.encode()) <= _SHORT_STRING else ""
