"""Commands that are calls of the Web API: which lane each waits in, and what its answer means.

Laws:

- A call waits for those of its own lane alone: the calls of its method in its channel. A
  chat.postMessage is a message like any other, so it waits in the lane of its channel, and counts.
- Slack's answer may be of any size, a result may not: it keeps the small members and names those
  that it had to leave out.

`pumps.web_api_workers` makes the calls; `pumps.outbound.api_caller` decides when and how often.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from rtmpump.core.outbound.commands import POST, Api


class CallAnswer(NamedTuple):
    """How a call ended: Slack's `response`, or the `code` and `detail` of why there is none.

    `again`: trying again may help, after `retry_after` seconds if Slack named a time. `certain`:
    it is known what Slack did; else (a timeout after the write, an answer that is none) the call
    may have been carried out. `made`: False where Slack did not even see it.
    """

    response: dict[str, Any] | None
    code: str = ""
    detail: str = ""
    again: bool = False
    certain: bool = True
    retry_after: float | None = None
    made: bool = True


def is_message(api: Api) -> bool:
    """Say whether Slack's limit of one message a second and channel counts this call."""
    return api.method == POST


def lane(api: Api) -> str:
    """Name the lane in which it waits; a channel's lane is called by its id."""
    channel = api.arguments.get("channel", "")
    if is_message(api):
        return channel or api.method
    return f"{api.method} {channel}" if channel else api.method
