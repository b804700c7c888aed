"""What a person does in Slack's clients with an app: commands, shortcuts, buttons, modals.

Everything is sent over Socket Mode only. Sources: https://docs.slack.dev/interactivity/
implementing-slash-commands, https://docs.slack.dev/interactivity/implementing-shortcuts, and
https://docs.slack.dev/reference/interaction-payloads, one page for each kind of payload.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from rtmpump.sandbox.slack import inputs, rtm
from rtmpump.sandbox.slack.envelopes import Envelopes, SentEnvelope
from rtmpump.sandbox.slack.hub import Hub
from rtmpump.sandbox.slack.registry import APP, DOMAIN, TOKEN
from rtmpump.sandbox.slack.responses import Responses
from rtmpump.sandbox.slack.views import OpenView
from rtmpump.slack_side.socket_mode import INTERACTIVE, SLASH_COMMANDS

Json: TypeAlias = dict[str, Any]


class Person:
    """A user of the workspace; `base` is the beginning of the response URLs."""

    def __init__(
        self, hub: Hub, envelopes: Envelopes, responses: Responses, base: str, user: str
    ) -> None:
        self._hub = hub
        self._envelopes = envelopes
        self._responses = responses
        self._base = base
        self._user = user

    @property
    def views(self) -> list[OpenView]:
        """The open views, the one on top last."""
        with self._hub.changed:
            return self._hub.views.stack(self._user)

    @property
    def view(self) -> OpenView:
        """The view on top.

        Raises:
            LookupError: none is open.
        """
        if not self.views:
            raise LookupError(f"{self._user} has no view open")
        return self.views[-1]

    def slash(self, command: str, text: str = "", channel: str = "general") -> SentEnvelope:
        """Use a slash command in a channel (name or id).

        What comes with the acknowledgement is an answer, as one to the `response_url` is.
        """
        registry = self._hub.registry
        place = registry.channel_id(channel) or channel
        path = self._responses.issue(self._user, place)
        payload = {
            "token": TOKEN,
            "team_id": registry.team,
            "team_domain": DOMAIN,
            "channel_id": place,
            "channel_name": registry.channel_name(place),
            "user_id": self._user,
            "user_name": self._name,
            "command": command,
            "text": text,
            "api_app_id": APP,
            "is_enterprise_install": "false",
            "response_url": self._base + path,
            "trigger_id": self._trigger(),
        }
        return self._envelopes.interaction(
            SLASH_COMMANDS,
            rtm.as_bytes(payload),
            lambda answer: self._responses.heed(path, answer),
        )

    def shortcut(self, callback_id: str, channel: str = "", ts: str = "") -> SentEnvelope:
        """Use a shortcut: a global one, or that of a message with `channel` (name or id) and `ts`.

        Raises:
            LookupError: there is no such message.
        """
        payload = {"callback_id": callback_id, "action_ts": self._hub.next_ts()}
        if not ts:
            return self._interact("shortcut", payload, triggers=True)
        place, message = self._message(channel, ts)
        about = self._about(place, message) | {"message_ts": ts}
        return self._interact("message_action", payload | about, triggers=True)

    def press(
        self, action_id: str, value: object = None, *, channel: str = "", ts: str = ""
    ) -> SentEnvelope:
        """Press a button, or choose `value` in another element, of a message or the view on top.

        Raises:
            LookupError: there is no such element, message or view.
        """
        blocks, about = self._surface(channel, ts)
        found = inputs.find(blocks, action_id)
        block_id, _ = found.place
        action = {"action_id": action_id, "block_id": block_id, "action_ts": self._hub.next_ts()}
        if found.field:
            state = found.filled(value)
            if not ts:
                self.view.write({block_id: {action_id: value}})
                about["view"] = self.view.body
        else:
            state = {k: found.body[k] for k in ("type", "text", "value") if k in found.body}
        return self._interact("block_actions", about | {"actions": [action | state]}, triggers=True)

    def suggest(
        self, action_id: str, text: str, *, channel: str = "", ts: str = ""
    ) -> SentEnvelope:
        """Type in a select menu whose options the app knows; they are the envelope's `answer`.

        Raises:
            LookupError: there is no such element, message or view.
        """
        blocks, about = self._surface(channel, ts)
        block_id, _ = inputs.find(blocks, action_id).place
        about.pop("response_url", None)
        asked = {"action_id": action_id, "block_id": block_id, "value": text}
        return self._interact("block_suggestion", about | asked)

    def submit(self, values: Mapping[str, Mapping[str, object]] | None = None) -> SentEnvelope:
        """Fill inputs of the view on top (`block_id` to `action_id` to value), and submit it.

        The view then does what the app answers, see `views`.

        Raises:
            LookupError: no view is open, or there is no such input.
            ValueError: an input that must be filled is empty; Slack does not submit that.
        """
        view = self.view
        with self._hub.changed:
            view.write(values or {})
            if empty := view.empty():
                raise ValueError(f"these inputs must be filled: {', '.join(empty)}")
        return self._interact(
            "view_submission",
            {"view": view.body, "response_urls": self._response_urls(view)},
            triggers=True,
            heed=lambda answer: self._heed(view, answer),
        )

    def close(self, *, all: bool = False) -> SentEnvelope | None:
        """Close the view on top, or all; the app hears of it if the view has `notify_on_close`.

        Raises:
            LookupError: no view is open.
        """
        view = self.view
        all = all or view.body["clear_on_close"]
        with self._hub.changed:
            self._hub.views.close(view, all=all)
        if not view.body["notify_on_close"]:
            return None
        return self._interact("view_closed", {"view": view.body, "is_cleared": all})

    @property
    def _name(self) -> str:
        return self._hub.registry.people.get(self._user, self._user.lower())

    def _heed(self, view: OpenView, answer: object) -> None:
        with self._hub.changed:
            self._hub.views.heed(view, answer)
            self._hub.changed.notify_all()

    def _response_urls(self, view: OpenView) -> list[Json]:
        """Return a URL for each channel that was chosen where `response_url_enabled` stands."""
        found = []
        for one in inputs.elements(view.body["blocks"]):
            block_id, action_id = one.place
            channel = view.values.get(block_id, {}).get(action_id, {}).get(one.field)
            if channel and one.body.get("response_url_enabled"):
                url = self._base + self._responses.issue(self._user, channel)
                place = {"block_id": block_id, "action_id": action_id, "channel_id": channel}
                found.append(place | {"response_url": url})
        return found

    def _trigger(self) -> str:
        with self._hub.changed:
            return self._hub.views.issue(self._user)

    def _interact(
        self,
        kind: str,
        more: Json,
        *,
        triggers: bool = False,
        heed: Callable[[object], None] | None = None,
    ) -> SentEnvelope:
        team = self._hub.registry.team
        payload: Json = {
            "type": kind,
            "token": TOKEN,
            "team": {"id": team, "domain": DOMAIN},
            "enterprise": None,
            "is_enterprise_install": False,
            "user": {
                "id": self._user,
                "username": self._name,
                "name": self._name,
                "team_id": team,
            },
            "api_app_id": APP,
        }
        if triggers:
            payload["trigger_id"] = self._trigger()
        return self._envelopes.interaction(INTERACTIVE, rtm.as_bytes(payload | more), heed)

    def _surface(self, channel: str, ts: str) -> tuple[list[Json], Json]:
        """Return the blocks of a message or of the view on top, and what payloads say of it."""
        if not ts:
            body = self.view.body
            container: Json = {"type": "view", "view_id": self.view.id}
            return body["blocks"], {"container": container, "view": body}
        place, message = self._message(channel, ts)
        container = {
            "type": "message",
            "message_ts": ts,
            "channel_id": place,
            "is_ephemeral": False,
        }
        about = self._about(place, message) | {"container": container, "state": {"values": {}}}
        return message.get("blocks", []), about

    def _message(self, channel: str, ts: str) -> tuple[str, Json]:
        registry = self._hub.registry
        place = registry.channel_id(channel) or channel
        with self._hub.changed:
            found = registry.archive.find(place, ts)
        if found is None:
            raise LookupError(f"no message {ts} in {channel!r}")
        return place, found

    def _about(self, place: str, message: Json) -> Json:
        """Return what payloads say about a message."""
        name = self._hub.registry.channel_name(place)
        url = self._base + self._responses.issue(self._user, place, message["ts"])
        return {"channel": {"id": place, "name": name}, "message": message, "response_url": url}
