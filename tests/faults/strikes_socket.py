"""What strikes in Socket Mode alone: many connections, acknowledgements, chat.postMessage."""

from __future__ import annotations

import time
from collections import deque
from typing import Final

from rtmpump.sandbox.slack import faults
from rtmpump.sandbox.slack.faults import Answer
from tests.faults import traffic
from tests.faults.kinds import Kinds, hold
from tests.faults.rig import Rig
from tests.faults.strikes import ANSWERS

KINDS: Final = Kinds()
kind = KINDS.enter

_POST: Final = "chat.postMessage"


def _one(rig: Rig) -> list[int]:
    """A connection, if there is any."""
    sockets = rig.workspace.sockets
    return [rig.dice.choice(sockets)] if sockets else []


def _some(rig: Rig) -> list[int]:
    """One connection, more, or all of them."""
    sockets = rig.workspace.sockets
    return rig.dice.sample(sockets, min(len(sockets), rig.dice.randint(1, rig.mode.connections)))


# The connections.


@kind("Slack: disconnect, warning")
def _warning(rig: Rig) -> None:
    _disconnect(rig, "warning")


@kind("Slack: disconnect, refresh_requested")
def _refresh(rig: Rig) -> None:
    _disconnect(rig, "refresh_requested")


def _disconnect(rig: Rig, reason: str) -> None:
    close_after = rig.dice.choice((None, 0.0, 0.3, 2.0))
    rig.workspace.disconnect(reason, close_after=close_after, numbers=_some(rig))


@kind("Slack: some connections cut")
def _cut(rig: Rig) -> None:
    rig.workspace.cut(_some(rig))


@kind("Slack: one connection silent")
def _silence(rig: Rig) -> None:
    rig.workspace.silence(_one(rig))


@kind("Slack: a storm of disconnects")
def _storm(rig: Rig) -> None:
    workspace, dice = rig.workspace, rig.dice
    until = time.monotonic() + dice.uniform(1, 4)
    while time.monotonic() < until:
        match dice.choice(("cut", "silence", "refresh_requested", "warning", "reset", "close")):
            case "cut":
                workspace.cut(_some(rig))
            case "silence":
                workspace.silence(_one(rig))
            case "reset":
                workspace.reset()
            case "close":
                workspace.close(1001)
            case reason:
                workspace.disconnect(reason, close_after=0.3, numbers=_some(rig))
        hold(rig, 0.02, 0.5)


@kind("Slack: too_many_websockets, no room beside the old ones")
def _no_room(rig: Rig) -> None:
    rig.workspace.faults.most_sockets = rig.mode.connections
    rig.workspace.disconnect("warning", close_after=5.0)
    hold(rig, 1, 4)
    rig.workspace.faults.most_sockets = 10


@kind("Slack: too_many_websockets, another program has the room")
def _crowded(rig: Rig) -> None:
    rig.workspace.faults.most_sockets = 1
    rig.workspace.cut(_some(rig))
    hold(rig, 0.5, 3)
    rig.workspace.faults.most_sockets = 10
    # While one of its own is up the pump asks again after a minute only.
    rig.workspace.cut()


@kind("Slack: expired ticket")
def _expired(rig: Rig) -> None:
    rig.workspace.faults.url_ttl = 0.0
    rig.workspace.cut(_some(rig))
    hold(rig, 0.5, 2)
    rig.workspace.faults.url_ttl = 30.0


# What they carry.


@kind("who answers is killed")
def _answerer_killed(rig: Rig) -> None:
    if rig.questions is not None:
        rig.questions.kill_answerer()


@kind("Slack: copies of an event on several connections")
def _copies(rig: Rig) -> None:
    rig.workspace.faults.copies = rig.dice.randint(2, rig.mode.connections)
    hold(rig, 0.5, 3)
    rig.workspace.faults.copies = 1


@kind("Slack: hears no acknowledgement")
def _deaf(rig: Rig) -> None:
    rig.workspace.faults.same_envelope_id = rig.dice.random() < 0.5
    rig.workspace.faults.deaf_to_acks = True
    hold(rig, 0.5, 3)
    rig.workspace.faults.deaf_to_acks = False


# Messages.


@kind("Slack: 429, 500, HTML and errors at chat.postMessage")
def _post_errors(rig: Rig) -> None:
    answers: list[faults.ApiFault] = [
        *ANSWERS,
        "internal_error",
        "never heard of",
    ]
    count = rig.dice.randrange(10, 60)
    rig.workspace.faults.api_errors[_POST].extend(rig.dice.choice(answers) for _ in range(count))
    hold(rig, 0.5, 3)


@kind("Slack: chat.postMessage is late, mute or cut")
def _post_doubts(rig: Rig) -> None:
    """Before or after Slack took the message: the pump can't know which."""
    odd = [
        faults.NEVER,
        faults.late(0.5),
        faults.late(3.0),
        faults.CUT_BEFORE_REPLY,
        faults.CUT_BEFORE_ACCEPT,
    ]
    count = rig.dice.randrange(10, 30)
    policy: deque[Answer] = deque(rig.dice.choice(odd) for _ in range(count))
    rig.workspace.faults.reply_policy = policy
    hold(rig, 0.5, 3)
    # A call that is left without an answer takes ten seconds, and after three they go one by one.
    rig.workspace.faults.reply_policy = faults.NORMAL


@kind("Slack: a channel that is refused for ever")
def _refused(rig: Rig) -> None:
    channel = rig.dice.choice(sorted(traffic.CHANNELS.values()))

    def policy(frame: dict[str, object]) -> Answer:
        is_refused = frame.get("channel") == channel
        return faults.error(-1, "request_timeout") if is_refused else faults.NORMAL

    with rig.refuses(channel):
        rig.workspace.faults.reply_policy = policy
        hold(rig, 1, 4)
        rig.workspace.faults.reply_policy = faults.NORMAL


@kind("Slack: a message a second and channel")
def _paced(rig: Rig) -> None:
    rig.workspace.faults.post_rate = 1.0
    hold(rig, 1, 4)
    rig.workspace.faults.post_rate = None
