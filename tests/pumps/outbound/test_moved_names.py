"""Facts about names that mean another channel while commands wait, with a Slack of our own."""

from __future__ import annotations

import random

import pytest

from rtmpump.core.frames import Reply
from rtmpump.core.outbound.api_calls import CallAnswer
from rtmpump.core.outbound.job import Job, Stage, fingerprint
from rtmpump.core.outbound.mailbox import LinkDown, LinkUp
from rtmpump.core.outbound.named_jobs import NamedJobs
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


def orphaned(rig: DispatcherRig, *jobs: Job) -> None:
    """The connection to the broker ends: what was sent lives on without its delivery."""
    rig.dispatcher.leave_all(jobs)
    for job in jobs:
        job.tag = None
        job.let_go()


def adopt(rig: DispatcherRig, job: Job) -> None:
    """Its message is delivered again."""
    rig.tags += 1
    job.tag = rig.tags
    rig.dispatcher.take_back(job)
    rig.go_on()


def test_a_refusal_that_is_read_before_the_command_comes_again() -> None:
    """It has no queue then; so it is tried once more, and has its second look where it is back."""
    rig = DispatcherRig()
    rig.known["general"] = OLD
    first = rig.message("1", "general")
    orphaned(rig, first)
    rig.known["general"] = NEW
    rig.reply(rig.ids[0], "4", "cannot process message")
    assert (rig.codes, rig.looked_up) == ([], [])
    adopt(rig, first)
    rig.message("2", "general")
    assert channels(rig) == [("1", OLD)] * 2
    rig.reply(rig.ids[1], "4", "cannot process message")
    settle_all(rig, 2)
    assert channels(rig)[2:] == [("1", NEW), ("2", NEW)]
    assert rig.codes == ["ok", "ok"]


def test_an_older_answer_does_not_undo_a_newer_one() -> None:
    """A command that waits in the line may have been found before its name moved."""
    rig = DispatcherRig(rate=1, burst=1)
    rig.known["general"] = OLD
    rig.message("by id", NEW)
    rig.reply(rig.ids[0])
    rig.message("1", "general")
    rig.message("x", "unknown")
    rig.message("2", "general")
    rig.known["general"] = NEW
    rig.reply(rig.ids[1], "4", "cannot process message")
    rig.looked_up[-1]("C0X", "")
    rig.handle(rig.notes.pop())
    settle_all(rig, 2)
    assert [one for one in channels(rig)[2:] if one[0] != "x"] == [("1", NEW), ("2", NEW)]


def test_a_second_look_ends_what_was_unsure() -> None:
    """The refusal came late, over the next connection: it says what became of that attempt."""
    rig = DispatcherRig()
    rig.known["general"] = OLD
    rig.message("1", "general")
    rig.handle(LinkDown())
    # One batch of the mailbox: replies come first.
    rig.dispatcher.handle(Reply(rig.ids[0], False, "", "4", "cannot process message", None))
    rig.handle(LinkUp(2))
    rig.go_on(2.0)
    assert rig.codes == []
    rig.looked_up[-1](NEW, "")
    rig.handle(rig.notes.pop())
    settle_all(rig, 1)
    assert (channels(rig)[1:], rig.codes) == ([("1", NEW)], ["ok"])


def test_a_name_that_is_looked_up_already_is_waited_for() -> None:
    """A second look of an older command lets no younger one pass."""
    rig = DispatcherRig()
    rig.known["general"] = OLD
    rig.message("1", "general")
    del rig.known["general"]
    rig.message("2", "general")
    rig.go_on(5.0)
    rig.reply(rig.ids[0], "4", "cannot process message")
    rig.message("3", "general")
    rig.known["general"] = NEW
    for answer in rig.looked_up:
        answer(NEW, "")
    for note in [rig.notes.pop(), rig.notes.pop()]:
        rig.handle(note)
    settle_all(rig, 1)
    assert channels(rig)[1:] == [("1", NEW), ("2", NEW), ("3", NEW)]


def test_a_second_look_whose_name_nobody_asked_for_since() -> None:
    """A command that is put back says by its queue what the name means; that outlives it."""
    rig = DispatcherRig()
    rig.known["general"] = OLD
    first = rig.message("1", "general")
    orphaned(rig, first)
    adopt(rig, first)
    del rig.known["general"]
    rig.reply(rig.ids[0], "4", "cannot process message")
    look = rig.looked_up[-1]
    rig.message("x", "unknown")
    rig.message("2", "general")
    look(None, "no such channel")
    rig.handle(rig.notes.pop())
    assert rig.codes == ["slack_4"]
    rig.go_on(5.0)
    assert channels(rig)[1:] == [("2", OLD)]


def test_nothing_is_sent_from_behind_a_second_look() -> None:
    """Also where the refused one was put back behind the head of its queue."""
    rig = DispatcherRig()
    rig.known["general"] = OLD
    first = rig.message("1", "general")
    orphaned(rig, first)
    rig.message("by id", OLD)
    adopt(rig, first)
    rig.reply(rig.ids[0], "4", "cannot process message")
    rig.reply(rig.ids[1])
    assert channels(rig) == [("1", OLD), ("by id", OLD)]
    rig.looked_up[-1](NEW, "")
    rig.handle(rig.notes.pop())
    assert channels(rig)[2:] == [("1", NEW)]


def test_what_may_have_been_posted_stays() -> None:
    """A message that Slack may have in the old channel goes nowhere else, and nothing passes it."""
    rig = rig_whose_name_moves()
    rig.message("3", "general")
    rig.go_on(10.0)
    assert channels(rig) == [("1", OLD)] * 2
    settle_all(rig, 1)
    assert channels(rig)[2:] == [("2", NEW), ("3", NEW)]


def test_a_wait_of_its_own_is_kept_in_the_new_queue() -> None:
    """Slack asked for it; also where others of the new channel are under way."""
    rig = DispatcherRig()
    rig.known["general"] = OLD
    rig.message("by id", NEW)
    first = rig.message("1", "general")
    rig.known["general"] = NEW
    rig.message("2", "general")
    rig.reply(rig.ids[1], "-1", "slow down")
    rig.reply(rig.ids[0])
    assert (first.queue_key, len(rig.frames)) == (NEW, 2)
    wait_for_a_frame(rig)
    settle_all(rig, 2)
    assert channels(rig)[2:] == [("1", NEW), ("2", NEW)]


def test_many_that_wait_cost_no_more_each() -> None:
    """What ends is taken out without a look at all others of its name: counted, not timed."""
    looks = 0

    class Counting(NamedJobs):
        def to_move(self, name: str, *, at_once: bool = False) -> list[Job]:
            nonlocal looks
            before = self._may_move

            def counted(job: Job) -> bool:
                nonlocal looks
                looks += 1
                return before(job)

            self._may_move = counted
            try:
                return super().to_move(name, at_once=at_once)
            finally:
                self._may_move = before

    named = Counting(lambda job: job.stage is Stage.WAITING)
    jobs = [Job(n, fingerprint(b"", None, None, None), None, b"", 0.0) for n in range(1000)]
    for job in jobs:
        job.name = "general"
    jobs[0].stage, jobs[0].queue_key = Stage.WRITTEN, OLD
    for job in jobs[1:]:
        named.arrive(job)
        named.learn("general", NEW)
        job.queue_key = named.place(job, NEW)
    named.arrive_sent(jobs[0])
    for job in reversed(jobs[1:]):
        assert named.to_move("general") == []
        named.settle(job)
    assert looks < 3 * len(jobs)


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
