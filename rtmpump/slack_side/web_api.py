"""What a client calls: the token and the arguments of a request to the Web API.

Source: https://docs.slack.dev/apis/web-api (GET and POST, query, form and JSON); the codes stand on
each method's page. Slack answers an error with HTTP 200.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import parse_qsl

from rtmpump.slack_side.frames import Json

JSON: Final = "application/json"
FORM: Final = "application/x-www-form-urlencoded"


class BadArguments(Exception):
    """A request that can't be read: Slack's error code, and words."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message


def token_of(authorization: str, arguments: Mapping[str, Any]) -> str:
    """Return the token of a call, "" for none: `Bearer` in the header, or the argument `token`."""
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() == "bearer" and token.strip():
        return token.strip()
    own = arguments.get("token", "")
    return own if isinstance(own, str) else ""


def body_arguments(content_type: str, body: bytes) -> Json:
    """Return the arguments in a body; `content_type` is in lower case and without parameters.

    Raises:
        BadArguments: it can't be read.
    """
    if not body.strip():
        return {}
    if content_type == JSON:
        return _json(body)
    if content_type == FORM:
        return _form(body)
    raise BadArguments("invalid_post_type", f"send a body as {JSON} or {FORM}")


def _json(body: bytes) -> Json:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        raise BadArguments("invalid_json", "the body is no JSON") from None
    if not isinstance(found, dict):
        raise BadArguments("json_not_object", "the body is JSON, but no object")
    return found


def _form(body: bytes) -> Json:
    try:
        return dict(parse_qsl(body.decode(), keep_blank_values=True))
    except ValueError:
        raise BadArguments("invalid_form_data", "the body can't be read as a form") from None
