"""Facts about gaps that can't be filled at once: Slack refuses, the pump is killed."""

from __future__ import annotations

from collections import deque
from functools import partial
from typing import Any

from rtmpump.sandbox.slack.faults import ApiFault, Hang
from rtmpump.sandbox.slack.workspace import Workspace
from tests.conftest import StartPump
from tests.support.broker import Broker, Message
from tests.support.gaps import all_events, away, closing, filled, once, texts, until_closed
from tests.support.waiting import wait_until

FILL: dict[str, Any] = {"backfill": True}
LIST = "users.conversations"
CALLS = (LIST, "conversations.history", "conversations.replies")
GENERAL, RANDOM = "C0GENERAL", "C0RANDOM"
KILLS = 10
# Slack would let no program ask so often; this one is started often.
NO_PACE = (
    "-c",
    "from rtmpump import cli; from rtmpump.links import retry; from rtmpump.links.slack import"
    " history; retry.CALLS_SPAN = 2.0; history._BURST = 10_000; cli.main()",
)


def is_empty(faults: deque[ApiFault]) -> bool:
    """The call that is not answered is under way."""
    return not faults


def test_a_gap_outlives_a_refusal_of_hours_and_a_stop_in_it(
    start_pump: StartPump, broker: Broker, workspace: Workspace
) -> None:
    """An admin closed the workspace's messages: one line in the log, and all comes afterwards."""
    all_events(broker)
    pump = start_pump(events=FILL, retry={"initial": 0.01, "max": 0.05})
    refused: deque[ApiFault] = deque(["ekm_access_denied"] * 10_000)

    def say() -> None:
        workspace.say("general", "missed")
        workspace.faults.api_errors[LIST] = refused

    def asked() -> int:
        return sum(call.method == LIST for call in list(workspace.calls))

    away(pump, workspace, say)
    wait_until(lambda: asked() >= 12)
    (line,) = pump.logged("backfill.waits", level="warning")
    assert line["reason"] == "ekm_access_denied"
    assert not pump.logged("backfill.done")
    pump.terminate()
    assert pump.wait() == 0
    refused.clear()
    pump.start()
    got = until_closed(broker, count=2)
    assert texts(once(filled(got))) == ["missed"]
    assert [one["failed"] for one in closing(got)] == [[], []]


def test_a_pump_that_is_killed_at_each_call_fills_all_in_the_end(
    start_pump: StartPump, broker: Broker, workspace: Workspace
) -> None:
    """`kill -9` in the first call of the history, then in the second, and so on."""
    all_events(broker)
    pump = start_pump(events=FILL, program=NO_PACE)
    workspace.archive.page_max = 40
    missed: dict[str, list[str]] = {GENERAL: [], RANDOM: []}

    def say() -> None:
        parent = workspace.say("general", "parent")
        missed[GENERAL].append("parent")
        for n in range(100):
            for name, channel in (("general", GENERAL), ("random", RANDOM)):
                thread = {"thread_ts": parent} if n % 2 and channel == GENERAL else {}
                workspace.say(name, f"{n}", **thread)
                missed[channel].append(f"{n}")

    def let(calls: int) -> deque[ApiFault]:
        """So many calls are answered, and the next one never."""
        faults: deque[ApiFault] = deque([*[Hang(0.0)] * calls, Hang(600)])
        workspace.faults.api_errors.update(dict.fromkeys(CALLS, faults))
        return faults

    def all_are_closed(got: list[Message]) -> bool:
        gaps = {(one.json["from"], one.json["to"]) for one in got if one.key == "rtmpump.gap"}
        closed = {(one["from"], one["to"]) for one in closing(got)}
        # One of each start but the first; a kill may come before the last one is told.
        return len(gaps) >= KILLS and gaps <= closed

    under_way = let(0)
    away(pump, workspace, say)
    for kill in range(1, KILLS + 1):
        wait_until(partial(is_empty, under_way))
        # The gap is told by then.
        pump.wait_log("slack.connected")
        pump.kill()
        under_way = let(kill if kill < KILLS else 10_000)
        pump.start()
    got = broker.take_until("all", all_are_closed)
    for channel, said in missed.items():
        assert texts(once(filled(got, channel))) == said
