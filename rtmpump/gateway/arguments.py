"""What a program calls: the arguments and the token of a request to the Web API.

Source: https://docs.slack.dev/apis/web-api (GET and POST, query, form and JSON).
"""

from __future__ import annotations

import json
from typing import Any, Final, NamedTuple

from aiohttp import BodyPartReader, web

BODY_MAX: Final = 256 << 10
"""The most bytes of a request's body."""
_FORM: Final = "application/x-www-form-urlencoded"
_JSON: Final = "application/json"
_MULTIPART: Final = "multipart/form-data"


class BadArguments(Exception):
    """A request that can't be read: Slack's error code, and words."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message


class ApiRequest(NamedTuple):
    """Token ("" for none) and arguments of a call."""

    token: str
    arguments: dict[str, Any]


async def read(request: web.Request) -> ApiRequest:
    """Read a request.

    Raises:
        BadArguments: it can't be read.
    """
    arguments: dict[str, Any] = dict(request.query)
    if request.method == "POST":
        arguments |= await _body(request)
    own = arguments.pop("token", "")
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token.strip():
        return ApiRequest(token.strip(), arguments)
    return ApiRequest(own if isinstance(own, str) else "", arguments)


async def _body(request: web.Request) -> dict[str, Any]:
    if not request.can_read_body:
        return {}
    try:
        if request.content_type == _JSON:
            return _json(await request.read())
        if request.content_type == _MULTIPART:
            return await _multipart(request)
        if request.content_type == _FORM:
            return dict(await request.post())
    except web.HTTPRequestEntityTooLarge:
        raise BadArguments("request_too_large", f"a body has at most {BODY_MAX:,} bytes") from None
    except ValueError:
        raise BadArguments("invalid_form_data", "the body can't be read as a form") from None
    if not await request.read():
        return {}
    raise BadArguments("invalid_post_type", f"send a body as {_JSON} or {_FORM}")


def _json(body: bytes) -> dict[str, Any]:
    if not body.strip():
        return {}
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        raise BadArguments("invalid_json", "the body is no JSON") from None
    if not isinstance(found, dict):
        raise BadArguments("json_not_object", "the body is JSON, but no object")
    return found


async def _multipart(request: web.Request) -> dict[str, Any]:
    arguments: dict[str, Any] = {}
    left = BODY_MAX
    async for part in await request.multipart():
        if not isinstance(part, BodyPartReader) or part.filename is not None:
            message = "files can't go through RabbitMQ; upload them with a token of Slack"
            raise BadArguments("file_uploads_not_supported", message)
        value = await part.read(decode=True)
        left -= len(value)
        if left < 0:
            raise BadArguments("request_too_large", f"a body has at most {BODY_MAX:,} bytes")
        arguments[part.name or ""] = value.decode("utf-8", "replace")
    return arguments
