"""What became of a call of the Web API.

`pumps.web_api_workers` makes the calls; `pumps.outbound` decides when and how often.
"""

from __future__ import annotations

from enum import Enum
from typing import Any, Final, NamedTuple

POSTS_AT_ONCE: Final = 4
"""How many messages are posted at the same time: as many workers do nothing else."""
SPARE_CALLS: Final = 2
"""Each other method has one worker to itself; so many more are for whichever method is first."""
TRIAL: Final = "auth.test"
"""The call that finds out whether Slack can be reached and takes the token."""


class Trouble(Enum):
    """Why Slack surely did nothing, though nothing is wrong with the command."""

    LIMITED = "limited"
    """Slack asked us to slow down."""
    AWAY = "away"
    """Slack is not at work: 503, a migration."""
    UNREACHABLE = "unreachable"
    """No connection to Slack could be made."""
    TOKEN = "token"  # noqa: S105 - no secret
    """Slack refuses the token, whatever is called with it."""


class CallAnswer(NamedTuple):
    """How a call ended: Slack's `response`, or `code` and `detail` that say why there is none.

    `again`: another try may help, after `retry_after` seconds if Slack named a time. `certain`: it
    is known what Slack did. Otherwise (no answer after the request was written, or one that can't
    be read) Slack may have carried it out. `trouble`: Slack surely did not, and the command is not
    at fault.
    """

    response: dict[str, Any] | None
    code: str = ""
    detail: str = ""
    again: bool = False
    certain: bool = True
    retry_after: float | None = None
    trouble: Trouble | None = None
