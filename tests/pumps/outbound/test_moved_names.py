"""Facts about names that mean another channel while commands wait, with a Slack of our own."""

from __future__ import annotations

import random

import pytest

from rtmpump.core.outbound.api_calls import CallAnswer
from rtmpump.core.outbound.job import Job
from tests.support.dispatcher import DispatcherRig

OLD, NEW = "C0OLD", "C0NEW"


def rig_whose_name_moves(mode: str = "rtm") -> DispatcherRig:
    """A dispatcher that wrote "1" to OLD, has "2" behind it, and hears that the name is NEW."""
    rig = DispatcherRig(mode)
    rig.known["general"] = OLD
    rig.message("1", "general")
    rig.message("2", "#general")
    rig.known["general"] = NEW
    return rig


def channels(rig: DispatcherRig) -> list[tuple[str, str]]:
    """What was written, and where."""
    return [(frame["text"], frame["channel"]) for frame in rig.frames]


def wait_for_a_frame(rig: DispatcherRig) -> None:
    """Let time pass until something is written, for a minute at most."""
    before = len(rig.frames)
    for _ in range(120):
        if len(rig.frames) == before:
            rig.go_on(0.5)


def settle_all(rig: DispatcherRig, replied: int = 0) -> None:
    """Slack takes what it is given but for the first so many, as long as there is something."""
    while replied < len(rig.frames):
        rig.reply(rig.ids[replied])
        replied += 1
        if replied == len(rig.frames):
            wait_for_a_frame(rig)


def test_the_older_ones_go_first() -> None:
    """What waits for the channel that had the name goes to the new one, before the younger."""
    rig = rig_whose_name_moves()
    rig.message("3", "general")
    assert channels(rig) == [("1", OLD)]
    settle_all(rig)
    assert channels(rig) == [("1", OLD), ("2", NEW), ("3", NEW)]
    assert rig.codes == ["ok"] * 3


def test_they_wait_for_what_is_under_way() -> None:
    """If the old channel refuses it, it goes to the new one too, before all others."""
    rig = rig_whose_name_moves()
    rig.message("3", "general")
    rig.reply(rig.ids[-1], "4", "cannot process message")
    settle_all(rig)
    assert channels(rig)[1:] == [("1", NEW), ("2", NEW), ("3", NEW)]


def test_what_has_to_go_again_moves_too() -> None:
    """A limit let it wait: then nothing is under way, so all go to the new channel in order."""
    rig = rig_whose_name_moves()
    rig.message("3", "general")
    rig.reply(rig.ids[-1], "-1", "slow down")
    assert len(rig.frames) == 1
    wait_for_a_frame(rig)
    settle_all(rig, 1)
    assert channels(rig)[1:] == [("1", NEW), ("2", NEW), ("3", NEW)]


def test_commands_by_id_stay() -> None:
    """Whoever gives the id means this channel, whatever its name is by now."""
    rig = rig_whose_name_moves()
    rig.message("by id", OLD)
    rig.message("3", "general")
    settle_all(rig)
    assert sorted(channels(rig)) == [("1", OLD), ("2", NEW), ("3", NEW), ("by id", OLD)]
    assert [text for text, channel in channels(rig) if channel == NEW] == ["2", "3"]


def test_a_name_that_moves_and_comes_back() -> None:
    """The last meaning counts; the order is that of their coming."""
    rig = rig_whose_name_moves()
    rig.message("3", "general")
    rig.known["general"] = OLD
    rig.message("4", "general")
    settle_all(rig)
    assert channels(rig) == [("1", OLD), ("2", OLD), ("3", OLD), ("4", OLD)]


def test_calls_by_name_keep_their_place() -> None:
    """A chat.postMessage by name is a message of that name, so it moves with the others."""
    rig = DispatcherRig("socket")
    rig.known["general"] = OLD
    rig.message("1", "general")
    rig.call("chat.postMessage", channel="general", text="2")
    rig.message("3", "general")
    rig.known["general"] = NEW
    rig.message("4", "general")
    for _ in range(4):
        rig.answer(CallAnswer({"ok": True, "ts": "1.2"}))
        rig.go_on(1.0)
    sent = [(arguments["text"], arguments["channel"]) for _, arguments, _ in rig.calls]
    assert sent == [("1", OLD), ("2", "general"), ("3", NEW), ("4", NEW)]


def test_a_connection_to_the_broker_that_ends() -> None:
    """What is under way is taken back where it is; what comes again follows its name, in order."""
    rig = DispatcherRig()
    rig.known["general"] = OLD
    first = rig.message("1", "general")
    rig.known["general"] = NEW
    second = rig.message("2", "general")
    rig.dispatcher.leave_all([first, second])
    rig.dispatcher.take_back(first)
    for text in ("2", "3"):
        rig.message(text, "general")
    assert len(rig.frames) == 1
    rig.reply(rig.ids[0], "4", "cannot process message")
    settle_all(rig)
    assert channels(rig)[1:] == [("1", NEW), ("2", NEW), ("3", NEW)]


@pytest.mark.parametrize("seed", range(40))
def test_any_course_keeps_the_order(seed: int) -> None:
    """Whatever Slack answers and however often the name moves, each goes once, none overtakes."""
    dice = random.Random(seed)
    rig = DispatcherRig()
    rig.known["general"] = OLD
    ids = [OLD, NEW, "C0THIRD"]
    sent: list[Job] = []
    taken: list[str] = []
    replied = 0
    for _ in range(200):
        match dice.randrange(5):
            case 0 | 1 if len(sent) < 30:
                sent.append(rig.message(str(len(sent)), "general"))
            case 2:
                rig.known["general"] = dice.choice(ids)
            case _ if replied < len(rig.frames):
                frame = rig.frames[replied]
                replied += 1
                gone = frame["channel"] != rig.known["general"]
                if gone and dice.random() < 0.7:
                    rig.reply(frame["id"], "4", "cannot process message")
                elif dice.random() < 0.2:
                    rig.reply(frame["id"], "-1", "slow down")
                else:
                    taken.append(frame["text"])
                    rig.reply(frame["id"])
            case _:
                wait_for_a_frame(rig)
    while replied < len(rig.frames):
        taken.append(rig.frames[replied]["text"])
        rig.reply(rig.ids[replied])
        wait_for_a_frame(rig)
        replied += 1
    ended = {id(job): outcome for job, outcome in rig.ends}
    assert len(ended) == len(rig.ends) == len(sent)
    assert [int(text) for text in taken] == sorted(map(int, taken))
    assert len(set(taken)) == len(taken)
    assert all(job.done for job in sent)
