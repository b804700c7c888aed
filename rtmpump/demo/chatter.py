"""The events of a lively workspace and the commands of a service; a seed makes them repeatable.

The events are of Slack's documented types and shapes
(https://docs.slack.dev/reference/events), and of one type that Slack does not have.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any, Final, NamedTuple

CHANNELS: Final = {
    "general": "C0GENERAL",
    "random": "C0RANDOM",
    "deploys": "C0DEPLOYS",
    "support": "C0SUPPORT",
    "U0ALICE": "D0ALICE",
}
"""Names and ids of the simulated workspace's channels."""

UNKNOWN_TYPE: Final = "canvas_sparkled"
"""The one emitted type that Slack never documented."""

PEOPLE: Final = {"U0ALICE": "Alice", "U0BORIS": "Boris", "U0CHLOE": "Chloe", "U0DEEPA": "Deepa"}
"""Ids and names of the simulated workspace's people."""

_USERS: Final = tuple(PEOPLE)
_TEXTS: Final = (
    "Who has seen the coffee filters?",
    "The build is green again 🎉",
    "Réunion à 15 h, salle 2",
    "Can somebody look at ticket 4711?",
    "Deploying 2.4.1 to staging",
    "Lunch? The new place has dumplings",
    "こんにちは、みなさん",
    "The dashboard says 99.98 % this month",
    "I'll be ten minutes late, sorry",
    "That was the cache. It is always the cache.",
)
_REACTIONS: Final = ("thumbsup", "eyes", "tada", "coffee", "white_check_mark")
_ANSWERS: Final = (
    "On it.",
    "Ticket 4711 is mine now.",
    "Disk of web-3 is at 81 %.",
    "Backup finished in 4 min.",
    "Certificate renewed until May.",
)
_RECENT: Final = 20
_THREADS: Final = 2


class Request(NamedTuple):
    """A command: its JSON fields, and whether it must be rejected."""

    body: dict[str, Any]
    bad: bool


class Chatter:
    """Makes events and commands; one thread may ask for events and another for commands."""

    def __init__(self, seed: int, team: str, mode: str = "rtm") -> None:
        self._kinds = _KINDS if mode == "rtm" else _KINDS_OF_THE_EVENTS_API
        self._events = random.Random(seed)  # noqa: S311 - a play needs no secrets
        self._commands = random.Random(seed + 1)  # noqa: S311
        self._team = team
        self._micros = 0
        self._asked = 0
        self._recent: list[tuple[str, str, str]] = []
        self._threads: list[tuple[str, str, str]] = []

    def event(self) -> dict[str, Any]:
        """Return the next event of the workspace."""
        kinds, weights = zip(*self._kinds, strict=True)
        make: Callable[[Chatter], dict[str, Any]] = self._events.choices(kinds, weights)[0]
        return make(self)

    def command(self) -> Request:
        """Return the next command of the service; the third one is bad."""
        self._asked += 1
        text = f"{self._commands.choice(_ANSWERS)} (demo {self._asked})"
        if self._asked == 3:
            return Request({"channel": "general", "txt": text}, bad=True)
        return Request(self._good_command(text), bad=False)

    def _good_command(self, text: str) -> dict[str, Any]:
        turn = self._asked % 5
        threads = list(self._threads)
        if turn in (2, 4) and threads:
            channel, ts, _ = self._commands.choice(threads)
            thread: dict[str, Any] = {"channel": channel, "text": text, "thread_ts": ts}
            return thread | ({"reply_broadcast": True} if turn == 4 else {})
        names = [name for name in CHANNELS if not name.startswith("U")]
        name = names[self._asked % len(names)]
        channel = (f"#{name}", CHANNELS[name], name)[self._asked % 3]
        return {"type": "message", "channel": channel, "text": text}

    def _message(self) -> dict[str, Any]:
        channel, user, ts = self._channel(), self._user(), self._ts()
        self._recent = [*self._recent[-_RECENT:], (channel, ts, user)]
        # A few long threads, as people have them; backfill asks Slack once for each.
        self._threads = [*self._threads, (channel, ts, user)][:_THREADS]
        return self._said(channel, user, ts) | {"text": self._events.choice(_TEXTS)}

    def _thread_reply(self) -> dict[str, Any]:
        if not self._threads:
            return self._message()
        channel, parent, author = self._events.choice(self._threads)
        reply = self._said(channel, self._user(), self._ts())
        thread = {"thread_ts": parent, "parent_user_id": author}
        return reply | thread | {"text": self._events.choice(_TEXTS)}

    def _changed(self) -> dict[str, Any]:
        if not self._recent:
            return self._message()
        channel, ts, user = self._events.choice(self._recent)
        now = self._ts()
        edited = {"user": user, "ts": now}
        text = f"{self._events.choice(_TEXTS)} (edited)"
        message = {"type": "message", "user": user, "text": text, "ts": ts, "edited": edited}
        return {
            "type": "message",
            "subtype": "message_changed",
            "hidden": True,
            "channel": channel,
            "ts": now,
            "event_ts": now,
            "message": message,
        }

    def _reaction(self) -> dict[str, Any]:
        if not self._recent:
            return self._message()
        channel, ts, author = self._events.choice(self._recent)
        return {
            "type": "reaction_added",
            "user": self._user(),
            "reaction": self._events.choice(_REACTIONS),
            "item_user": author,
            "item": {"type": "message", "channel": channel, "ts": ts},
            "event_ts": self._ts(),
        }

    def _typing(self) -> dict[str, Any]:
        return {"type": "user_typing", "channel": self._channel(), "user": self._user()}

    def _presence(self) -> dict[str, Any]:
        presence = self._events.choice(("active", "away"))
        return {"type": "presence_change", "user": self._user(), "presence": presence}

    def _joined(self) -> dict[str, Any]:
        return {
            "type": "member_joined_channel",
            "user": self._user(),
            "channel": self._channel(),
            "channel_type": "C",
            "team": self._team,
            "event_ts": self._ts(),
        }

    def _mention(self) -> dict[str, Any]:
        said = self._said(self._channel(), self._user(), self._ts())
        return said | {"type": "app_mention", "text": f"<@U0PUMP> {self._events.choice(_TEXTS)}"}

    def _home(self) -> dict[str, Any]:
        event = {"type": "app_home_opened", "user": self._user(), "channel": "D0ALICE"}
        return event | {"tab": "home", "event_ts": self._ts()}

    def _unheard_of(self) -> dict[str, Any]:
        return {"type": UNKNOWN_TYPE, "user": self._user(), "sparkles": self._events.randint(1, 9)}

    def _said(self, channel: str, user: str, ts: str) -> dict[str, Any]:
        message = {"type": "message", "channel": channel, "user": user, "team": self._team}
        return message | {"ts": ts, "event_ts": ts}

    def _channel(self) -> str:
        return self._events.choice(list(CHANNELS.values()))

    def _user(self) -> str:
        return self._events.choice(_USERS)

    def _ts(self) -> str:
        """Return a `ts` of now: seconds and microseconds, greater than all before."""
        self._micros = max(time.time_ns() // 1000, self._micros + 1)
        return f"{self._micros // 1_000_000}.{self._micros % 1_000_000:06d}"


_KINDS: Final[tuple[tuple[Callable[[Chatter], dict[str, Any]], int], ...]] = (
    (Chatter._message, 40),
    (Chatter._thread_reply, 14),
    (Chatter._reaction, 14),
    (Chatter._typing, 12),
    (Chatter._presence, 8),
    (Chatter._changed, 6),
    (Chatter._joined, 4),
    (Chatter._unheard_of, 2),
)
# The Events API does not report who is typing, nor who is present.
_OF_RTM: Final = (Chatter._typing, Chatter._presence)
_KINDS_OF_THE_EVENTS_API: Final = (
    *(kind for kind in _KINDS if kind[0] not in _OF_RTM),
    (Chatter._mention, 6),
    (Chatter._home, 4),
)
