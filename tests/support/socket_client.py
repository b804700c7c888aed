"""A program of Slack's own library for Socket Mode, that notes what it gets."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any, cast

from slack_sdk.socket_mode import SocketModeClient
from slack_sdk.socket_mode.client import BaseSocketModeClient
from slack_sdk.socket_mode.request import SocketModeRequest
from slack_sdk.socket_mode.response import SocketModeResponse
from slack_sdk.web import WebClient

from tests.support.gateway import TOKEN, GatewayProcess
from tests.support.waiting import wait_until

Answer = Callable[[SocketModeRequest], dict[str, Any] | None]


class SocketProgram:
    """The library's own client; `answer` gives the payload of each acknowledgement.

    While `acknowledges` is False nothing is acknowledged; `acknowledged` counts what was.
    """

    def __init__(
        self, gateway: GatewayProcess, token: str = TOKEN, answer: Answer = lambda _: None
    ) -> None:
        self.requests: list[SocketModeRequest] = []
        self.acknowledges = True
        self.acknowledged = 0
        self._answer = answer
        self.client = SocketModeClient(
            app_token=f"xapp-{token}",
            web_client=WebClient(base_url=gateway.api_url),
            ping_interval=1,
            # Its threads would handle events beside each other, and so in any order.
            concurrency=1,
        )
        self.client.socket_mode_request_listeners.append(self._handle)

    @property
    def numbers(self) -> list[int]:
        """The numbers of the events, as they came."""
        return [
            one.payload["event"]["n"] for one in list(self.requests) if one.type == "events_api"
        ]

    def wait_for(self, count: int) -> list[SocketModeRequest]:
        """Waits until so many envelopes came."""
        wait_until(lambda: len(self.requests) >= count, what=lambda: f"only {self.numbers}")
        return self.requests

    def _handle(self, client: BaseSocketModeClient, request: SocketModeRequest) -> None:
        self.requests.append(request)
        if self.acknowledges:
            response = SocketModeResponse(request.envelope_id, self._answer(request))
            cast(SocketModeClient, client).send_socket_mode_response(response)
            self.acknowledged += 1

    def __enter__(self) -> SocketProgram:
        self.client.connect()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # It waits seconds for its own threads.
        threading.Thread(target=self.client.close, daemon=True).start()
