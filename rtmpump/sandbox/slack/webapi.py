"""The methods of Slack's Web API: whose token a call has, and which function answers it.

Slack answers an error with HTTP 200 and `{"ok": false, "error": "…"}`; so do these.
Source: https://docs.slack.dev/reference/methods, one page for each method.
"""

from __future__ import annotations

import hmac
from typing import Final

from rtmpump.sandbox.slack import conversations, editing, modals, people
from rtmpump.sandbox.slack.http_wire import HttpRequest
from rtmpump.sandbox.slack.method_call import Json, Method, MethodCall, error
from rtmpump.sandbox.slack.registry import DOMAIN, NAME, Registry, Ticket
from rtmpump.slack_side.web_api import token_of

_APP_METHOD: Final = "apps.connections.open"


def answer(call: MethodCall, method: str, request: HttpRequest) -> Json:
    """Return the members of the answer to a call."""
    problem = auth_problem(call.hub.registry, method, request)
    if method == "rtm.start":
        return error("method_deprecated")
    if method not in _METHODS:
        return error("unknown_method")
    return error(problem) if problem else _METHODS[method](call)


def auth_problem(registry: Registry, method: str, request: HttpRequest) -> str:
    """Return Slack's error code for the token of a call; "" if the token is good."""
    token = token_of(request.headers.get("authorization", ""), request.arguments)
    if method == _APP_METHOD and "authorization" not in request.headers:
        # "passing it as a POST parameter will result in an error"
        return "missing_args"
    if not token:
        return "not_authed"
    is_app, is_bot = _same(token, registry.app_token), _same(token, registry.token)
    if not (is_app or is_bot):
        return "invalid_auth"
    return "" if is_app == (method == _APP_METHOD) else "not_allowed_token_type"


def _same(token: str, right: str) -> bool:
    return hmac.compare_digest(token.encode(), right.encode())


def _auth_test(call: MethodCall) -> Json:
    registry = call.hub.registry
    return {
        "ok": True,
        "url": f"https://{DOMAIN}.slack.com/",
        "team": NAME,
        "user": registry.people[registry.bot],
        "team_id": registry.team,
        "user_id": registry.bot,
        "bot_id": registry.bot_id,
        "is_enterprise_install": False,
    }


def _rtm_connect(call: MethodCall) -> Json:
    registry = call.hub.registry
    ticket = registry.tickets.issue(Ticket(call.flag("batch_presence_aware")))
    return {
        "ok": True,
        "url": call.link(ticket, False),
        "team": {"id": registry.team, "name": NAME, "domain": DOMAIN},
        "self": {"id": registry.bot, "name": registry.people[registry.bot]},
    }


def _apps_connections_open(call: MethodCall) -> Json:
    ticket = call.hub.registry.tickets.issue(Ticket(socket_mode=True))
    return {"ok": True, "url": call.link(ticket, True)}


_METHODS: Final[dict[str, Method]] = {
    "auth.test": _auth_test,
    "rtm.connect": _rtm_connect,
    _APP_METHOD: _apps_connections_open,
    **conversations.METHODS,
    **people.METHODS,
    **editing.METHODS,
    **modals.METHODS,
}
