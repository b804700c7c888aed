"""What a program calls: the arguments and the token of a request of aiohttp to the Web API."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from aiohttp import BodyPartReader, web

from rtmpump.slack_side.web_api import BadArguments, body_arguments, token_of

BODY_MAX: Final = 256 << 10
"""The most bytes of a request's body."""
_MULTIPART: Final = "multipart/form-data"
_PART: Final = 100


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
    token = token_of(request.headers.get("Authorization", ""), arguments)
    arguments.pop("token", None)
    return ApiRequest(token, arguments)


async def _body(request: web.Request) -> dict[str, Any]:
    if not request.can_read_body:
        return {}
    try:
        if request.content_type == _MULTIPART:
            return await _multipart(request)
        return body_arguments(request.content_type, await request.read())
    except web.HTTPRequestEntityTooLarge:
        raise BadArguments("request_too_large", f"a body has at most {BODY_MAX:,} bytes") from None
    except ValueError:
        raise BadArguments("invalid_form_data", "the body can't be read as a form") from None


async def _multipart(request: web.Request) -> dict[str, Any]:
    arguments: dict[str, Any] = {}
    left = BODY_MAX
    async for part in await request.multipart():
        if not isinstance(part, BodyPartReader) or part.filename is not None:
            message = "files can't go through RabbitMQ; upload them with a token of Slack"
            raise BadArguments("file_uploads_not_supported", message)
        value = await part.read(decode=True)
        # A part without a value takes memory as well.
        left -= len(value) + len(part.name or "") + _PART
        if left < 0:
            raise BadArguments("request_too_large", f"a body has at most {BODY_MAX:,} bytes")
        arguments[part.name or ""] = value.decode("utf-8", "replace")
    return arguments
