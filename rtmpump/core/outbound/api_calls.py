"""What became of a call of the Web API.

`pumps.web_api_workers` makes the calls; `pumps.outbound` decides when and how often.
"""

from __future__ import annotations

from typing import Any, NamedTuple


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
