"""Facts about trouble that lasts: nothing dies of it, and order is kept. Time is simulated."""

from __future__ import annotations

from collections import defaultdict

import pytest

from rtmpump.core.outbound.api_calls import CallAnswer, Trouble
from rtmpump.core.outbound.mailbox import LinkDown, LinkUp
from tests.support.slack_in_trouble import FINE, SLOW_DOWN, SlackInTrouble

CHANNELS, EACH = 200, 5
ALL = CHANNELS * EACH
HOUR = 3600.0


def held(trouble: Trouble, code: str, retry_after: float | None = None) -> CallAnswer:
    """What the workers say of a call that Slack surely did not take."""
    return CallAnswer(None, code, again=True, retry_after=retry_after, trouble=trouble)


TROUBLES = {
    "503": held(Trouble.AWAY, "http_503"),
    "service_unavailable": held(Trouble.AWAY, "service_unavailable"),
    "migration": held(Trouble.AWAY, "migration_in_progress", 30.0),
    "ratelimited": held(Trouble.LIMITED, "ratelimited"),
    "429, 1 s": held(Trouble.LIMITED, "ratelimited", 1.0),
    "429, 300 s": held(Trouble.LIMITED, "ratelimited", 300.0),
    "refused connection": held(Trouble.UNREACHABLE, "unreachable"),
    "refused token": held(Trouble.TOKEN, "token_revoked"),
}


def in_order(slack: SlackInTrouble) -> bool:
    """Whether each channel got its messages once and in order."""
    by_channel: dict[str, list[str]] = defaultdict(list)
    for _, channel, text in slack.taken:
        by_channel[channel].append(text)
    right = [str(number) for number in range(EACH)]
    return len(by_channel) == CHANNELS and all(one == right for one in by_channel.values())


def is_small(slack: SlackInTrouble) -> bool:
    """Whether what is kept is in proportion to what waits."""
    queues, throttles = slack.rig.dispatcher._queues, slack.rig.dispatcher._throttles
    kept = len(queues._plan) + sum(map(len, queues._lines.values())) + len(slack.rig.notes)
    return kept <= 3 * CHANNELS and len(throttles._throttles) < 5


@pytest.mark.parametrize("lasts", [20.0, 300.0, HOUR])
@pytest.mark.parametrize("name", TROUBLES)
def test_trouble_of_the_web_api_is_waited_for(name: str, lasts: float) -> None:
    """0 dead, in order, once; few calls fail; the first one goes when the pause is over."""
    answer = TROUBLES[name]
    slack = SlackInTrouble(lambda now: answer if now < lasts else FINE, rate=1, burst=3)
    slack.enqueue(CHANNELS, EACH)
    slack.run(lasts)
    assert slack.taken == []
    assert is_small(slack)
    longest = max(60.0, answer.retry_after or 0.0)
    pause = slack.pause
    assert pause <= longest
    # Five at first, and one for each pause.
    assert len(slack.refused) <= 15 + lasts / longest
    slack.run(lasts + pause + 2.0)
    assert slack.taken
    slack.run(lasts + pause + 60.0, lambda: len(slack.taken) == ALL)
    assert slack.rig.codes == ["ok"] * ALL
    assert {job.attempts for job, _ in slack.rig.ends} == {1}
    assert in_order(slack)
    assert not [at for at in slack.refused if at > lasts]


@pytest.mark.parametrize("lasts", [20.0, 300.0, HOUR])
def test_slow_down_is_waited_for(lasts: float) -> None:
    """Over RTM, where all channels go at once at first."""
    slack = SlackInTrouble(lambda now: SLOW_DOWN if now < lasts else FINE, "rtm", rate=1, burst=3)
    slack.enqueue(CHANNELS, EACH)
    slack.run(lasts)
    assert slack.taken == []
    assert is_small(slack)
    pause = slack.pause
    assert len(slack.refused) <= CHANNELS + 15 + lasts / 60.0
    slack.run(lasts + pause + 2.0)
    assert slack.taken
    slack.run(lasts + pause + 60.0, lambda: len(slack.taken) == ALL)
    assert slack.rig.codes == ["ok"] * ALL
    assert in_order(slack)
    assert not [at for at in slack.refused if at > lasts]


@pytest.mark.parametrize("lasts", [20.0, 300.0, HOUR])
def test_a_lost_websocket_is_waited_for(lasts: float) -> None:
    """What was under way is uncertain, and alone may be there twice."""
    slack = SlackInTrouble(lambda _: FINE, "rtm", rate=1, burst=3)
    slack.rig.handle(LinkDown())
    slack.enqueue(CHANNELS, EACH)
    slack.at(lasts, lambda: slack.rig.handle(LinkUp(2)))
    slack.run(lasts + 60.0, lambda: len(slack.taken) == ALL)
    assert slack.rig.codes == ["ok"] * ALL
    assert in_order(slack)
    assert slack.taken[0][0] <= lasts + 2.0


@pytest.mark.parametrize("a_second", [0.2, 1.0, 5.0])
@pytest.mark.parametrize("mode", ["rtm", "socket"])
def test_a_limit_of_all_together_is_found_and_kept_to(mode: str, a_second: float) -> None:
    """60 channels with a message each: more than half of what Slack allows goes through."""
    allowed = 0.0

    def answer(now: float) -> CallAnswer:
        nonlocal allowed
        if now < allowed:
            return SLOW_DOWN if mode == "rtm" else held(Trouble.LIMITED, "ratelimited")
        allowed = now + 1 / a_second
        return FINE

    slack = SlackInTrouble(answer, mode)
    slack.enqueue(60, 1)
    slack.run(2 * 60 / a_second + 10.0, lambda: len(slack.taken) == 60)
    assert slack.rig.codes == ["ok"] * 60
    at_first = 60 if mode == "rtm" else 4
    assert len(slack.refused) <= at_first + 30


def test_what_expires_in_trouble_is_a_dead_letter_at_its_time() -> None:
    """Its sender said how long it is worth sending."""
    slack = SlackInTrouble(lambda _: TROUBLES["503"])
    slack.enqueue(10, 2, expires_in=20.0)
    slack.run(19.9)
    assert slack.rig.codes == []
    slack.run(20.1)
    assert slack.rig.codes == ["timeout"] * 20


def test_one_channel_that_is_limited_holds_up_no_other() -> None:
    """Slack limits each channel by itself; those that it takes say that all is well."""
    slack = SlackInTrouble(lambda _: FINE)
    count = slack._count

    def limited(channel: str, text: str) -> CallAnswer:
        return (
            held(Trouble.LIMITED, "ratelimited", 30.0)
            if channel == "C000"
            else count(channel, text)
        )

    slack._count = limited  # type: ignore[method-assign]
    slack.enqueue(20, 5)
    slack.run(2.0)
    assert len(slack.taken) == 95


def test_a_command_that_fails_for_ever_ends_and_holds_up_no_other() -> None:
    """It is at fault itself, as the others succeed."""
    slack = SlackInTrouble(lambda _: FINE, max_attempts=3)
    count = slack._count

    def failing(channel: str, text: str) -> CallAnswer:
        bad = CallAnswer(None, "http_403", again=True)
        return bad if (channel, text) == ("C000", "0") else count(channel, text)

    slack._count = failing  # type: ignore[method-assign]
    slack.enqueue(20, 5)
    slack.run(1.4)
    assert slack.rig.codes == ["ok"] * 95
    slack.run(60.0)
    assert sorted(slack.rig.codes) == ["max_attempts", *["ok"] * 99]


@pytest.mark.parametrize("code", ["http_502", "internal_error", "timeout"])
def test_an_hour_without_answers_costs_few_commands(code: str) -> None:
    """Each may have been carried out, so it is an attempt; but most commands are not tried."""
    unsure = CallAnswer(None, code, again=True, certain=False)
    slack = SlackInTrouble(lambda now: unsure if now < HOUR else FINE, rate=1, burst=3)
    slack.enqueue(CHANNELS, EACH)
    slack.run(HOUR + 120.0, lambda: len(slack.rig.ends) == ALL)
    assert slack.rig.codes.count("ok") >= ALL - 20
    assert sum(job.uncertain for job, _ in slack.rig.ends) <= 100


def test_an_hour_of_refusals_that_are_not_slacks_costs_no_command() -> None:
    """A proxy forbids all of it: that is no command's fault."""
    forbidden = CallAnswer(None, "http_403", again=True)
    slack = SlackInTrouble(lambda now: forbidden if now < HOUR else FINE, rate=1, burst=3)
    slack.enqueue(CHANNELS, EACH)
    slack.run(HOUR + 120.0, lambda: len(slack.rig.ends) == ALL)
    assert slack.rig.codes == ["ok"] * ALL
    assert in_order(slack)


def test_a_broadcast_takes_as_long_as_slacks_answers() -> None:
    """Four messages are under way at any time, whatever waits behind them."""
    slack = SlackInTrouble(lambda _: FINE, rate=1, burst=1)
    slack.enqueue(CHANNELS, 1)
    slack.run(60.0, lambda: len(slack.taken) == CHANNELS)
    assert slack.now == pytest.approx(CHANNELS / 4 * 0.05)


def test_after_a_pause_what_waited_does_not_go_in_one_burst() -> None:
    """Over RTM nothing else would hold it back: one first, then ever more."""
    slack = SlackInTrouble(lambda now: SLOW_DOWN if now < 20.0 else FINE, "rtm")
    slack.enqueue(CHANNELS, 1)
    slack.run(20.0)
    slack.run(120.0, lambda: len(slack.taken) == CHANNELS)
    first = slack.taken[0][0]
    within = [sum(at <= first + seconds for at, _, _ in slack.taken) for seconds in (0.5, 2.0, 8.0)]
    assert within[0] <= 2 < within[1] <= 6 < within[2] <= 40
    assert slack.taken[-1][0] - first < 15.0
