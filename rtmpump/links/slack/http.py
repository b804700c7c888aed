"""slack_sdk's client, with a safer transport: no redirects, and no answer without end.

urllib would follow a redirect to any host, also without TLS, and send the token there.
"""

from __future__ import annotations

import io
from http.client import IncompleteRead
from typing import Any, Final
from urllib.error import HTTPError
from urllib.request import (
    HTTPRedirectHandler,
    HTTPSHandler,
    OpenerDirector,
    ProxyHandler,
    Request,
    build_opener,
)

from slack_sdk import WebClient

_LARGEST: Final = 16 << 20


class TooLarge(OSError):
    """An answer with more bytes than any of Slack's has."""


class SlackClient(WebClient):
    """Reads answers whole, up to 16 MiB; a redirect is an answer like any other."""

    def _perform_urllib_http_request_internal(self, url: str, req: Request) -> dict[str, Any]:
        try:
            answer = self._opener().open(req, timeout=self.timeout)
        except HTTPError as error:
            # slack_sdk reads the body of an error itself, however long it is.
            said = io.BytesIO(_read(error))
            raise HTTPError(url, error.code, error.msg, error.headers, said) from None
        with answer:
            charset = answer.headers.get_content_charset() or "utf-8"
            body = _read(answer).decode(charset)
            return {"status": answer.status, "headers": answer.headers, "body": body}

    def _opener(self) -> OpenerDirector:
        proxies = {"http": self.proxy, "https": self.proxy} if self.proxy else None
        return build_opener(ProxyHandler(proxies), HTTPSHandler(context=self.ssl), _NoRedirects())


class _NoRedirects(HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        """Go nowhere: then the answer is an HTTPError."""


def _read(answer: Any) -> bytes:
    body: bytes = answer.read(_LARGEST + 1)
    if len(body) > _LARGEST:
        raise TooLarge(f"an answer over {_LARGEST >> 20} MiB")
    if missing := getattr(answer, "length", None):
        raise IncompleteRead(body, missing)
    return body
