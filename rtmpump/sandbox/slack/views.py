"""The open views of a workspace and the triggers that open them.

Source: https://docs.slack.dev/surfaces/modals. A user has one stack of at most three views. A
`trigger_id` is good once, and for three seconds.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Final, TypeAlias

from rtmpump.sandbox.slack import inputs
from rtmpump.sandbox.slack.registry import APP

Json: TypeAlias = dict[str, Any]

MOST: Final = 3
_BLOCKS_MOST: Final = 100
_TITLE_MOST: Final = 24
_BYTES_MOST: Final = 250_000
_GIVEN: Final = ("private_metadata", "callback_id", "external_id")
_TROUBLE: Final = "We had some trouble connecting. Try again?"


@dataclass(eq=False)
class OpenView:
    """A view that a user has on the screen; `body` is as Slack's answers show it.

    `errors` is what the app said about the inputs at the last submission; `trouble` is what Slack
    says there when it can't use the app's answer.
    """

    user: str
    body: Json
    errors: dict[str, str] = field(default_factory=dict)
    trouble: str = ""

    @property
    def id(self) -> str:
        """The id of the view."""
        return str(self.body["id"])

    @property
    def values(self) -> dict[str, Json]:
        """What the inputs hold: `block_id` to `action_id` to state."""
        found: dict[str, Json] = self.body["state"]["values"]
        return found

    def write(self, values: Mapping[str, Mapping[str, object]]) -> None:
        """Fill inputs, as a person does.

        Raises:
            LookupError: there is no such input.
        """
        for block_id, actions in values.items():
            for action_id, value in actions.items():
                one = inputs.find(self.body["blocks"], action_id, block_id)
                self.values[block_id] = self.values.get(block_id, {}) | {
                    action_id: one.filled(value)
                }

    def empty(self) -> list[str]:
        """Return the block ids of inputs that must be filled before Slack submits the view."""
        found = inputs.elements(self.body["blocks"])
        return [
            one.place[0]
            for one in found
            if one.is_required and not self.values[one.place[0]][one.place[1]].get(one.field)
        ]


class Views:
    """The triggers and the stacks; the lock of the hub guards it."""

    def __init__(self, team: str, bot_id: str) -> None:
        self._team = team
        self._bot_id = bot_id
        self._numbers = count(1)
        self._triggers: dict[str, tuple[str, float]] = {}
        self._used: set[str] = set()
        self._stacks: dict[str, list[OpenView]] = {}

    def issue(self, user: str) -> str:
        """Return a new `trigger_id` for something that the user did."""
        trigger = f"{next(self._numbers)}.{int(time.time())}.{secrets.token_hex(16)}"
        self._triggers[trigger] = (user, time.monotonic())
        return trigger

    def redeem(self, trigger: str, ttl: float) -> tuple[str, str]:
        """Use a trigger up; return its user and "", or "" and Slack's error code."""
        if trigger in self._used:
            return "", "exchanged_trigger_id"
        if trigger not in self._triggers:
            return "", "invalid_trigger_id"
        user, issued = self._triggers.pop(trigger)
        self._used.add(trigger)
        return (user, "") if time.monotonic() - issued < ttl else ("", "expired_trigger_id")

    def stack(self, user: str) -> list[OpenView]:
        """Return the open views of a user, the one on top last."""
        return list(self._stacks.get(user, ()))

    def find(self, view_id: str, external_id: str) -> OpenView | None:
        """Return an open view by one of its ids; None if there is none."""
        for one in (one for stack in self._stacks.values() for one in stack):
            if one.id == view_id or (external_id and one.body["external_id"] == external_id):
                return one
        return None

    def open(self, user: str, view: Json) -> OpenView:
        """Open a view alone; what the user had open is gone."""
        self._stacks[user] = []
        return self.push(user, view)

    def push(self, user: str, view: Json) -> OpenView:
        """Lay a view on top of those that the user has open."""
        stack = self._stacks.setdefault(user, [])
        id = f"V0VIEW{next(self._numbers):05d}"
        above = {
            "root_view_id": stack[0].id if stack else id,
            "previous_view_id": stack[-1].id if stack else None,
        }
        stack.append(OpenView(user, self._body(id, view) | above))
        return stack[-1]

    def update(self, found: OpenView, view: Json) -> None:
        """Put another view in its place; what stands in the same inputs stays."""
        places = {name: found.body[name] for name in ("root_view_id", "previous_view_id")}
        body = self._body(found.id, view) | places
        for block_id, actions in body["state"]["values"].items():
            actions |= {k: v for k, v in found.values.get(block_id, {}).items() if k in actions}
        found.body = body
        found.errors, found.trouble = {}, ""

    def close(self, found: OpenView, *, all: bool = False) -> None:
        """Close a view and those above it, or the whole stack."""
        stack = self._stacks.get(found.user, [])
        if found in stack:
            del stack[0 if all else stack.index(found) :]

    def heed(self, found: OpenView, answer: object) -> None:
        """Do what the app's answer to a submission says.

        Source: https://docs.slack.dev/surfaces/modals#handling_submissions
        """
        members = answer if isinstance(answer, dict) else {}
        action, view = members.get("response_action"), members.get("view")
        found.errors, found.trouble = {}, ""
        if action == "errors" and self._are_errors(found, members.get("errors")):
            found.errors = dict(members["errors"])
        elif action == "clear":
            self.close(found, all=True)
        elif action in ("update", "push") and isinstance(view, dict) and not problem(view):
            if action == "update":
                self.update(found, view)
            elif len(self.stack(found.user)) < MOST:
                self.push(found.user, view)
            else:
                found.trouble = _TROUBLE
        elif answer in (None, "", {}):
            self.close(found)
        else:
            found.trouble = _TROUBLE

    def _are_errors(self, found: OpenView, errors: object) -> bool:
        """Each belongs to an input block of the view."""
        blocks = {one["block_id"] for one in found.body["blocks"] if one.get("type") == "input"}
        return isinstance(errors, dict) and bool(errors) and errors.keys() <= blocks

    def _body(self, id: str, view: Json) -> Json:
        blocks = inputs.named(view["blocks"])
        return {
            "id": id,
            "team_id": self._team,
            "type": "modal",
            "blocks": blocks,
            **{name: view.get(name) or "" for name in _GIVEN},
            "state": {"values": inputs.start(blocks)},
            "hash": f"{int(time.time())}.{secrets.token_hex(4)}",
            "title": view["title"],
            "clear_on_close": bool(view.get("clear_on_close")),
            "notify_on_close": bool(view.get("notify_on_close")),
            "close": view.get("close"),
            "submit": view.get("submit"),
            "app_id": APP,
            "app_installed_team_id": self._team,
            "bot_id": self._bot_id,
        }


def problem(view: object) -> str:
    """Return what Slack says about a view that it does not take; "" if it is good."""
    if not isinstance(view, dict):
        return "[ERROR] must provide an object [json-pointer:/view]"
    if view.get("type") != "modal":
        return "[ERROR] unsupported type [json-pointer:/view/type]"
    title, blocks = view.get("title"), view.get("blocks")
    if not isinstance(title, dict) or not title.get("text"):
        return "[ERROR] missing required field: title [json-pointer:/view]"
    if len(title["text"]) > _TITLE_MOST:
        most = _TITLE_MOST + 1
        return f"[ERROR] must be less than {most} characters [json-pointer:/view/title/text]"
    if not isinstance(blocks, list) or not all(isinstance(one, dict) for one in blocks):
        return "[ERROR] missing required field: blocks [json-pointer:/view]"
    if len(blocks) > _BLOCKS_MOST:
        return f"[ERROR] no more than {_BLOCKS_MOST} items allowed [json-pointer:/view/blocks]"
    if any(one.get("type") == "input" for one in blocks) and not view.get("submit"):
        return "[ERROR] must define `submit` to use an `input` block [json-pointer:/view]"
    return ""


def is_too_large(view: Json) -> bool:
    """Return whether Slack refuses a view for its size."""
    return len(json.dumps(view, ensure_ascii=False).encode()) > _BYTES_MOST
