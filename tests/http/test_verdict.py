"""Facts about the verdict: what is said of what, what comes first, and what is no failure."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from rtmpump.core.standstill import COMMANDS, PUBLISHING, READING, Halt
from rtmpump.http import wording
from rtmpump.http.status import BLANK, Gaps, LastGap, Links, LinkState, Verdict
from rtmpump.http.verdict import Evidence, judge
from rtmpump.metrics import LINKS, STANDBY_LINKS, SpoolStatus
from tests.support.http import AT

pytestmark = pytest.mark.quick

NOW = 1000.0
UP = LinkState(up=True, since=AT)


def links(role: str = "active", **down: str) -> Links:
    """Give links of which some are down, each with its last error."""
    wanted = LINKS if role == "active" else STANDBY_LINKS
    states = dict.fromkeys(wanted, UP)
    for link, error in down.items():
        states[link] = LinkState(up=False, since=AT, last_error=error, last_error_at=AT)
    return Links(role, list(wanted), states, [])


def verdict(**seen: Any) -> Verdict:
    """Give the verdict on a pump that is well but for what is given."""
    well = Evidence(links(), [], {}, NOW, AT, BLANK.slack, BLANK.queues, is_blocked=False)
    return judge(well._replace(**seen))


def halted(trip: str, reason: str, seconds: float, waiting: int = 0) -> dict[str, list[Halt]]:
    """Give a trip that has stood still for so long."""
    return {trip: [Halt(reason, NOW - seconds, "the detail", waiting)]}


def spool(percent: float) -> SpoolStatus:
    """Give a spool that is so full."""
    return SpoolStatus(events=9, bytes=9, max_bytes=10, percent=percent, oldest_seconds=1)


def test_all_is_well() -> None:
    """It is one sentence without advice."""
    found = verdict()
    assert (found.ready, found.tone, found.means, found.fix, found.more) == (True, "ok", "", "", [])
    assert found.what == "All is well: Slack and RabbitMQ are connected"


def test_a_standby_is_ready() -> None:
    """And says that it is one; what the active pump needs is no matter."""
    found = verdict(links=links("standby", slack="closed: x"))
    assert (found.ready, found.what) == (True, "Standby: ready to take over from the active pump")


def test_a_pump_without_the_turn_is_ready() -> None:
    """And says that another one gets the commands."""
    found = verdict(queues=replace(BLANK.queues, queue="rtm.outbound", waits_for_turn=True))
    assert (found.ready, found.tone) == (True, "ok")
    assert found.more[0].what == "Another pump has the turn for the commands"


@pytest.mark.parametrize(("trip", "reason"), wording.WORDS)
def test_each_reason_has_its_three_sentences(trip: str, reason: str) -> None:
    """What is wrong, what it means and what to do, with no field left open."""
    found = verdict(halts=halted(trip, reason, 61, 2), spool=spool(12))
    assert (found.ready, found.tone) == (False, "bad")
    for words in (found.what, found.means, found.fix):
        assert words
        assert "{" not in words
        assert not words.endswith(("..", ";"))


@pytest.mark.parametrize("trip", [READING, PUBLISHING, COMMANDS])
def test_a_reason_that_nobody_knows_fails_too(trip: str) -> None:
    """Whatever stands still for more than five seconds is no longer green."""
    assert verdict(halts=halted(trip, "unheard_of", 4.9)).ready
    assert not verdict(halts=halted(trip, "unheard_of", 5.1)).ready


@pytest.mark.parametrize("reason", ["rate_limit", "slack_pause"])
def test_limits_and_pauses_are_said_and_are_no_failure_for_a_minute(reason: str) -> None:
    """They are a part of the work until then."""
    found = verdict(halts=halted(COMMANDS, reason, 59, 7))
    assert (found.ready, found.tone) == (True, "ok")
    assert found.more[0].level == "note"
    assert found.more[0].what.startswith("7 commands wait ")
    assert not verdict(halts=halted(COMMANDS, reason, 61)).ready


def test_what_is_not_read_comes_before_a_broker_that_is_away() -> None:
    """The spool is full because RabbitMQ is away: both are said, the worse one first."""
    found = verdict(
        links=links(broker_events="refused: x", broker_commands="refused: x"),
        halts=halted(READING, "spool_full", 6) | halted(PUBLISHING, "not_connected", 60),
        spool=spool(100),
    )
    assert found.what == "Nothing is read from Slack: the spool is full (spool.max_bytes)"
    (away,) = found.more
    assert away.what == "Not connected: RabbitMQ (events), RabbitMQ (commands) (refused: x)"
    assert away.fix == "Start RabbitMQ, or correct broker.url"
    assert "(100 % of the spool)" in away.means


def test_a_connection_that_the_pump_renews() -> None:
    """While RabbitMQ refuses all, a new connection is tried now and then: the cause stays said."""
    refused = halted(PUBLISHING, "nacked", 6)
    found = verdict(links=links(broker_events="nacked: the broker refuses all"), halts=refused)
    assert found.what.startswith("RabbitMQ refuses the events")
    assert found.more == []
    # Another failure of the link is news.
    found = verdict(links=links(broker_events="refused: x"), halts=refused)
    assert found.what == "Not connected: RabbitMQ (events) (refused: x)"
    found = verdict(links=links(broker_events="nacked: x"), halts=halted(PUBLISHING, "nacked", 4.9))
    assert found.what == "Not connected: RabbitMQ (events) (nacked: x)"


def test_links_of_several_places() -> None:
    """The headline names all that are down; what to do is said of each place."""
    found = verdict(
        links=links(slack="closed: bye", broker_events="auth: no", web_api="http_500: x")
    )
    assert found.what.startswith("Not connected: Slack, RabbitMQ (events), Slack (Web API)")
    assert [one.fix.partition(" ")[0] for one in found.more] == ["Correct", "See"]


def test_the_next_try() -> None:
    """It is said when a link that is down is tried again."""
    away = links(slack="closed: bye")
    away.states["slack"] = replace(away.states["slack"], next_try_at="2026-11-24T13:00:12.000Z")
    assert verdict(links=away).fix.endswith("; the next try is in 12 s")
    assert verdict(links=away, at="2026-11-24T13:00:13.000Z").fix.endswith("; the next try is now")


@pytest.mark.parametrize("code", ["token_revoked", "invalid_auth", "account_inactive"])
def test_a_refused_token(code: str) -> None:
    """It is known by its reason, and the remedy is another token."""
    found = verdict(links=links(web_api=f"{code}: Slack refuses it"))
    assert "slack.token_file" in found.fix


def test_a_spool_that_fills() -> None:
    """It is a warning before it is a failure, and says how long there is room."""
    found = verdict(spool=spool(85), full_in=7260.0)
    assert (found.ready, found.tone) == (True, "warn")
    assert found.what == "The spool is 85 % full, with room for 2 h 1 min at the present rate"
    assert verdict(spool=spool(79)).tone == "ok"


def test_every_event_comes_back() -> None:
    """Then no queue is bound, and that is a warning; some that come back are none."""
    assert verdict(returned=302, confirmed=302).what.startswith("No queue takes the events: 302 ")
    assert verdict(returned=302, confirmed=400).tone == "ok"
    assert verdict(returned=3, confirmed=3).tone == "ok"


def test_an_alarm_without_events() -> None:
    """Nothing waits yet: a warning."""
    found = verdict(is_blocked=True)
    assert (found.ready, found.tone) == (True, "warn")


def test_texts_from_outside_are_no_templates() -> None:
    """Braces in an error text or a detail do no harm."""
    found = verdict(
        links=links(slack="odd: {links} {0} {"), halts={READING: [Halt("disk", 0.0, "{x} {")]}
    )
    assert "{x} {" in found.what
    assert "{links} {0} {" in found.more[0].what
    assert not verdict(stalled=["{x}"]).ready


def test_the_runbook_is_named() -> None:
    """By trip, by reason where it has an entry of its own, and by the link that is down."""
    assert verdict().runbook == ""
    assert verdict(halts=halted(READING, "hangs", 6)).runbook == "RtmpumpReadingStopped"
    assert verdict(halts=halted(READING, "disk", 6)).runbook == "RtmpumpSpoolRefusing"
    assert verdict(links=links(broker_commands="refused: x")).runbook == "RtmpumpBrokerDown"
    assert verdict(links=links(web_api="http_500: x")).runbook == "RtmpumpWebApiDown"
    assert verdict(spool=spool(85)).runbook == "RtmpumpSpoolNearlyFull"


def test_dead_letters_are_a_note() -> None:
    """With their number, their queue and the command to look at them."""
    found = verdict(dead_letters=3, queues=replace(BLANK.queues, dead_queue="q"))
    (note,) = found.more
    assert (found.tone, note.level, note.what) == ("ok", "note", "3 dead letters are in q")
    assert "`rtmpump dead list`" in note.fix
    assert verdict(dead_letters=0).more == verdict(dead_letters=None).more == []


@pytest.mark.parametrize(
    ("minutes", "filled", "is_said"), [(14, False, True), (16, False, False), (14, True, False)]
)
def test_a_gap_is_said_while_it_is_news(minutes: int, filled: bool, is_said: bool) -> None:
    """For as long as the chart shows it; one that was filled needs no word."""
    until = f"2026-11-24T12:{60 - minutes}:00.000Z"
    gap = LastGap(since=until, until=until, reason="silent", filled=filled, note="it is off")
    found = verdict(slack=replace(BLANK.slack, gaps=Gaps(number=1, last=gap, recent=[gap])))
    assert [one.reason for one in found.more] == ["gap"] * is_said
    assert found.tone == "ok"


@pytest.mark.parametrize(("percent", "words"), [(0.0, "0 %"), (0.4, "under 1 %"), (12.4, "12 %")])
def test_room_on_disk(percent: float, words: str) -> None:
    """While RabbitMQ is away it is said how full the spool is, and how long there is room."""
    found = verdict(links=links(broker_events="x"), spool=spool(percent), full_in=21_600.0)
    assert f"({words} of the spool, room for 6 h at the present rate)" in found.means


def test_a_gap_that_is_filled() -> None:
    """How far it is, and what it waits for, is a note."""
    fill = replace(BLANK.slack.backfill, on=True, pending=2, messages=3, waits_for="Slack")
    found = verdict(slack=replace(BLANK.slack, backfill=fill))
    assert found.tone == "ok"
    assert found.more[0].what == "2 gaps to fill: 0 conversations and 3 messages so far"
    assert found.more[0].means == "It waits for Slack."
