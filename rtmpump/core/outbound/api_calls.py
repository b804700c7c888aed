"""What became of a call of the Web API.

`pumps.web_api_workers` makes the calls; `pumps.outbound` decides when and how often.
"""

from __future__ import annotations

from typing import Any, NamedTuple


class CallAnswer(NamedTuple):
    """How a call ended: Slack's `response`, or `code` and `detail` that say why there is none.

    `again`: another try may help, after `retry_after` seconds if Slack named a time. `certain`: it
    is known what Slack did. Otherwise (no answer after the request was written, or one that can't
    be read) Slack may have carried it out. `made`: False if Slack never saw the call.
    """

    response: dict[str, Any] | None
    code: str = ""
    detail: str = ""
    again: bool = False
    certain: bool = True
    retry_after: float | None = None
    made: bool = True
