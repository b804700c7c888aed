"""The response URLs that come with commands and buttons, and what apps say through them.

Source: https://docs.slack.dev/interactivity/handling-user-interaction#message_responses: such a URL
takes five answers within thirty minutes. An answer is seen by one person unless it says
`in_channel`; it may also replace or delete the message that the button stood in. The errors of a
URL that is over are not documented; these were seen on the wire.
"""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, TypeAlias

from rtmpump.sandbox.slack import editing, posting, rtm
from rtmpump.sandbox.slack.http_wire import as_text
from rtmpump.sandbox.slack.hub import Hub

Json: TypeAlias = dict[str, Any]

PATH: Final = "/respond/"
_USES: Final = 5
_SECONDS: Final = 30 * 60.0


class PersonalAnswer(NamedTuple):
    """What an app answered: who sees it where; `url` is "" for an acknowledgement."""

    user: str
    channel: str
    members: Json
    url: str


@dataclass
class _Place:
    """What a URL is for; `ts` is "" unless it belongs to a message."""

    user: str
    channel: str
    ts: str
    issued: float
    uses: int = 0


class Responses:
    """The open response URLs of a workspace."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._places: dict[str, _Place] = {}
        self.all: list[PersonalAnswer] = []

    def issue(self, user: str, channel: str, ts: str = "") -> str:
        """Return the path of a new URL."""
        path = f"{PATH}{self._hub.registry.team}/{secrets.token_hex(12)}"
        with self._hub.changed:
            self._places[path] = _Place(user, channel, ts, time.monotonic())
        return path

    def take(self, path: str, members: Json) -> tuple[int, Json]:
        """Take what an app sent to a URL; return HTTP status and answer."""
        with self._hub.changed:
            place = self._places.get(path)
            if place is None:
                return 404, {"ok": False, "error": "no_service"}
            if time.monotonic() - place.issued > _SECONDS:
                return 404, {"ok": False, "error": "Expired url"}
            if place.uses >= _USES:
                return 404, {"ok": False, "error": "used_url"}
            problem = "" if members.get("delete_original") else _problem(members)
            if problem:
                return 200, {"ok": False, "error": problem}
            place.uses += 1
        self._say(place, members, path)
        return 200, {"ok": True}

    def heed(self, path: str, answer: object) -> None:
        """Say what came with the acknowledgement of a command; one without content says nothing."""
        if isinstance(answer, dict) and not _problem(answer):
            # Whoever reads acknowledgements must not wait for a peer that does not read.
            self._hub.spawn(lambda: self._say(self._places[path], answer, ""))

    def _say(self, place: _Place, members: Json, url: str) -> None:
        hub = self._hub
        event = None
        with hub.changed:
            message = hub.registry.archive.find(place.channel, place.ts) if place.ts else None
            if message is not None and members.get("delete_original"):
                event = editing.delete(hub, place.channel, message)
            elif message is not None and members.get("replace_original"):
                new = posting.content(as_text(members))
                event = editing.change(hub, place.channel, message, new)
            elif members.get("response_type") == "in_channel":
                event = hub.keep(self._new(place, members))
            hub.note(self.all, PersonalAnswer(place.user, place.channel, members, url))
        if event is not None:
            hub.publish(event)

    def _new(self, place: _Place, members: Json) -> Json:
        message = {"channel": place.channel} | posting.content(as_text(members))
        if members.get("thread_ts"):
            message["thread_ts"] = members["thread_ts"]
        return message | rtm.message_event(message, self._hub.next_ts(), self._hub.author)


def _problem(members: Json) -> str:
    return posting.content_problem(as_text(members))
