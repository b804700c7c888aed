"""The interactive elements of blocks: where they stand, and the state that a person gives them.

Source: https://docs.slack.dev/reference/block-kit/block-elements, one page for each element.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, NamedTuple, TypeAlias

Json: TypeAlias = dict[str, Any]

_FIELDS: Final = {
    "plain_text_input": "value",
    "email_text_input": "value",
    "url_text_input": "value",
    "number_input": "value",
    "rich_text_input": "rich_text_value",
    "datepicker": "selected_date",
    "timepicker": "selected_time",
    "datetimepicker": "selected_date_time",
    "users_select": "selected_user",
    "conversations_select": "selected_conversation",
    "channels_select": "selected_channel",
    "static_select": "selected_option",
    "external_select": "selected_option",
    "radio_buttons": "selected_option",
    "checkboxes": "selected_options",
    "multi_static_select": "selected_options",
    "multi_external_select": "selected_options",
    "multi_users_select": "selected_users",
    "multi_conversations_select": "selected_conversations",
    "multi_channels_select": "selected_channels",
}


class Element(NamedTuple):
    """One interactive element and the block that it stands in."""

    block: Json
    body: Json

    @property
    def place(self) -> tuple[str, str]:
        """Its `block_id` and `action_id`."""
        return self.block["block_id"], self.body["action_id"]

    @property
    def field(self) -> str:
        """The name of the member that holds what was chosen or written; "" for a button."""
        return _FIELDS.get(self.body.get("type", ""), "")

    @property
    def is_required(self) -> bool:
        """Whether Slack lets nobody submit a view while this is empty."""
        return self.block.get("type") == "input" and not self.block.get("optional")

    def start(self) -> Json:
        """Return its state before anybody touched it."""
        name = "initial_" + self.field.rpartition("_")[2]
        empty: Any = [] if self.field.endswith("s") else None
        return {"type": self.body["type"], self.field: self.body.get(name, empty)}

    def filled(self, value: object) -> Json:
        """Return its state with a value; an option may be given by its `value`."""
        if self.field == "selected_option" and isinstance(value, str):
            value = self._option(value)
        elif self.field == "selected_options" and isinstance(value, list):
            value = [self._option(one) if isinstance(one, str) else one for one in value]
        return {"type": self.body["type"], self.field: value}

    def _option(self, value: str) -> Json:
        groups = self.body.get("option_groups") or [{"options": self.body.get("options") or []}]
        for option in (option for group in groups for option in group["options"]):
            if option["value"] == value:
                return dict(option)
        if self.body["type"].endswith("external_select"):
            return {"text": {"type": "plain_text", "text": value}, "value": value}
        raise LookupError(f"no option {value!r} in {self.body['action_id']!r}")


def named(blocks: list[Json]) -> list[Json]:
    """Return the blocks with the ids that Slack gives to what has none."""
    return [_named(one, number) for number, one in enumerate(blocks, 1)]


def elements(blocks: list[Json]) -> Iterator[Element]:
    """Yield the interactive elements of blocks that have their ids."""
    for block in blocks:
        for body in _bodies(block):
            if isinstance(body, dict) and "action_id" in body:
                yield Element(block, body)


def find(blocks: list[Json], action_id: str, block_id: str = "") -> Element:
    """Return the element with this `action_id`.

    Raises:
        LookupError: there is none.
    """
    for one in elements(blocks):
        if one.place[1] == action_id and block_id in ("", one.place[0]):
            return one
    raise LookupError(f"no element {action_id!r} in the blocks")


def start(blocks: list[Json]) -> dict[str, Json]:
    """Return the `values` of a state that nobody touched."""
    values: dict[str, Json] = {}
    for one in elements(blocks):
        if one.field:
            values.setdefault(one.place[0], {})[one.place[1]] = one.start()
    return values


def _named(block: Json, number: int) -> Json:
    block = block | {"block_id": block.get("block_id") or f"b{number}"}
    for name in ("element", "accessory"):
        if isinstance(block.get(name), dict):
            block[name] = {"action_id": f"a{number}"} | block[name]
    if isinstance(block.get("elements"), list) and block.get("type") == "actions":
        block["elements"] = [
            {"action_id": f"a{number}.{n}"} | one for n, one in enumerate(block["elements"], 1)
        ]
    return block


def _bodies(block: Json) -> list[Any]:
    single = [block[name] for name in ("element", "accessory") if name in block]
    return single + (block.get("elements", []) if block.get("type") == "actions" else [])
