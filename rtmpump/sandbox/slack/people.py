"""Slack's methods about people: users, bots, and the team.

Source: https://docs.slack.dev/reference/methods, the pages of users.info, users.list, bots.info
and team.info; the shape of a user is https://docs.slack.dev/reference/objects/user-object.
"""

from __future__ import annotations

import time
from typing import Final

from rtmpump.sandbox.slack.method_call import Json, Method, MethodCall, error, page
from rtmpump.sandbox.slack.registry import APP, DOMAIN, NAME, Registry


def _user_info(call: MethodCall) -> Json:
    registry = call.hub.registry
    if not call.get("user"):
        return error("invalid_arguments", "[ERROR] missing required field: user")
    if call.get("user") not in registry.people:
        return error("user_not_found")
    return {"ok": True, "user": _user(registry, call.get("user"))}


def _user_list(call: MethodCall) -> Json:
    registry = call.hub.registry
    users = [_user(registry, user) for user in sorted(registry.people)]
    found = page(call, "members", users, registry.page_size)
    return found | {"cache_ts": int(time.time())} if found["ok"] else found


def _team_info(call: MethodCall) -> Json:
    registry = call.hub.registry
    if call.get("team") not in ("", registry.team):
        return error("team_not_found")
    team = {
        "id": registry.team,
        "name": NAME,
        "domain": DOMAIN,
        "url": f"https://{DOMAIN}.slack.com/",
        "email_domain": "",
        "icon": {"image_default": True},
    }
    return {"ok": True, "team": team}


def _bot_info(call: MethodCall) -> Json:
    registry = call.hub.registry
    if call.get("bot") != registry.bot_id:
        return error("bot_not_found")
    bot = {
        "id": registry.bot_id,
        "deleted": False,
        "name": registry.people[registry.bot],
        "updated": 0,
        "app_id": APP,
        "user_id": registry.bot,
        "icons": {},
    }
    return {"ok": True, "bot": bot}


def _user(registry: Registry, user: str) -> Json:
    name, is_bot = registry.people[user], user == registry.bot
    profile = {
        "real_name": name.capitalize(),
        "real_name_normalized": name.capitalize(),
        "display_name": name,
        "display_name_normalized": name,
        "team": registry.team,
    }
    return {
        "id": user,
        "team_id": registry.team,
        "name": name,
        "deleted": False,
        "real_name": name.capitalize(),
        "tz": "Etc/UTC",
        "tz_label": "Coordinated Universal Time",
        "tz_offset": 0,
        "profile": profile | ({"bot_id": registry.bot_id, "api_app_id": APP} if is_bot else {}),
        "is_admin": False,
        "is_owner": False,
        "is_primary_owner": False,
        "is_restricted": False,
        "is_ultra_restricted": False,
        "is_bot": is_bot,
        "is_app_user": False,
        "updated": 0,
    }


METHODS: Final[dict[str, Method]] = {
    "users.info": _user_info,
    "users.list": _user_list,
    "team.info": _team_info,
    "bots.info": _bot_info,
}
