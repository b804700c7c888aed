"""Facts about the sender's mailbox."""

from __future__ import annotations

from rtmpump.core.frames import Reply
from rtmpump.core.outbound.mailbox import Finish, LinkDown, LinkUp, Mailbox


def reply(id: int, *, ok: bool, ts: str = "") -> Reply:
    """Return a reply to this id."""
    return Reply(reply_to=id, ok=ok, ts=ts, error_code="", error_msg="", event=None)


def test_one_reply_is_kept_for_each_id() -> None:
    """However often Slack repeats it; an ok wins over an error, and the first ok over others."""
    mailbox = Mailbox()
    for number in range(100):
        mailbox.put(reply(1, ok=number > 0, ts=str(number)))
    mailbox.put(reply(1, ok=False))
    assert mailbox.take() == [reply(1, ok=True, ts="1")]
    assert mailbox.take() == []


def test_a_flapping_link_leaves_its_last_state() -> None:
    """What was up and is down again was a cut; what came up at last is up."""
    mailbox = Mailbox()
    for number in range(100):
        mailbox.put(LinkDown())
        mailbox.put(LinkUp(number))
    assert mailbox.take() == [LinkDown(), LinkUp(99)]


def test_other_notes_keep_their_order_behind_the_replies() -> None:
    """A reply settles its job before the end of its connection makes it uncertain."""
    mailbox = Mailbox()
    for note in (LinkDown(), reply(1, ok=True), Finish()):
        mailbox.put(note)
    assert mailbox.take() == [reply(1, ok=True), LinkDown(), Finish()]
