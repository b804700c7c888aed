"""Facts about gaps that Slack won't or can't let us fill: what is waited for, and what given up."""

from __future__ import annotations

import io
import time
from collections import deque
from typing import Any

import pytest

from rtmpump import config
from rtmpump.links.slack.history import KINDS
from rtmpump.pumps.backfill.gap_file import GAPS_MAX, GapFile
from rtmpump.sandbox.slack.faults import ApiFault, Hang, HttpAnswer, Reset
from rtmpump.sandbox.slack.workspace import Workspace
from tests.support.filling import (
    GENERAL,
    HISTORY,
    LIST,
    REPLIES,
    Fill,
    Filling,
    around,
    calls,
    missed,
)
from tests.support.spool import Reports
from tests.support.waiting import SECONDS, wait_until

HOUR_MS = 3_600_000
RANDOM, SECRET = "C0RANDOM", "G0SECRET"
LIMITED = HttpAnswer(
    429,
    {"Retry-After": "0", "Content-Type": "application/json"},
    '{"ok": false, "error": "rate_limited"}',
)
# What another token, an admin or time ends.
PASSING: list[ApiFault] = [
    "invalid_auth",
    "ekm_access_denied",
    "org_login_required",
    "team_access_not_granted",
    LIMITED,
    HttpAnswer(503),
    HttpAnswer(500),
    "internal_error",
    Reset(),
]


def failed(closed: dict[str, Any]) -> dict[str, str]:
    """What could not be read, and why."""
    return {one["conversations"]: one["reason"] for one in closed["failed"]}


def asked(workspace: Workspace, method: str = HISTORY) -> list[str]:
    """The conversations that a method was called for, each time."""
    return [one["channel"] for one in calls(workspace, method)]


@pytest.mark.parametrize("fault", PASSING, ids=str)
def test_what_passes_is_waited_for(workspace: Workspace, fill: Fill, fault: ApiFault) -> None:
    """However long: the list of conversations is never given up for it, and nothing is lost."""
    ts = workspace.say("general", "missed")
    workspace.faults.api_errors[LIST] = deque([fault] * 25)
    filling = fill()
    missed(filling, around(ts))
    (closed,) = filling.closed()
    assert not workspace.faults.api_errors[LIST]
    assert (filling.texts(), closed["channels"], closed["failed"]) == (["missed"], 1, [])


@pytest.mark.parametrize("fault", PASSING, ids=str)
def test_it_is_waited_for_in_a_conversation_too(
    workspace: Workspace, fill: Fill, fault: ApiFault
) -> None:
    """An outage looks the same for each of them, and is no refusal of one."""
    workspace.channels["random"] = RANDOM
    ts = [workspace.say(name, name) for name in ("general", "random")]
    errors = workspace.faults.api_errors
    # More than the tries of three rounds. Nobody is asked in vain who is asked whether Slack works.
    errors[HISTORY] = deque([fault] * 80)
    filling = fill()
    missed(filling, around(*ts))
    (closed,) = filling.closed()
    assert not errors[HISTORY]
    assert (sorted(set(filling.texts())), closed["failed"]) == (["general", "random"], [])


def filled_after_a_refused_list(
    workspace: Workspace, fill: Fill, code: str
) -> tuple[Filling, dict[str, Any]]:
    """Fill a gap in two channels of two kinds, and refuse the first list of conversations."""
    workspace.channels["secret"] = SECRET
    ts = [workspace.say(name, name) for name in ("general", "secret")]
    workspace.faults.api_errors[LIST] = deque([code])
    filling = fill()
    missed(filling, around(*ts))
    (closed,) = filling.closed()
    return filling, closed


@pytest.mark.parametrize("code", ["unknown_method", "invalid_arguments", "access_denied", "new"])
def test_any_other_refusal_of_a_list_leaves_the_gap_open(
    workspace: Workspace, fill: Fill, code: str
) -> None:
    """The other kinds are filled at once, and the refused one when Slack lists it."""
    filling, closed = filled_after_a_refused_list(workspace, fill, code)
    assert filling.texts() == ["secret", "general"]
    assert (closed["channels"], closed["failed"]) == (2, [])


@pytest.mark.parametrize("code", ["missing_scope", "not_allowed_token_type", "no_permission"])
def test_a_kind_that_the_token_may_not_list_is_given_up(
    workspace: Workspace, fill: Fill, code: str
) -> None:
    """That does not pass; the other kinds are filled."""
    filling, closed = filled_after_a_refused_list(workspace, fill, code)
    assert filling.texts() == ["secret"]
    assert failed(closed) == {"public_channel": code}
    assert len(calls(workspace, LIST)) == len(KINDS)


def test_all_waiting_gaps_are_kept_and_filled_afterwards(workspace: Workspace, fill: Fill) -> None:
    """A token that is refused for hours costs none of them."""
    ts = workspace.say("general", "missed")
    refused: deque[ApiFault] = deque(["token_revoked"] * 100_000)
    workspace.faults.api_errors["*"] = refused
    filling = fill()
    from_ms, to_ms = around(ts)
    for n in range(GAPS_MAX):
        # None covers another.
        filling.pump.missed(from_ms + n * HOUR_MS, to_ms + n * HOUR_MS, "T1", "U1")
    wait_until(lambda: len(calls(workspace, LIST)) > 10)
    assert len(filling.gaps) == len(GapFile(filling.path, Reports())) == GAPS_MAX
    assert filling.pump.waits_for == "Slack (token_revoked)"
    refused.clear()
    closed = filling.closed(GAPS_MAX)
    assert [(one["channels"], one["failed"]) for one in closed] == [(1, [])] * GAPS_MAX
    assert filling.texts() == ["missed"]


def test_a_stop_ends_the_wait_at_once(workspace: Workspace, fill: Fill) -> None:
    """Also one of hours; the gap is kept, and the next run fills it."""
    ts = workspace.say("general", "missed")
    workspace.faults.api_errors[LIST] = deque(["ekm_access_denied"])
    filling = fill(retry=config.Retry(initial=36_000.0, max=36_000.0, jitter="none"))
    missed(filling, around(ts))
    wait_until(lambda: filling.pump.waits_for == "Slack (ekm_access_denied)")
    began = time.monotonic()
    filling.rest()
    assert time.monotonic() - began < SECONDS
    assert len(GapFile(filling.path, Reports())) == 1
    filling.begin()
    assert filling.closed()[0]["failed"] == []
    assert filling.texts() == ["missed"]


def test_the_wait_between_two_rounds_ends_with_a_stop_too(workspace: Workspace, fill: Fill) -> None:
    """There nothing is asked: what is left is tried again when the next run begins."""
    ts = workspace.say("general", "missed")
    workspace.faults.api_errors[LIST] = deque(["unknown_method"])
    filling = fill(retry=config.Retry(initial=36_000.0, max=36_000.0, jitter="none"))
    missed(filling, around(ts))
    wait_until(lambda: filling.pump.waits_for == "Slack (unknown_method)")
    filling.rest()
    filling.begin()
    assert filling.closed()[0]["failed"] == []
    assert filling.texts() == ["missed"]


@pytest.mark.parametrize(
    "code",
    ["not_in_channel", "channel_not_found", "no_permission", "access_denied", "is_archived", "new"],
)
def test_a_refusal_of_one_conversation_gives_up_that_one(
    workspace: Workspace, fill: Fill, code: str
) -> None:
    """And no other of its kind."""
    workspace.channels["random"] = RANDOM
    ts = [workspace.say(name, name) for name in ("general", "random")]
    workspace.archive.refused[GENERAL] = code
    filling = fill()
    missed(filling, around(*ts))
    (closed,) = filling.closed()
    assert filling.texts() == ["random"]
    assert failed(closed) == {GENERAL: code}
    assert asked(workspace) == [GENERAL, RANDOM]


def test_a_scope_that_one_conversation_lacks_after_others_were_read_is_its_own(
    workspace: Workspace, fill: Fill
) -> None:
    """The token has it for the kind, and so the others are read."""
    workspace.channels.update({"random": RANDOM, "last": "C0LAST"})
    ts = [workspace.say(name, name) for name in ("general", "random", "last")]
    workspace.archive.refused[RANDOM] = "missing_scope"
    filling = fill()
    missed(filling, around(*ts))
    (closed,) = filling.closed()
    assert filling.texts() == ["general", "last"]
    assert failed(closed) == {RANDOM: "missing_scope"}


def test_one_that_is_long_in_trouble_alone_is_given_up(workspace: Workspace, fill: Fill) -> None:
    """After three times ten tries while others are read: nothing else waits for it."""
    workspace.channels["random"] = RANDOM
    ts = [workspace.say(name, name) for name in ("general", "random")]
    workspace.archive.refused[GENERAL] = "internal_error"
    filling = fill()
    missed(filling, around(*ts))
    (closed,) = filling.closed()
    assert filling.texts() == ["random"]
    assert (closed["channels"], failed(closed)) == (1, {GENERAL: "internal_error"})
    tried = asked(workspace)
    assert tried.index(RANDOM) == 10
    # When it was put off for the first time, nobody knew whether Slack reads others.
    assert tried.count(GENERAL) == 40


def test_one_whose_trouble_passes_is_filled_when_its_turn_comes_again(
    workspace: Workspace, fill: Fill
) -> None:
    """The others did not wait for it."""
    workspace.channels["random"] = RANDOM
    ts = [workspace.say(name, name) for name in ("general", "random")]
    workspace.faults.api_errors[HISTORY] = deque(["internal_error"] * 10)
    filling = fill()
    missed(filling, around(*ts))
    (closed,) = filling.closed()
    assert filling.texts() == ["random", "general"]
    assert (closed["channels"], closed["failed"]) == (2, [])


def test_where_all_are_in_trouble_none_is_alone(workspace: Workspace, fill: Fill) -> None:
    """Slack's history is out of order, or closed by an admin: the gap waits for it."""
    workspace.channels["random"] = RANDOM
    ts = [workspace.say(name, name) for name in ("general", "random")]
    workspace.archive.refused.update({GENERAL: "ekm_access_denied", RANDOM: "ekm_access_denied"})
    filling = fill()
    missed(filling, around(*ts))
    # More than three rounds for both.
    wait_until(lambda: len(asked(workspace)) > 80)
    assert len(filling.gaps) == 1
    workspace.archive.refused.clear()
    (closed,) = filling.closed()
    assert (sorted(filling.texts()), closed["failed"]) == (["general", "random"], [])


def test_a_thread_that_is_long_in_trouble_costs_its_conversation_nothing(
    workspace: Workspace, fill: Fill
) -> None:
    """It is told; all else of the conversation comes."""
    parents = [workspace.say("general", f"parent {n}") for n in range(2)]
    replies = [workspace.say("general", "reply", thread_ts=one) for one in parents]
    # The pump begins with the newest thread.
    workspace.faults.api_errors[REPLIES] = deque(["internal_error"] * 30)
    filling = fill()
    missed(filling, around(*parents, *replies))
    (closed,) = filling.closed()
    assert [one for one in filling.texts() if one != "reply"] == ["parent 0", "parent 1"]
    assert filling.texts().count("reply") == 1
    assert failed(closed) == {GENERAL: "internal_error"}


@pytest.mark.parametrize(
    "answer",
    [
        {"ok": True, "messages": "none"},
        {"ok": True},
        {"ok": True, "messages": [], "response_metadata": {"next_cursor": "for ever"}},
    ],
)
def test_an_answer_that_is_none_is_trouble_of_that_channel(
    workspace: Workspace, fill: Fill, answer: dict[str, Any]
) -> None:
    """Never trust the peer: no list, a list without an end. The only one is given up too."""
    workspace.faults.api_errors[HISTORY] = deque([answer] * 1000)
    filling = fill()
    missed(filling, (1, 2))
    (closed,) = filling.closed()
    assert failed(closed) == {GENERAL: "bad_answer"}


@pytest.mark.parametrize("answer", [{"ok": True, "channels": "none"}, {"ok": True}])
def test_a_list_that_is_none_is_asked_for_again(
    workspace: Workspace, fill: Fill, answer: dict[str, Any]
) -> None:
    """Whatever stood between us and Slack will go."""
    ts = workspace.say("general", "missed")
    workspace.faults.api_errors[LIST] = deque([answer] * 20)
    filling = fill()
    missed(filling, around(ts))
    (closed,) = filling.closed()
    assert (filling.texts(), closed["failed"]) == (["missed"], [])


def test_all_conversations_are_listed_before_the_first_is_filled(
    workspace: Workspace, fill: Fill
) -> None:
    """A cursor is too old when a page of them was filled; one that is refused begins anew."""
    names = {f"c{n}": f"C{n:03d}" for n in range(25)}
    workspace.channels.update(names)
    workspace.page_size = 10
    ts = [workspace.say(name, name) for name in names]
    workspace.faults.api_errors[LIST] = deque([Hang(0.0), Hang(0.0), "invalid_cursor"])
    filling = fill()
    missed(filling, around(*ts))
    (closed,) = filling.closed()
    assert filling.texts() == list(names)
    assert (closed["channels"], closed["failed"]) == (26, [])
    methods = [call.method for call in workspace.calls]
    assert methods[:6] == [LIST] * 6
    assert HISTORY not in methods[:6]


def test_the_list_is_that_of_the_workspace(workspace: Workspace, fill: Fill) -> None:
    """Slack wants its id with the token of an organisation; that of one itself would be wrong."""
    filling = fill()
    missed(filling, (1, 2))
    filling.closed()
    filling.pump.missed(3, 4, "E1", "U1")
    filling.closed(2)
    asked_of = [one.get("team_id") for one in calls(workspace, LIST)]
    assert asked_of == ["T1"] * len(KINDS) + [None] * len(KINDS)


def test_a_cursor_that_is_always_refused_loses_no_gap(workspace: Workspace, fill: Fill) -> None:
    """The other kinds are filled, and this one when Slack takes its cursor again."""
    workspace.channels.update({"random": RANDOM, "secret": SECRET})
    workspace.page_size = 1
    ts = [workspace.say(name, name) for name in ("general", "random", "secret")]
    faults: deque[ApiFault] = deque([Hang(0.0), "invalid_cursor"] * 6)
    workspace.faults.api_errors[LIST] = faults
    filling = fill()
    missed(filling, around(*ts))
    (closed,) = filling.closed()
    assert filling.texts() == ["secret", "general", "random"]
    assert (closed["channels"], closed["failed"]) == (3, [])


@pytest.mark.parametrize("method", [HISTORY, REPLIES])
def test_a_cursor_that_a_conversation_refuses_loses_nothing(
    workspace: Workspace, fill: Fill, method: str
) -> None:
    """It goes on where the last page ended: all comes, once and in order."""
    workspace.archive.page_max = 3
    parent = workspace.say("general", "parent")
    ts = [workspace.say("general", f"{n:02d}", thread_ts=parent) for n in range(10)]
    ts += [workspace.say("general", f"{n:02d}") for n in range(10, 20)]
    workspace.faults.api_errors[method] = deque(
        [Hang(0.0), "invalid_cursor", Hang(0.0), Hang(0.0), "invalid_cursor", "invalid_cursor"]
    )
    filling = fill()
    missed(filling, around(parent, *ts))
    (closed,) = filling.closed()
    assert filling.texts() == ["parent", *(f"{n:02d}" for n in range(20))]
    assert (closed["messages"], closed["failed"]) == (21, [])


def test_a_cursor_that_is_never_taken_is_done_without(workspace: Workspace, fill: Fill) -> None:
    """Each page is then asked for by its time."""
    workspace.archive.page_max = 2
    ts = [workspace.say("general", str(n)) for n in range(12)]
    workspace.faults.api_errors[HISTORY] = deque([Hang(0.0), "invalid_cursor"] * 7)
    filling = fill()
    missed(filling, around(*ts))
    (closed,) = filling.closed()
    assert filling.texts() == [str(n) for n in range(12)]
    assert closed["failed"] == []


def test_a_channel_that_was_archived_since_is_filled_too(workspace: Workspace, fill: Fill) -> None:
    """After the others; it has missed messages like them."""
    workspace.channels["random"] = RANDOM
    ts = [workspace.say(name, name) for name in ("general", "random")]
    workspace.archived.add(GENERAL)
    filling = fill()
    missed(filling, around(*ts))
    (closed,) = filling.closed()
    assert filling.texts() == ["random", "general"]
    assert (closed["channels"], closed["failed"]) == (2, [])


def test_an_archived_channel_that_cant_be_read_is_told(
    workspace: Workspace, fill: Fill, log_lines: io.StringIO
) -> None:
    """In the event that closes the gap, and in the log."""
    workspace.channels["random"] = RANDOM
    ts = [workspace.say(name, name) for name in ("general", "random")]
    workspace.archived.add(GENERAL)
    workspace.archive.refused[GENERAL] = "is_archived"
    filling = fill()
    missed(filling, around(*ts))
    (closed,) = filling.closed()
    assert (filling.texts(), failed(closed)) == (["random"], {GENERAL: "is_archived"})
    filling.rest()
    (line,) = [one for one in log_lines.getvalue().splitlines() if "backfill.refused" in one]
    assert GENERAL in line


def test_trouble_in_the_middle_of_a_gap_repeats_no_conversation_that_is_done(
    workspace: Workspace, fill: Fill
) -> None:
    """What was read to its end stays so, in each further round."""
    workspace.channels["random"] = RANDOM
    old = workspace.say("random", "old")
    ts = [workspace.say(name, name) for name in ("general", "random")]
    workspace.faults.api_errors[HISTORY] = deque([Hang(0.0), *["internal_error"] * 10])
    filling = fill()
    missed(filling, around(old, *ts))
    filling.closed()
    assert filling.texts() == ["general", "old", "random"]
