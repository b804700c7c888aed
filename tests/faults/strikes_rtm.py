"""What strikes over RTM alone: its farewell, its errors at the hello, replies on the WebSocket."""

from __future__ import annotations

from collections import deque
from typing import Final

from rtmpump.sandbox.slack import faults
from rtmpump.sandbox.slack.faults import Answer, AnswerKind
from tests.faults import traffic
from tests.faults.kinds import Kinds, hold
from tests.faults.rig import Rig

KINDS: Final = Kinds()
kind = KINDS.enter


@kind("Slack: goodbye")
def _goodbye(rig: Rig) -> None:
    rig.workspace.goodbye(close_after=rig.dice.choice((None, 0.0, 0.3)))


@kind("Slack: expired URL")
def _expired(rig: Rig) -> None:
    rig.workspace.faults.hello = deque(["error", "error"])
    rig.workspace.cut()


@kind("Slack: strange replies")
def _replies(rig: Rig) -> None:
    """Twice, late, never, echoes, refusals, and a cut before or after it took the message."""
    dice = rig.dice
    odd = [
        faults.TWICE,
        faults.ECHO_BEFORE,
        faults.ECHO_AFTER,
        faults.ECHO_ONLY,
        faults.NEVER,
        faults.late(0.5),
        faults.late(3.0),
        faults.error(-1, "slow down, too many messages..."),
    ]
    cuts = [faults.CUT_BEFORE_REPLY, faults.CUT_BEFORE_ACCEPT]
    policy: deque[Answer] = deque(dice.choice(odd) for _ in range(dice.randrange(10, 60)))
    policy.extend(dice.sample(cuts, dice.randrange(0, 3)))
    rig.workspace.faults.repeat_last_reply = dice.choice(("", "reply", "echo"))
    rig.workspace.faults.reply_policy = policy
    hold(rig, 0.5, 3)


@kind("Slack: a channel that is told to slow down")
def _limited(rig: Rig) -> None:
    refusal = faults.error(-1, "slow down, too many messages...")
    channel = rig.dice.choice(sorted(traffic.CHANNELS.values()))

    def policy(frame: dict[str, object]) -> Answer:
        return refusal if frame.get("channel") == channel else Answer(AnswerKind.NORMAL)

    rig.workspace.faults.reply_policy = policy
    hold(rig, 1, 4)
    rig.workspace.faults.reply_policy = faults.NORMAL
