"""The manifest of a Slack app for Socket Mode, with the least scopes for its events.

The scopes are those that Slack's page of each event names (https://docs.slack.dev/reference/events);
the shape is that of https://docs.slack.dev/reference/app-manifest.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from difflib import get_close_matches
from typing import Final
from urllib.parse import quote

_NO_SCOPE: Final = ("app_home_opened", "app_uninstalled", "tokens_revoked")
_EVENTS_OF: Final = {
    "app_mentions:read": ("app_mention",),
    "channels:history": ("message.channels",),
    "groups:history": ("message.groups",),
    "im:history": ("message.im",),
    "mpim:history": ("message.mpim",),
    "channels:read": (
        "channel_archive",
        "channel_created",
        "channel_deleted",
        "channel_left",
        "channel_rename",
        "channel_unarchive",
        "member_joined_channel",
        "member_left_channel",
    ),
    "groups:read": (
        "group_archive",
        "group_close",
        "group_deleted",
        "group_left",
        "group_open",
        "group_rename",
        "group_unarchive",
    ),
    "im:read": ("im_close", "im_created", "im_open"),
    "dnd:read": ("dnd_updated_user",),
    "emoji:read": ("emoji_changed",),
    "files:read": (
        "file_change",
        "file_created",
        "file_deleted",
        "file_public",
        "file_shared",
        "file_unshared",
    ),
    "links:read": ("link_shared",),
    "pins:read": ("pin_added", "pin_removed"),
    "reactions:read": ("reaction_added", "reaction_removed"),
    "team:read": ("email_domain_changed", "team_domain_change", "team_rename"),
    "usergroups:read": ("subteam_created", "subteam_members_changed", "subteam_updated"),
    "users:read": ("team_join", "user_change"),
}
SCOPES: Final = {
    **{event: scope for scope, events in _EVENTS_OF.items() for event in events},
    **dict.fromkeys(_NO_SCOPE, ""),
}
"""The scope that each event needs, "" for none; what is not here, a bot can't subscribe to."""
_MESSAGES: Final = ("message.channels", "message.groups", "message.im", "message.mpim")
DEFAULT_EVENTS: Final = (
    "channel_created",
    "channel_rename",
    "group_rename",
    "member_joined_channel",
    *_MESSAGES[:3],
    "reaction_added",
    "reaction_removed",
)
# To send, and to find a channel by its name.
_OWN_SCOPES: Final = ("chat:write", "channels:read", "groups:read")
_COMMAND: Final = re.compile(r"/[a-z0-9_-]{1,31}")
_NAME_MAX: Final = 35
_NEW_APP: Final = "https://api.slack.com/apps?new_app=1&manifest_yaml="


def events_of(words: Iterable[str]) -> list[str]:
    """Return the event types that the words name; `message` stands for those of all conversations.

    Raises:
        ValueError: a bot can't subscribe to one, or there is none; the text is for people.
    """
    events: dict[str, None] = {}
    for word in words:
        if word == "message":
            events |= dict.fromkeys(_MESSAGES)
        elif word in SCOPES:
            events[word] = None
        else:
            near = get_close_matches(word, [*SCOPES, "message"], 1)
            hint = f"did you mean {near[0]}?" if near else "they are on docs.slack.dev"
            raise ValueError(f"{word!r} is no event that an app can subscribe to; {hint}")
    if not events:
        raise ValueError("there must be at least one event, such as app_mention")
    return sorted(events)


def checked_command(word: str) -> str:
    """Return a slash command if Slack would take it.

    Raises:
        ValueError: it would not; the text is for people.
    """
    if not _COMMAND.fullmatch(word):
        raise ValueError(f"{word!r} must be / and up to 31 of a-z, 0-9, - and _, such as /deploy")
    return word


def checked_name(word: str) -> str:
    """Return the name of an app if Slack would take it.

    Raises:
        ValueError: it would not; the text is for people.
    """
    if not word.strip() or len(word) > _NAME_MAX or not word.isprintable():
        raise ValueError(f"the name of an app has 1 to {_NAME_MAX} characters")
    return word


def manifest(name: str, events: Sequence[str], commands: Sequence[str]) -> str:
    """Return the manifest as YAML; the arguments come from the functions above."""
    needed = {SCOPES[event] for event in events} | set(_OWN_SCOPES)
    scopes = sorted(needed | {"commands"} if commands else needed)
    shown = _quoted(name)
    lines = [
        "display_information:",
        f"  name: {shown}",
        "features:",
        "  bot_user:",
        f"    display_name: {shown}",
        "    always_online: true",
        *_slash_commands(commands),
        "oauth_config:",
        "  scopes:",
        "    bot:",
        *(f"      - {scope}" for scope in scopes if scope),
        "settings:",
        "  event_subscriptions:",
        "    bot_events:",
        *(f"      - {event}" for event in events),
        "  interactivity:",
        "    is_enabled: true",
        "  socket_mode_enabled: true",
        "  token_rotation_enabled: false",
    ]
    return "\n".join(lines) + "\n"


def link(yaml: str) -> str:
    """Return the address of Slack's page for a new app, with this manifest filled in."""
    return _NEW_APP + quote(yaml, safe="")


def _slash_commands(commands: Sequence[str]) -> Iterator[str]:
    if commands:
        yield "  slash_commands:"
    for command in commands:
        yield f"    - command: {command}"
        yield f"      description: {_quoted(command[1:])}"
        yield "      should_escape: false"


def _quoted(text: str) -> str:
    """Return a YAML string; plain where nothing in it could mean something else."""
    if re.fullmatch("[A-Za-z][A-Za-z0-9_-]*", text) and text.lower() not in _YAML_WORDS:
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


_YAML_WORDS: Final = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null"})
