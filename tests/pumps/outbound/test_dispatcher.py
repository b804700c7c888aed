"""Facts about the dispatcher, with a Slack and a clock of our own and no broker."""

from __future__ import annotations

import json
import math

import pytest

from rtmpump.core.frames import Reply
from rtmpump.core.outbound.api_calls import CallAnswer, Trouble
from rtmpump.core.outbound.job import Stage
from rtmpump.core.outbound.mailbox import CallAnswered, LinkDown, LinkUp, NameAnswered
from rtmpump.core.outbound.outcome import Outcome, Response
from rtmpump.errors import NotConnected, WriteFailed
from tests.support.dispatcher import DispatcherRig

ADD = "reactions.add"
UNREACHABLE = CallAnswer(None, "unreachable", again=True, trouble=Trouble.UNREACHABLE)


def test_a_reply_that_does_not_come_in_time_is_a_failure_once() -> None:
    """The message goes again; a late reply to the first attempt still settles it."""
    rig = DispatcherRig()
    job = rig.message("hi")
    rig.go_on(9.9)
    assert len(rig.frames) == 1
    rig.go_on(0.1)
    assert len(rig.frames) == 2
    rig.go_on(1.0)
    assert len(rig.frames) == 2
    assert (job.attempts, job.uncertain) == (2, True)
    rig.reply(rig.ids[0])
    assert rig.ends == [(job, Outcome(True, "1.2"))]
    rig.reply(rig.ids[1])
    assert len(rig.ends) == 1


def test_the_rate_of_a_channel_holds_when_commands_come_from_another_pump() -> None:
    """It may just have sent there; what it never had goes at once, and so do calls."""
    rig = DispatcherRig(rate=1.0, burst=3)
    for _ in range(3):
        rig.message("back", came_back=True)
    rig.message("new", channel="C2B")
    rig.take(type="api", method=ADD, arguments={"channel": "C1A"}, came_back=True)
    assert [frame["text"] for frame in rig.frames] == ["new"]
    assert len(rig.calls) == 1
    for sent in (1, 2, 3):
        rig.go_on(1.0)
        assert [frame["text"] for frame in rig.frames] == ["new"] + ["back"] * sent
        rig.reply(rig.ids[-1])


def test_a_decision_waits_for_the_next_hello_and_a_moment() -> None:
    """Without a link there is no deadline: nothing could answer."""
    rig = DispatcherRig()
    job = rig.message("hi")
    rig.handle(LinkDown())
    assert rig.go_on(99.0) == math.inf
    rig.handle(LinkUp(2))
    assert rig.go_on() == 1.0
    rig.go_on(0.9)
    assert len(rig.frames) == 1
    rig.go_on(0.1)
    assert len(rig.frames) == 2
    assert (job.attempts, job.uncertain) == (2, True)


def test_a_late_reply_after_the_hello_settles_it() -> None:
    """It was sent once, and nothing is uncertain."""
    rig = DispatcherRig()
    job = rig.message("hi")
    rig.handle(LinkDown())
    rig.handle(LinkUp(2))
    rig.reply(rig.ids[0])
    assert rig.go_on(99.0) == math.inf
    assert (rig.codes, len(rig.frames), job.uncertain) == (["ok"], 1, False)


def test_a_job_that_went_again_in_the_gap_is_not_uncertain() -> None:
    """A "slow down" that came late made it go again: only the new attempt counts."""
    rig = DispatcherRig()
    job = rig.message("hi")
    rig.handle(LinkDown())
    rig.handle(LinkUp(2))
    rig.reply(rig.ids[0], "-1", "slow down")
    rig.go_on(0.5)
    assert len(rig.frames) == 2
    rig.go_on(5.0)
    assert not job.uncertain
    rig.go_on(5.0)
    assert (job.uncertain, job.attempts) == (True, 2)


@pytest.mark.parametrize("cut", [True, False])
def test_what_is_uncertain_is_a_dead_letter_if_so_wished(cut: bool) -> None:
    """As "uncertain" when the connection ended, as "timeout" when no reply came; sent once."""
    rig = DispatcherRig(on_uncertain="dead-letter")
    job = rig.message("hi")
    if cut:
        rig.handle(LinkDown())
        rig.handle(LinkUp(2))
    rig.go_on(10.0)
    assert rig.codes == ["uncertain" if cut else "timeout"]
    assert (job.uncertain, len(rig.frames)) == (True, 1)


def test_a_stop_waits_for_no_hello() -> None:
    """What the WebSocket left uncertain is decided all the same."""
    rig = DispatcherRig(on_uncertain="dead-letter")
    rig.message("hi")
    rig.handle(LinkDown())
    rig.dispatcher.await_no_hello()
    rig.go_on(1.0)
    assert rig.codes == ["uncertain"]


def test_a_stop_decides_once_about_what_waits_to_go_again() -> None:
    """It was not sent again, so it goes back to the queue and not to the dead letters."""
    rig = DispatcherRig()
    job = rig.message("hi")
    rig.handle(LinkDown())
    rig.handle(LinkUp(2))
    rig.broken.append(NotConnected("slack", "away", ""))
    rig.message("finds no connection", "C2B")
    rig.go_on(1.0)
    assert (job.stage, job.uncertain) == (Stage.WAITING, True)
    rig.dispatcher.await_no_hello()
    rig.go_on(1.0)
    assert rig.ends == []


def test_slow_down_backs_off_and_is_no_attempt() -> None:
    """Each wait is twice the one before, as often as it comes; nothing is uncertain."""
    rig = DispatcherRig(max_attempts=2)
    job = rig.message("hi")
    waits = []
    for _ in range(9):
        rig.reply(rig.ids[-1], "-1", "slow down")
        waits.append(rig.go_on())
        rig.go_on(waits[-1])
    assert waits == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]
    rig.reply(rig.ids[-1])
    assert (rig.codes, job.attempts, job.uncertain) == (["ok"], 1, False)


def test_another_error_is_final() -> None:
    """Only if it answers the last attempt."""
    rig = DispatcherRig()
    rig.message("hi")
    rig.go_on(10.0)
    rig.reply(rig.ids[0], 2, "message text is missing")
    assert rig.ends == []
    rig.reply(rig.ids[1], 2, "message text is missing")
    assert rig.ends[0][1] == Outcome(False, "", "slack_2", "message text is missing")


def test_a_write_that_found_no_connection_is_no_attempt() -> None:
    """The message goes on the next connection, before those behind it."""
    rig = DispatcherRig()
    rig.broken.append(NotConnected("slack", "away", ""))
    job = rig.message("first")
    rig.message("second")
    rig.message("other channel", "C2B")
    assert (job.attempts, rig.frames) == (0, [])
    rig.handle(LinkUp(2))
    assert rig.texts == ["first", "other channel"]
    rig.reply(rig.ids[0])
    assert rig.texts[-1] == "second"


def test_a_message_whose_write_broke_is_uncertain_once_the_link_is_known_to_be_down() -> None:
    """And nothing more is written before the next hello."""
    rig = DispatcherRig()
    rig.broken.append(WriteFailed("slack", "reset", ""))
    job = rig.message("hi")
    rig.message("other", "C2B")
    assert (job.stage, rig.frames) == (Stage.WRITTEN, [])
    rig.handle(LinkDown())
    rig.handle(LinkUp(2))
    assert rig.texts == ["other"]
    rig.go_on(1.0)
    assert (rig.texts, job.uncertain) == (["other", "hi"], True)


def test_an_indicator_whose_write_broke_goes_again() -> None:
    """It hurts nothing twice; and it ends after max_attempts."""
    rig = DispatcherRig(max_attempts=2)
    rig.broken.append(WriteFailed("slack", "reset", ""))
    job = rig.take(type="typing", channel="C1A")
    assert (job.attempts, rig.ends) == (1, [])
    rig.broken.append(WriteFailed("slack", "reset", ""))
    rig.handle(LinkUp(2))
    assert rig.codes == ["max_attempts"]
    assert rig.ends[0][1].message == "2 attempts: each write failed"


def test_a_write_that_found_no_connection_costs_no_token() -> None:
    """At the next connection it goes at once."""
    rig = DispatcherRig(rate=0.001, burst=1)
    rig.broken.append(NotConnected("slack", "away", ""))
    rig.message("hi")
    rig.handle(LinkUp(2))
    assert rig.texts == ["hi"]


def test_a_forgotten_probe_does_not_hold_up_the_others() -> None:
    """Its reply never comes, and neither does its message."""
    rig = DispatcherRig()
    jobs = [rig.message("hi", f"C{number}A") for number in range(3)]
    for id in list(rig.ids):
        rig.reply(id, "-1", "slow down")
    rig.go_on(0.5)
    assert len(rig.frames) == 4
    (probe,) = [job for job in jobs if job.was_written]
    rig.dispatcher.leave_all([probe])
    rig.dispatcher.forget(probe)
    rig.message("other", "C9A")
    rig.go_on(0.5)
    assert rig.texts[-1] == "other"


def test_expiration_ends_what_waits_and_not_what_was_sent() -> None:
    """Also what waits for the WebSocket, or for its name."""
    rig = DispatcherRig()
    sent = rig.message("sent", expires_in=1.0)
    rig.message("behind it", expires_in=1.0)
    rig.message("by name", "general", expires_in=1.0)
    rig.handle(LinkDown())
    rig.message("no link", "C2B", expires_in=1.0)
    rig.go_on(1.0)
    assert rig.codes == ["timeout"] * 3
    assert sent.outcome is None


def test_an_expiration_holds_again_once_it_has_to_be_sent_again() -> None:
    """Its time passed while Slack was asked."""
    rig = DispatcherRig()
    rig.message("hi", expires_in=1.0)
    rig.go_on(2.0)
    rig.reply(rig.ids[0], "-1", "slow down")
    assert rig.codes == ["timeout"]


def test_a_message_and_a_posted_one_keep_the_order_of_their_channel() -> None:
    """Whichever way each takes: one is under way at a time, at one rate."""
    rig = DispatcherRig(rate=1, burst=2, api_methods="chat.postMessage")
    rig.message("first")
    rig.call("chat.postMessage", channel="C1A", text="second")
    rig.message("third")
    assert (rig.texts, rig.calls) == (["first"], [])
    rig.reply(rig.ids[0])
    assert [call[1]["text"] for call in rig.calls] == ["second"]
    rig.answer(CallAnswer({"ok": True}))
    assert rig.texts == ["first"]
    assert rig.go_on() == pytest.approx(1.0)
    rig.go_on(1.0)
    assert rig.texts == ["first", "third"]


def test_a_posted_message_by_name_waits_among_those_of_its_channel() -> None:
    """By name or by id: one order and one rate."""
    rig = DispatcherRig(rate=1, burst=1, api_methods="chat.postMessage")
    rig.call("chat.postMessage", channel="#general", text="first")
    rig.message("second", "C1A")
    rig.message("third", "general")
    assert (rig.texts, rig.calls, len(rig.looked_up)) == ([], [], 1)
    rig.handle(NameAnswered("general", "C1A", ""))
    assert [call[1] for call in rig.calls] == [{"channel": "#general", "text": "first"}]
    rig.answer(CallAnswer({"ok": True}))
    assert rig.texts == []
    rig.go_on(1.0)
    assert rig.texts == ["second"]
    rig.reply(rig.ids[0])
    rig.go_on(0.9)
    assert rig.texts == ["second"]
    rig.go_on(0.1)
    assert rig.texts == ["second", "third"]


@pytest.mark.parametrize("passed_by", [False, True])
def test_a_posted_message_may_name_what_can_not_be_listed(passed_by: bool) -> None:
    """Slack may know it; a message of that name is refused, and what follows keeps its order."""
    rig = DispatcherRig(api_methods="chat.postMessage")
    rig.call("chat.postMessage", channel="#hidden", text="first")
    rig.message("refused", "hidden")
    rig.call("chat.postMessage", channel="hidden", text="second")
    rig.go_on(6.0 if passed_by else 0.0)
    for asked in (1, 2, 3):
        assert len(rig.looked_up) == asked
        rig.handle(NameAnswered("hidden", None, "there is none"))
    assert rig.codes == ["channel_not_found"]
    assert [call[1]["text"] for call in rig.calls] == ["first"]
    rig.answer(CallAnswer({"ok": True}))
    assert [call[1]["text"] for call in rig.calls] == ["first", "second"]


@pytest.mark.parametrize("channel", ["U0ALICE", "W0ALICE", "@alice", "D0ALICE", ""])
def test_what_is_no_channel_s_name_is_not_looked_up(channel: str) -> None:
    """A call goes as it is; Slack says what it thinks of it."""
    rig = DispatcherRig(api_methods="chat.postMessage")
    rig.call("chat.postMessage", **({"channel": channel} if channel else {}), text="hi")
    assert (len(rig.calls), rig.looked_up) == (1, [])


def test_only_messages_cost_a_token() -> None:
    """Slack's limit is on messages; indicators of the same channel go at once."""
    rig = DispatcherRig(rate=0.001, burst=1)
    rig.take(type="typing", channel="C1A")
    rig.take(type="typing", channel="C1A", thread_ts="1355517523.000005")
    rig.message("first")
    rig.reply(rig.ids[-1])
    rig.message("second")
    assert [frame["type"] for frame in rig.frames] == ["typing", "typing", "message"]
    assert rig.go_on() == pytest.approx(1_000.0)


def test_calls_need_no_websocket() -> None:
    """Only what waits behind a message of its channel waits with it."""
    rig = DispatcherRig()
    rig.handle(LinkDown())
    rig.message("waits")
    rig.call(channel="C1A")
    rig.call("chat.postMessage", channel="C2B", text="x")
    rig.call("chat.postMessage", channel="C1A", text="behind the message")
    assert [call[0] for call in rig.calls] == [ADD, "chat.postMessage"]


def test_a_call_that_can_not_be_made_yet_is_no_attempt() -> None:
    """The workers say when to ask again."""
    rig = DispatcherRig()
    rig.waits.append(3.0)
    job = rig.call()
    assert (job.attempts, job.stage, rig.go_on()) == (0, Stage.WAITING, 3.0)
    rig.go_on(3.0)
    assert (job.attempts, job.stage) == (1, Stage.WRITTEN)


def test_a_time_that_slack_named_is_waited_for() -> None:
    """At least; and a call that may have been made is uncertain."""
    rig = DispatcherRig()
    job = rig.call()
    limited = CallAnswer(None, "ratelimited", again=True, retry_after=30.0, trouble=Trouble.LIMITED)
    rig.answer(limited)
    assert (rig.go_on(), job.attempts) == (30.0, 0)
    rig.go_on(30.0)
    assert not job.uncertain
    rig.answer(CallAnswer(None, "timeout", again=True, certain=False))
    assert (job.uncertain, job.attempts) == (True, 1)


def test_an_answer_of_slack_ends_a_call() -> None:
    """A yes with what Slack said, a no with its code."""
    rig = DispatcherRig()
    rig.call()
    rig.answer(CallAnswer({"ok": True, "n": 1}))
    response = rig.ends[0][1].response
    assert response is not None
    assert json.loads(response.json) == {"ok": True, "n": 1}
    rig.call()
    rig.answer(CallAnswer(None, "already_reacted", "why"))
    assert rig.ends[1][1] == Outcome(False, "", "slack_already_reacted", "why")


def test_an_answer_that_comes_for_another_attempt_says_nothing() -> None:
    """The job does not wait for it."""
    rig = DispatcherRig()
    job = rig.call()
    rig.answer(UNREACHABLE)
    rig.handle(CallAnswered(job, CallAnswer({"ok": True})))
    assert rig.ends == []


def test_in_socket_mode_a_message_is_a_call() -> None:
    """Its result has Slack's ts and the channel, as over RTM, and Slack's response too."""
    rig = DispatcherRig("socket")
    job = rig.message("hi", "general")
    rig.looked_up[0]("C1A", "")
    note = rig.notes.pop()
    assert note == NameAnswered("general", "C1A", "")
    rig.handle(note)
    assert rig.calls[0][:2] == ("chat.postMessage", {"channel": "C1A", "text": "hi"})
    rig.answer(CallAnswer({"ok": True, "ts": "1.2"}))
    response = Response(b'{"ok":true,"ts":"1.2"}', ())
    assert (rig.ends[0][1], job.channel_id) == (Outcome(True, "1.2", response=response), "C1A")


def test_a_name_that_is_not_found_ends_the_first_and_is_asked_for_again() -> None:
    """The next one came later, and is owed a question of its own."""
    rig = DispatcherRig()
    rig.message("first", "general")
    rig.message("second", "#general")
    assert len(rig.looked_up) == 1
    rig.handle(NameAnswered("general", None, "there is none"))
    assert (rig.codes, len(rig.looked_up)) == (["channel_not_found"], 2)
    rig.handle(NameAnswered("general", "C1A", ""))
    assert rig.texts == ["second"]


def test_what_was_sent_before_the_broker_went_away_holds_its_channel() -> None:
    """Its reply is due still, and settles it while it has no tag."""
    rig = DispatcherRig()
    job, behind = rig.message("sent"), rig.message("behind")
    rig.dispatcher.leave_all([job, behind])
    job.tag = None
    rig.handle(NameAnswered("general", "C1A", ""))
    assert rig.texts == ["sent"]
    job.tag = 7
    rig.dispatcher.take_back(job)
    rig.message("after it")
    assert rig.texts == ["sent"]
    rig.reply(rig.ids[0])
    assert rig.texts == ["sent", "after it"]


def test_a_reply_that_never_comes_leaves_what_has_no_tag_to_its_next_delivery() -> None:
    """Then it goes again."""
    rig = DispatcherRig()
    job = rig.message("sent")
    rig.dispatcher.leave_all([job])
    job.tag = None
    assert rig.go_on(10.0) == math.inf
    assert (job.stage, job.uncertain, len(rig.frames)) == (Stage.WAITING, True, 1)
    job.tag = 7
    rig.dispatcher.take_back(job)
    rig.go_on()
    assert len(rig.frames) == 2


def test_nothing_is_kept_of_what_is_forgotten() -> None:
    """It never comes back from the broker."""
    rig = DispatcherRig()
    job = rig.message("sent", expires_in=100.0)
    rig.dispatcher.leave_all([job])
    rig.dispatcher.forget(job)
    assert rig.go_on(1_000.0) == math.inf
    assert not rig.dispatcher.awaits(Reply(rig.ids[0], True, "", "", "", None))


def test_a_command_that_nothing_was_sent_of_leaves_no_trace() -> None:
    """It was refused by a limit before the connection to the broker ended; it comes again new."""
    rig = DispatcherRig()
    job = rig.message("hi")
    rig.reply(rig.ids[0], "-1", "slow down")
    rig.dispatcher.leave_all([job])
    assert not rig.dispatcher.awaits(Reply(rig.ids[0], True, "1.2", "", "", None))
