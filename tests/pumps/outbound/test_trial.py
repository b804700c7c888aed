"""Facts about a Web API that can't be used: a trial finds out when it can."""

from __future__ import annotations

import math

import pytest

from rtmpump.core.outbound.api_calls import CallAnswer, Trouble
from tests.support.dispatcher import DispatcherRig

ADD = "reactions.add"
UNREACHABLE = CallAnswer(None, "unreachable", again=True, trouble=Trouble.UNREACHABLE)
REVOKED = CallAnswer(None, "token_revoked", "why", again=True, trouble=Trouble.TOKEN)


@pytest.mark.parametrize("trouble", [UNREACHABLE, REVOKED])
def test_while_no_call_can_be_made_a_trial_is_made_again_and_again(trouble: CallAnswer) -> None:
    """After a growing wait; no call is made before it succeeds, and no attempt is counted."""
    rig = DispatcherRig(max_attempts=1)
    job = rig.call()
    rig.answer(trouble)
    other = rig.call("pins.add")
    for wait in (0.5, 1.0, 2.0):
        assert rig.go_on() == wait
        rig.go_on(wait)
        rig.try_out(trouble)
    assert [len(rig.calls), len(rig.trials), job.attempts] == [1, 3, 0]
    rig.go_on(4.0)
    assert rig.go_on(99.0) == math.inf
    rig.try_out(CallAnswer({"ok": True}))
    assert [call[0] for call in rig.calls] == [ADD, ADD, "pins.add"]
    rig.answer(CallAnswer({"ok": True}))
    rig.calls.pop()
    rig.answer(CallAnswer({"ok": True}))
    assert (rig.codes, job.attempts, other.attempts) == (["ok", "ok"], 1, 1)
    assert not job.uncertain


def test_a_refusal_of_a_token_that_is_good_ends_the_command() -> None:
    """Slack takes it for the trial: only this method refuses it, and the others go on."""
    rig = DispatcherRig(max_attempts=3)
    job = rig.call("admin.users.list")
    for attempts in (0, 1, 2):
        rig.answer(REVOKED)
        assert job.attempts == attempts
        rig.go_on(60.0)
        rig.try_out(CallAnswer({"ok": True}))
        rig.go_on(60.0)
    rig.answer(REVOKED)
    assert rig.codes == ["max_attempts"]
    assert rig.ends[0][1].message == "3 attempts: token_revoked (why)"


def test_a_trial_that_can_not_be_made_is_made_later() -> None:
    """Another pump is the active one, for example."""
    rig = DispatcherRig()
    rig.call()
    rig.answer(REVOKED)
    rig.no_trials = 1.5
    rig.go_on(0.5)
    assert (rig.go_on(), rig.trials) == (1.5, [])
    rig.no_trials = 0.0
    rig.go_on(1.5)
    assert len(rig.trials) == 1


def test_a_trial_is_answered_by_anything_but_trouble() -> None:
    """An odd refusal says that Slack can be reached and knows the token."""
    rig = DispatcherRig()
    rig.call()
    rig.answer(REVOKED)
    rig.go_on(0.5)
    rig.try_out(CallAnswer(None, "timeout", again=True, certain=False))
    assert len(rig.calls) == 1
    rig.go_on(1.0)
    rig.try_out(CallAnswer(None, "odd_code"))
    assert len(rig.calls) == 2


def test_no_trial_is_begun_at_a_stop() -> None:
    """Nothing is sent then."""
    rig = DispatcherRig()
    rig.call()
    rig.answer(REVOKED)
    rig.now += 5.0
    assert rig.dispatcher.go_on(sends=False) == math.inf
    assert rig.trials == []


def test_trouble_of_the_web_api_does_not_hold_up_the_websocket() -> None:
    """Nor the other way round."""
    rig = DispatcherRig()
    rig.call()
    rig.answer(REVOKED)
    rig.message("goes")
    assert rig.texts == ["goes"]
