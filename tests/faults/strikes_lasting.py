"""What lasts longer than five attempts take, and what changes in silence: no command dies of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from typing import Final

from rtmpump.sandbox.slack import faults
from rtmpump.sandbox.slack.faults import HttpAnswer
from tests.faults import tokens, traffic
from tests.faults.kinds import Kinds, hold
from tests.faults.rig import Rig

KINDS: Final = Kinds()
RTM: Final = Kinds()
SOCKET: Final = Kinds()
ENDS_RTM: Final = Kinds()
"""Those that end the pump's process, over RTM."""

_POST: Final = "chat.postMessage"
_LIST: Final = "conversations.list"
_TRIAL: Final = "auth.test"
_WITH_A_TIME: Final = HttpAnswer(429, {"retry-after": "2"})
_LIMITS: Final = (HttpAnswer(429), _WITH_A_TIME, "ratelimited", "rate_limited")
_AWAY: Final = (HttpAnswer(503), HttpAnswer(503, {"retry-after": "2"}), "service_unavailable")
_DEAD: Final = ("invalid_auth", "account_inactive", "token_revoked", "token_expired")
_MANY: Final = 100_000
_CONFIG_ERROR: Final = 78
_BELIEVED: Final = 12.0
_numbers = count(1)


@contextmanager
def _answers(rig: Rig, fault: faults.ApiFault, *methods: str) -> Iterator[None]:
    """Each call of these methods meets this."""
    queues = [rig.workspace.faults.api_errors[method] for method in methods]
    for queue in queues:
        queue.extend([fault] * _MANY)
    try:
        yield
    finally:
        for queue in queues:
            queue.clear()


def _hold_on(rig: Rig) -> None:
    """Five attempts would take a second and a half: the pump's pauses are of 0.1 to 2 seconds."""
    hold(rig, 4, 8)


def _names_are_asked_for(rig: Rig) -> None:
    """An event about some channel, it does not say which."""
    rig.workspace.emit({"type": "channel_created"})


# Limits and outages.


@RTM.enter("Slack: a limit on the connection, for long")
def _limited(rig: Rig) -> None:
    rig.workspace.faults.rate_limit = rig.dice.choice((2.0, 20.0))
    _hold_on(rig)
    rig.workspace.faults.rate_limit = None


@RTM.enter("Slack: slow down, said to all, for long")
def _slow_down(rig: Rig) -> None:
    rig.workspace.faults.reply_policy = faults.error(-1, "slow down, too many messages...")
    _hold_on(rig)
    rig.workspace.faults.reply_policy = faults.NORMAL


@SOCKET.enter("Slack: chat.postMessage limited, for long")
def _post_limited(rig: Rig) -> None:
    with _answers(rig, rig.dice.choice(_LIMITS), _POST):
        _hold_on(rig)


@SOCKET.enter("Slack: chat.postMessage away, for long")
def _post_away(rig: Rig) -> None:
    with _answers(rig, rig.dice.choice(_AWAY), _POST):
        _hold_on(rig)


@KINDS.enter("Slack: no list of channels, for long")
def _no_list(rig: Rig) -> None:
    # A limit without its time would rest for half a minute.
    with _answers(rig, rig.dice.choice((_WITH_A_TIME, *_AWAY, *_DEAD)), _LIST):
        _names_are_asked_for(rig)
        _hold_on(rig)


# Tokens.


@KINDS.enter("Slack: the token is rotated")
def _rotated(rig: Rig) -> None:
    # Who refuses the old one in the meantime gets the new one before Slack takes it.
    rig.recover()
    token = rig.tokens.new("xoxb")
    tokens.write(rig.tokens.file, token)
    hold(rig, 0, 1)
    rig.workspace.token = token
    rig.workspace.cut()
    _names_are_asked_for(rig)


@SOCKET.enter("Slack: the token is rotated, and its file later")
def _rotated_late(rig: Rig) -> None:
    rig.workspace.token = rig.tokens.new("xoxb")
    _hold_on(rig)
    tokens.write(rig.tokens.file, rig.workspace.token)


@SOCKET.enter("Slack: the token is dead, and well again")
def _dead(rig: Rig) -> None:
    with _answers(rig, rig.dice.choice(_DEAD), _POST, _LIST, _TRIAL):
        _hold_on(rig)


@SOCKET.enter("Slack: the app-level token is rotated")
def _app_rotated(rig: Rig) -> None:
    rig.recover()
    token = rig.tokens.new("xapp")
    tokens.write(rig.tokens.app_file, token)
    hold(rig, 0, 1)
    rig.workspace.app_token = token
    rig.workspace.cut()


@ENDS_RTM.enter("Slack: the token is dead when we connect")
def _dead_at_connect(rig: Rig) -> None:
    rig.recover()
    right = rig.workspace.token
    with rig.breaks_commands():
        rig.weigh()
        rig.workspace.token = rig.tokens.new("xoxb")
        rig.workspace.cut()
        code = rig.pump.wait(25)
        assert code == _CONFIG_ERROR, f"it ended with {code}\n{rig.pump.log_text()[-5000:]}"
        rig.workspace.token = right
        rig.start_pump()


# Names.


@KINDS.enter("Slack: a name means another channel, and no event says so")
def _moved(rig: Rig) -> None:
    # For ten seconds after a look at the names the pump believes what it saw.
    rig.rest("names", _BELIEVED)
    name = rig.dice.choice(sorted(traffic.MOVING))
    id = f"C0MOVED{next(_numbers)}"
    rig.ledger.moved(id, traffic.MOVING[name])
    rig.workspace.channels[name] = id
    rig.recover()
