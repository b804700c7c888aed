"""Slack's methods that open, push and update modals.

Source: https://docs.slack.dev/reference/methods, the pages of views.open, views.push, views.update.
"""

from __future__ import annotations

from typing import Final

from rtmpump.sandbox.slack import views
from rtmpump.sandbox.slack.method_call import Json, Method, MethodCall, error, parsed


def _wrong(call: MethodCall, view: object, own: views.OpenView | None = None) -> Json | None:
    """Return what is wrong with a view; `own` is the one that it shall replace."""
    problem = views.problem(view)
    if problem or not isinstance(view, dict):
        return error("invalid_arguments", problem)
    if views.is_too_large(view):
        return error("view_too_large")
    other = call.hub.views.find("", view.get("external_id") or "")
    return None if other in (None, own) else error("duplicate_external_id")


def _exchange(call: MethodCall) -> tuple[str, Json | None]:
    """Return the user of the trigger of a call, or what is wrong with the trigger."""
    user, code = call.hub.views.redeem(call.get("trigger_id"), call.hub.faults.trigger_ttl)
    return user, error(code) if code else None


def _open(call: MethodCall) -> Json:
    view = parsed(call.get("view"))
    if wrong := _wrong(call, view):
        return wrong
    user, wrong = _exchange(call)
    return wrong or {"ok": True, "view": dict(call.hub.views.open(user, view).body)}


def _push(call: MethodCall) -> Json:
    view = parsed(call.get("view"))
    if wrong := _wrong(call, view):
        return wrong
    user, wrong = _exchange(call)
    if wrong:
        return wrong
    stack = call.hub.views.stack(user)
    if not stack:
        return error("not_found")
    if len(stack) >= views.MOST:
        return error("push_limit_reached")
    return {"ok": True, "view": dict(call.hub.views.push(user, view).body)}


def _update(call: MethodCall) -> Json:
    found = call.hub.views.find(call.get("view_id"), call.get("external_id"))
    if found is None:
        return error("not_found")
    view = parsed(call.get("view"))
    if wrong := _wrong(call, view, found):
        return wrong
    if call.get("hash") not in ("", found.body["hash"]):
        return error("hash_conflict")
    call.hub.views.update(found, view)
    return {"ok": True, "view": dict(found.body)}


METHODS: Final[dict[str, Method]] = {
    "views.open": _open,
    "views.push": _push,
    "views.update": _update,
}
