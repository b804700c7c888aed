"""HTTP/1.1 as far as a sandbox needs it: a request in, an answer out, on a `Stream`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlsplit

from rtmpump.sandbox.slack.stream import Stream
from rtmpump.slack_side.web_api import JSON, body_arguments

_HEAD_LIMIT = 1 << 16
_BODY_LIMIT = 1 << 22


class HttpRequest(NamedTuple):
    """One request; header names in lower case, `query` without the `?`."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes

    @property
    def wants_upgrade(self) -> bool:
        """Whether it asks for a WebSocket (RFC 6455 §4.2.1)."""
        return (
            self.headers.get("upgrade", "").lower() == "websocket"
            and "sec-websocket-key" in self.headers
        )

    @property
    def keeps_alive(self) -> bool:
        """Whether the client may send another request on this connection."""
        return self.headers.get("connection", "").lower() != "close"

    @property
    def arguments(self) -> dict[str, str]:
        """The members of query and body, form or JSON; every value as text.

        Raises:
            BadArguments: the body can't be read.
        """
        kind = self.headers.get("content-type", "").partition(";")[0].strip().lower()
        found = dict(parse_qsl(self.query, keep_blank_values=True))
        return found | as_text(body_arguments(kind, self.body))


def read_request(stream: Stream) -> HttpRequest | None:
    """Read the next request; return None if the client closed or does not speak HTTP."""
    lines = stream.read_until(b"\r\n\r\n", _HEAD_LIMIT).decode("latin-1").split("\r\n")
    words = lines[0].split(" ")
    if len(words) != 3:
        return None
    headers = {name.strip().lower(): value.strip() for name, value in map(_halves, lines[1:])}
    length = headers.get("content-length", "0")
    if not length.isdecimal() or int(length) > _BODY_LIMIT:
        return None
    target = urlsplit(words[1])
    return HttpRequest(
        words[0], target.path, target.query, headers, stream.read_exactly(int(length))
    )


def answer(status: int, body: bytes, headers: Mapping[str, str]) -> bytes:
    """Return the bytes of an answer; `headers` win over the usual ones."""
    lines = {"Content-Length": str(len(body)), "Content-Type": "text/html"} | dict(headers)
    return _head(status, lines) + body


def json_answer(members: Mapping[str, Any], status: int = 200) -> bytes:
    """Return the bytes of Slack's usual answer: a JSON object, with HTTP 200 even for an error."""
    body = json.dumps(members, ensure_ascii=False).encode()
    return answer(status, body, {"Content-Type": f"{JSON}; charset=utf-8"})


def switching_protocols(accept: str) -> bytes:
    """Return the answer that turns the connection into a WebSocket."""
    return _head(
        101, {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Accept": accept}
    )


def _head(status: int, headers: Mapping[str, str]) -> bytes:
    known = {int(member): member.phrase for member in HTTPStatus}
    first = f"HTTP/1.1 {status} {known.get(status, 'Unknown')}\r\n"
    return (first + "".join(f"{k}: {v}\r\n" for k, v in headers.items()) + "\r\n").encode()


def _halves(line: str) -> tuple[str, str]:
    name, _, value = line.partition(":")
    return name, value


def as_text(members: Mapping[str, Any]) -> dict[str, str]:
    """Return the members of a JSON object as a form has them: all text, and none of null."""
    return {name: _text(value) for name, value in members.items() if value is not None}


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)
