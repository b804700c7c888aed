"""What each attempt says of its way to Slack: the throttles hear of it, and so does the log.

Laws:

- While no method of the Web API can be called, `auth.test` is called as a trial: a command that is
  at fault itself must not decide whether the others may go.
- A rest is logged once when it begins and once when it ends; those in between at level debug.

It belongs to the sender's thread.
"""

from __future__ import annotations

from collections.abc import Callable

from rtmpump import log
from rtmpump.core.outbound.api_calls import TRIAL, CallAnswer, Trouble
from rtmpump.core.outbound.job import Job
from rtmpump.core.outbound.mailbox import TrialAnswered
from rtmpump.core.outbound.throttle import Rest
from rtmpump.core.outbound.throttles import WEB_API, WEBSOCKET, Throttles
from rtmpump.pumps.outbound.way import DispatchListener, Failed, Held, SlackAccess

_log = log.get("sender")


class TroubleWatch:
    """Tells the throttles how each attempt ended, and makes the trials."""

    def __init__(
        self,
        throttles: Throttles,
        slack: SlackAccess,
        listener: DispatchListener,
        now: Callable[[], float],
    ) -> None:
        self._throttles = throttles
        self._trial = throttles.trial
        self._slack = slack
        self._listener = listener
        self._now = now

    def worked(self, job: Job) -> None:
        """Note that Slack took a job, or refused it for good."""
        if self._throttles.worked(job):
            _log.info("slack.goes_on", way=job.throttle)

    def rests(self, job: Job, trouble: Trouble | None, why: Held | Failed) -> bool:
        """Note that a job met trouble; return whether all that go its way rest for a while."""
        job.trouble = trouble
        rest = self._throttles.failed(job, trouble, self._now(), why.wait)
        if rest is None:
            return False
        is_of_all = self._trial.is_on and job.throttle != WEBSOCKET
        self._log(rest, WEB_API if is_of_all else job.throttle, why.code, why.detail)
        return True

    def refuses_a_good_token(self, job: Job) -> bool:
        """Note that Slack refused the token for a job; return whether it took it for a trial since.

        Then this method alone refuses it.
        """
        before, job.token_refused_in = job.token_refused_in, self._trial.passed
        return before not in (None, self._trial.passed)

    def next_trial_at(self) -> float:
        """Return when `try_out` has something to do; infinity if nothing is wrong."""
        return self._trial.next_at()

    def try_out(self) -> None:
        """Have the trial made, if it is time."""
        now = self._now()
        if now < self._trial.next_at():
            return
        self._trial.under_way()
        wait = self._slack.submit(TRIAL, {}, self._answered)
        if wait:
            self._trial.postpone(now + wait)

    def tried(self, answer: CallAnswer) -> None:
        """Take in the answer to the trial."""
        now = self._now()
        if answer.again:
            rest = self._trial.failed(now, answer.retry_after or 0.0)
            self._log(rest, WEB_API, answer.code, answer.detail)
        else:
            self._throttles.trial_succeeded(now)
            _log.info("slack.goes_on", way=WEB_API)

    def _answered(self, answer: CallAnswer) -> None:
        """Bring the answer to the sender's thread. On the thread of a worker."""
        self._listener.notify(TrialAnswered(answer))

    def _log(self, rest: Rest, way: str, code: str, detail: str) -> None:
        if rest.is_new:
            write = _log.warning if rest.number == 1 else _log.debug
            wait = round(rest.until - self._now(), 2)
            write("slack.rests", way=way, reason=code, detail=detail, wait=wait)
