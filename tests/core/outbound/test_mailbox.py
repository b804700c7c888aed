"""Facts about the sender's inbox."""

from __future__ import annotations

from rtmpump.core.frames import Reply
from rtmpump.core.outbound.mailbox import Finish, Inbox, LinkDown, LinkUp


def reply(id: int, *, ok: bool, ts: str = "") -> Reply:
    """A reply to this id."""
    return Reply(reply_to=id, ok=ok, ts=ts, error_code="", error_msg="", event=None)


def test_one_reply_is_kept_for_each_id() -> None:
    """However often Slack repeats it; an ok wins over an error, and the first ok over others."""
    inbox = Inbox()
    for number in range(100):
        inbox.put(reply(1, ok=number > 0, ts=str(number)))
    inbox.put(reply(1, ok=False))
    assert inbox.take() == [reply(1, ok=True, ts="1")]
    assert inbox.take() == []


def test_a_flapping_link_leaves_its_last_state() -> None:
    """What was up and is down again was a cut; what came up at last is up."""
    inbox = Inbox()
    for number in range(100):
        inbox.put(LinkDown())
        inbox.put(LinkUp(number))
    assert inbox.take() == [LinkDown(), LinkUp(99)]


def test_other_notes_keep_their_order_behind_the_replies() -> None:
    """A reply settles its job before the end of its connection makes it uncertain."""
    inbox = Inbox()
    for note in (LinkDown(), reply(1, ok=True), Finish()):
        inbox.put(note)
    assert inbox.take() == [reply(1, ok=True), LinkDown(), Finish()]
