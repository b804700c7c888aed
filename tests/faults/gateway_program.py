"""A program behind the gateway, with Slack's own library: `… API_URL RECORDS`, `$TOKEN` its token.

It notes each event in the file RECORDS before and after it acknowledges it (`fan_out`). SIGTERM
ends it in order.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from functools import partial
from typing import Any, Final, cast

from slack_sdk.socket_mode import SocketModeClient
from slack_sdk.socket_mode.client import BaseSocketModeClient
from slack_sdk.socket_mode.request import SocketModeRequest
from slack_sdk.socket_mode.response import SocketModeResponse
from slack_sdk.web import WebClient

from tests.faults import events
from tests.faults.fan_out import ACKNOWLEDGED, BROKEN, FAILED, TAKEN, Record

_AGAIN: Final = 0.2
_CALL_WITHIN: Final = 5


def main() -> None:
    """Take events until SIGTERM; the first connection is tried until it comes about."""
    api_url, records = sys.argv[1:]
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    # Each record is one write, so a kill leaves whole ones.
    file = os.open(records, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    client = SocketModeClient(
        app_token=f"xapp-{os.environ['TOKEN']}",
        web_client=WebClient(base_url=api_url, timeout=_CALL_WITHIN),
        ping_interval=1,
    )
    client.socket_mode_request_listeners.append(partial(_take, file))
    while not stop.is_set():
        try:
            client.connect_to_new_endpoint(force=True)
        # The library raises what it likes while the gateway is away.
        except Exception:
            stop.wait(_AGAIN)
        else:
            break
    stop.wait()
    client.close()


def _take(file: int, client: BaseSocketModeClient, request: SocketModeRequest) -> None:
    kind, number, id = _read(request.payload)
    os.write(file, Record(kind, number, id).pack())
    done = ACKNOWLEDGED
    try:
        response = SocketModeResponse(request.envelope_id)
        cast(SocketModeClient, client).send_socket_mode_response(response)
    # The connection is gone: the event comes again.
    except Exception:
        done = FAILED
    if kind == TAKEN:
        os.write(file, Record(done, number, id).pack())


def _read(payload: dict[str, Any]) -> Record:
    event, id = payload.get("event"), payload.get("event_id")
    number = event.get("n") if isinstance(event, dict) else None
    if not isinstance(number, int) or not id or event != json.loads(events.body(number)):
        print(f"not as it was sent: {str(payload)[:500]}", file=sys.stderr, flush=True)
        return Record(BROKEN)
    return Record(TAKEN, number, events.hashed(str(id)))


if __name__ == "__main__":
    main()
