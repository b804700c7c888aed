"""The way to Slack over the Web API: one call for each command, and its answer.

Laws:

- A call that Slack surely did not take, and that is not at fault, is no attempt; it waits as a
  message waits for the WebSocket.
- The WebSocket is not needed for any of it: in Socket Mode messages go this way too.

`pumps.web_api_workers` makes the calls.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from rtmpump import log
from rtmpump.core.outbound.api_calls import CallAnswer
from rtmpump.core.outbound.commands import Api, Command, Message, post
from rtmpump.core.outbound.job import Job, Stage
from rtmpump.core.outbound.mailbox import CallAnswered
from rtmpump.core.outbound.outcome import Outcome, bounded
from rtmpump.pumps.outbound.way import (
    DispatchListener,
    Failed,
    Held,
    NotNow,
    SlackAccess,
    Verdict,
    Way,
)

_log = log.get("sender")


class ApiCaller(Way):
    """Has calls made; their answers come to the listener, as `CallAnswered`."""

    tells_trouble = True

    def __init__(self, slack: SlackAccess, listener: DispatchListener) -> None:
        self._slack = slack
        self._listener = listener

    def transmit(self, job: Job, command: Command) -> Verdict | None:
        """Have the call made."""
        call = _call_of(job, command)
        wait = self._slack.submit(call.method, call.arguments, partial(self._answered, job))
        if wait:
            return NotNow(wait)
        job.attempts += 1
        return None

    def read(self, called: CallAnswered) -> Verdict | None:
        """Return what became of the call; None if its job did not wait for it."""
        job, answer = called
        if job.stage is not Stage.WRITTEN:
            return None
        if answer.response is not None:
            return _success(job, answer.response)
        if not answer.again:
            return Outcome(False, "", f"slack_{answer.code}", answer.detail)
        wait = answer.retry_after or 0.0
        if answer.trouble is not None:
            return Held(answer.trouble, answer.code, answer.detail, wait)
        why = f"{answer.code} ({answer.detail})" if answer.detail else answer.code
        return Failed(answer.code, why, answer.certain, wait, detail=answer.detail)

    def log_again(self, job: Job, failed: Failed | Held, wait: float) -> None:
        """Log that the call will be made again."""
        _log.warning("call.again", reason=failed.code, detail=failed.detail, wait=wait)

    def log_fields(self, job: Job) -> dict[str, Any]:
        """Return the method."""
        return {} if job.command is None else {"method": _call_of(job, job.command).method}

    def _answered(self, job: Job, answer: CallAnswer) -> None:
        """Bring the answer to the sender's thread. On the thread of a worker."""
        self._listener.notify(CallAnswered(job, answer))


def _call_of(job: Job, command: Command) -> Api:
    """Return the call that carries out the command."""
    if isinstance(command, Api):
        return command
    if isinstance(command, Message):
        return post(command, job.channel_id)
    raise TypeError(f"{command.kind} is no call of the Web API")


def _success(job: Job, response: dict[str, Any]) -> Outcome:
    """Return the end of a job that Slack carried out: of a message its `ts` too, as over RTM."""
    ts = response.get("ts") if isinstance(job.command, Message) else ""
    return Outcome(True, ts if isinstance(ts, str) else "", response=bounded(response))
