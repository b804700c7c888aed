"""What a message may have beside its text where `chat.postMessage` posts it.

They are the arguments that Slack documents (https://docs.slack.dev/reference/methods/chat.postMessage),
but for the token and those that RTM has too. Types and numbers are checked here; what is in a block
or an icon's name is for Slack to say.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Final, TypeAlias

from rtmpump.core.outbound.form_values import form_value
from rtmpump.core.outbound.rejections import TOO_LONG, reject, wrong

CONTENTS: Final = ("blocks", "attachments", "markdown_text")
"""Any of these can stand in the place of the text."""

_MARKDOWN_MAX: Final = 12_000
_PARSE: Final = ("none", "full")

_Reader: TypeAlias = Callable[[str, object], str]


def post_arguments(fields: dict[str, Any]) -> dict[str, str]:
    """Return those among the fields of a message as the fields of a form.

    Raises:
        CommandRejected: one has another type, is empty or too long, or two exclude each other.
    """
    if "markdown_text" in fields:
        _refuse_beside_markdown(name for name in ("text", "blocks") if name in fields)
    return {name: read(name, fields[name]) for name, read in _READERS.items() if name in fields}


def _refuse_beside_markdown(others: Iterable[str]) -> None:
    for other in others:
        problem = f'field "markdown_text" can\'t stand beside "{other}"; send one of them'
        raise reject(problem, "markdown_text")


def _objects(most: int, name: str, value: object) -> str:
    wanted = f"a list of 1 to {most} objects"
    if not isinstance(value, list) or not value:
        raise wrong(name, wanted, value)
    if len(value) > most:
        raise reject(f'field "{name}" must be {wanted}; found {len(value):,}', name)
    for place, one in enumerate(value):
        if not isinstance(one, dict):
            raise wrong(name, f"{wanted}; number {place + 1} is none", one)
        if name == "blocks" and not (isinstance(one.get("type"), str) and one["type"]):
            problem = f'field "blocks": number {place + 1} has no "type"'
            raise reject(f'{problem}; give it one like "section"', name)
    return form_value(name, value, field=name)


def _object(name: str, value: object) -> str:
    if not isinstance(value, dict) or not value:
        raise wrong(name, "an object with event_type and event_payload", value)
    return form_value(name, value, field=name)


def _flag(name: str, value: object) -> str:
    if not isinstance(value, bool):
        raise wrong(name, "true or false", value)
    return form_value(name, value, field=name)


def _word(wanted: str, name: str, value: object) -> str:
    if not isinstance(value, str) or not value:
        raise wrong(name, wanted, value)
    return form_value(name, value, field=name)


def _markdown(name: str, value: object) -> str:
    wanted = f"a string of 1 to {_MARKDOWN_MAX:,} characters"
    text = _word(wanted, name, value)
    if len(text) > _MARKDOWN_MAX:
        found = f"found {len(text):,}; send it in parts"
        raise reject(f'field "{name}" must be {wanted}; {found}', name, code=TOO_LONG)
    return text


def _parse(name: str, value: object) -> str:
    if value not in _PARSE:
        raise wrong(name, '"none" or "full"', value)
    return str(value)


_READERS: Final[dict[str, _Reader]] = {
    "blocks": partial(_objects, 50),
    "attachments": partial(_objects, 100),
    "markdown_text": _markdown,
    "metadata": _object,
    "mrkdwn": _flag,
    "parse": _parse,
    "link_names": _flag,
    "unfurl_links": _flag,
    "unfurl_media": _flag,
    "username": partial(_word, "a name that is not empty"),
    "icon_emoji": partial(_word, 'an emoji like ":chart_with_upwards_trend:"'),
    "icon_url": partial(_word, "the URL of an image"),
    "as_user": _flag,
}
POST_ARGUMENTS: Final = tuple(_READERS)
"""The names of all of them."""
