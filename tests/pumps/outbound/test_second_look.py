"""Facts about names whose id Slack refused, with a Slack and a clock of our own and no broker."""

from __future__ import annotations

import math

import pytest

from rtmpump.core.outbound.api_calls import CallAnswer
from rtmpump.core.outbound.job import Job
from rtmpump.core.outbound.mailbox import LinkDown, LinkUp, NameChecked
from rtmpump.pumps.outbound.second_look import PATIENCE
from tests.support.dispatcher import DispatcherRig

ARCHIVED = CallAnswer(None, "is_archived", "Slack refused chat.postMessage")
OLD, NEW = "C0OLD", "C0NEW"


def rig_that_knows(mode: str = "rtm", **names: str) -> DispatcherRig:
    """A dispatcher whose directory knows these names."""
    rig = DispatcherRig(mode)
    rig.known |= names
    return rig


def refuse(rig: DispatcherRig) -> None:
    """Slack refuses the last frame."""
    rig.reply(rig.ids[-1], "4", "cannot process message")


def channels(rig: DispatcherRig) -> list[tuple[str, str]]:
    """What was written, and where."""
    return [(frame["text"], frame["channel"]) for frame in rig.frames]


def check(rig: DispatcherRig, id: str | None) -> None:
    """The directory answers its last lookup."""
    rig.looked_up[-1](id, "")
    note = rig.notes.pop()
    assert isinstance(note, NameChecked)
    rig.handle(note)


def test_a_message_follows_its_name() -> None:
    """Nothing was sent, so it may go to the channel that has the name now, at once if known."""
    rig = rig_that_knows(general=OLD)
    job = rig.message("hi", "#general")
    rig.known["general"] = NEW
    refuse(rig)
    assert channels(rig) == [("hi", OLD), ("hi", NEW)]
    rig.reply(rig.ids[-1])
    assert (rig.codes, job.channel_id, job.attempts) == (["ok"], NEW, 2)


def test_those_behind_it_follow_in_their_order() -> None:
    """Those of the same name, also what comes now; what gives the id itself stays where it is."""
    rig = rig_that_knows(general=OLD)
    rig.message("1", "general")
    rig.message("2", "general")
    rig.message("by id", OLD)
    rig.message("3", "#general")
    refuse(rig)
    assert len(rig.frames) == 1
    rig.known["general"] = NEW
    late = rig.message("4", "general")
    assert late.channel_id == OLD
    check(rig, NEW)
    assert sorted(channels(rig)[1:]) == [("1", NEW), ("by id", OLD)]
    for _ in range(3):
        rig.reply(next(frame["id"] for frame in reversed(rig.frames) if frame["channel"] == NEW))
    assert channels(rig)[3:] == [("2", NEW), ("3", NEW), ("4", NEW)]


@pytest.mark.parametrize("id", [None, OLD])
def test_where_the_name_did_not_move_the_refusal_is_the_end(id: str | None) -> None:
    """In Slack's words, and the next one of the channel goes."""
    rig = rig_that_knows(general=OLD)
    rig.message("1", "general")
    rig.message("2", "general")
    refuse(rig)
    check(rig, id)
    assert rig.codes == ["slack_4"]
    assert rig.ends[0][1].message.startswith("cannot process message; ")
    assert channels(rig)[1:] == [("2", OLD)]


def test_there_is_one_second_look() -> None:
    """The channel that has the name now may refuse it too."""
    rig = rig_that_knows(general=OLD)
    rig.message("hi", "general")
    rig.known["general"] = NEW
    refuse(rig)
    refuse(rig)
    assert (rig.codes, rig.looked_up) == (["slack_4"], [])


def test_an_id_is_not_looked_up() -> None:
    """Whoever gives it means this channel; nor is the name where Slack says something else."""
    rig = rig_that_knows(general=OLD)
    rig.message("hi", OLD)
    refuse(rig)
    rig.message("hi", "general")
    rig.reply(rig.ids[-1], "2", "message text is missing")
    assert (rig.codes, rig.looked_up) == (["slack_4", "slack_2"], [])


def test_what_may_have_been_posted_goes_nowhere_else() -> None:
    """Its first attempt had no reply."""
    rig = rig_that_knows(general=OLD)
    rig.message("hi", "general")
    rig.go_on(10.0)
    refuse(rig)
    assert (rig.codes, rig.looked_up) == (["slack_4"], [])


def test_the_wait_for_it_has_an_end() -> None:
    """Where the directory does not answer the refusal stands, whatever it says later."""
    rig = rig_that_knows(general=OLD)
    rig.message("hi", "general")
    refuse(rig)
    assert rig.go_on() == PATIENCE
    rig.go_on(PATIENCE)
    assert rig.codes == ["slack_4"]
    check(rig, NEW)
    assert (len(rig.ends), len(rig.frames)) == (1, 1)
    assert rig.go_on() == math.inf


def test_an_expiration_ends_the_wait() -> None:
    """It is not worth sending any more."""
    rig = rig_that_knows(general=OLD)
    rig.message("hi", "general", expires_in=5.0)
    refuse(rig)
    assert rig.go_on() == 5.0
    rig.go_on(5.0)
    assert rig.codes == ["slack_4"]


def test_an_expiration_goes_on_in_the_new_channel() -> None:
    """There it may wait for the WebSocket."""
    rig = rig_that_knows(general=OLD)
    rig.message("hi", "general", expires_in=5.0)
    refuse(rig)
    rig.handle(LinkDown())
    check(rig, NEW)
    rig.go_on(5.0)
    assert rig.codes == ["timeout"]


def test_in_socket_mode_slack_says_what_is_wrong() -> None:
    """By the codes of chat.postMessage."""
    rig = rig_that_knows("socket", general=OLD)
    rig.message("hi", "general")
    rig.known["general"] = NEW
    rig.answer(ARCHIVED)
    assert [arguments["channel"] for _, arguments, _ in rig.calls] == [OLD, NEW]
    rig.answer(CallAnswer({"ok": True, "ts": "1.2"}))
    assert rig.codes == ["ok"]


def left(rig: DispatcherRig, job: Job) -> None:
    """The connection to the broker ends, and the command is delivered again."""
    rig.dispatcher.leave_all([job])
    rig.dispatcher.take_back(job)
    rig.go_on()


def test_a_broker_that_goes_away_in_between() -> None:
    """The command comes again, and has its second look then; the answer of before is too late."""
    rig = rig_that_knows(general=OLD)
    job = rig.message("hi", "general")
    refuse(rig)
    left(rig, job)
    check(rig, NEW)
    assert channels(rig) == [("hi", OLD), ("hi", OLD)]
    rig.known["general"] = NEW
    refuse(rig)
    assert channels(rig)[2:] == [("hi", NEW)]


def test_what_is_under_way_does_not_move() -> None:
    """Its reply is still to come, from the channel that it was sent to."""
    rig = rig_that_knows(general=OLD)
    first = rig.message("1", "general")
    rig.dispatcher.leave_all([first])
    second = rig.message("2", "general")
    rig.dispatcher.take_back(first)
    refuse(rig)
    check(rig, NEW)
    assert (first.channel_id, second.channel_id) == (OLD, NEW)
    rig.reply(rig.ids[0])
    assert (rig.codes, len(rig.frames)) == (["ok"], 3)


def test_a_late_reply_of_success_settles_it() -> None:
    """Slack took an earlier attempt after all, so there is nothing left to look for."""
    rig = rig_that_knows(general=OLD)
    rig.message("hi", "general")
    rig.handle(LinkDown())
    rig.handle(LinkUp(2))
    rig.reply(rig.ids[0], "-1", "slow down")
    rig.go_on(0.5)
    refuse(rig)
    assert rig.looked_up
    rig.reply(rig.ids[0])
    assert rig.codes == ["ok"]
    check(rig, NEW)
    assert (len(rig.ends), len(rig.frames)) == (1, 2)
