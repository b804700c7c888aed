"""Several real pumps on one Socket Mode app: all read, and one sends at a time."""

from __future__ import annotations

import json
import signal
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from rtmpump.sandbox.ports import free_port
from rtmpump.sandbox.rabbitmq.node import RabbitNode
from rtmpump.sandbox.slack.faults import Hang, HttpAnswer
from rtmpump.sandbox.slack.workspace import Workspace
from tests.e2e.test_standby import ask
from tests.faults.proxy import HALF_OPEN, Proxy
from tests.support.broker import Broker
from tests.support.pump import PumpProcess
from tests.support.waiting import wait_until

POST = "chat.postMessage"
CHANNELS = [f"C0CHAN{number}" for number in range(6)]
CHANNEL = CHANNELS[0]
LIMITED = HttpAnswer(429, {"Retry-After": "5"})


class Crew:
    """Starts pumps of one app, each on a host of its own."""

    def __init__(self, workspace: Workspace, url: str, folder: Path, stack: ExitStack) -> None:
        self._workspace, self._url, self._folder, self._stack = workspace, url, folder, stack
        self._count = 0

    def start(self, url: str = "", **outbound: Any) -> PumpProcess:
        """One more; it is ready, so those that were there before it have their turns first."""
        self._count += 1
        folder = self._folder / f"host-{self._count}"
        folder.mkdir()
        sections: dict[str, Any] = {
            "slack": {"mode": "socket", "app_token": self._workspace.app_token, "connections": 1},
            "broker": {"url": url or self._url} | ({"heartbeat": 4} if url else {}),
            "outbound": {"rate": 10.0, "burst": 3, "prefetch": 400} | outbound,
            "http": {"listen": f"127.0.0.1:{free_port()}"},
        }
        pump = PumpProcess(folder, self._workspace, self._url, **sections)
        self._stack.enter_context(pump)
        pump.wait_ready()
        return pump


@pytest.fixture
def crew(workspace: Workspace, broker_url: str, tmp_path: Path) -> Iterator[Crew]:
    """To start pumps with, on a workspace with channels enough."""
    workspace.channels.update({f"channel-{id}".lower(): id for id in CHANNELS})
    workspace.faults.api_errors[POST] = deque([Hang(0.02)] * 100_000)
    with ExitStack() as stack:
        yield Crew(workspace, broker_url, tmp_path, stack)


class Load:
    """Numbered commands for each channel, in turns; each asks for its result."""

    def __init__(self, broker: Broker, each: int, channels: Sequence[str] = CHANNELS) -> None:
        self.broker = broker
        self.size = each * len(channels)
        self.results = broker.queue()
        for number in range(each):
            for channel in channels:
                body = {"channel": channel, "text": str(number)}
                name = f"{channel} {number}"
                broker.publish(body, message_id=name, correlation_id=name, reply_to=self.results)

    def answered(self) -> Counter[str]:
        """Return how many results each command had, once all have at least one."""
        seen: Counter[str] = Counter()

        def all_have() -> bool:
            while (one := self.broker.poll(self.results)) is not None:
                assert one.json["ok"], one.json
                seen[str(one.properties.correlation_id)] += 1
            return len(seen) == self.size

        wait_until(all_have, what=lambda: f"for {self.size} results; {len(seen)} came")
        return seen


def numbers(workspace: Workspace, channel: str) -> list[int]:
    """What one channel got, in order."""
    return [int(one.text) for one in list(workspace.sent) if one.channel == channel]


def arrived(workspace: Workspace, count: int) -> None:
    """Wait until Slack has taken this many messages, repeats and all."""
    wait_until(lambda: len(workspace.sent) >= count, what=f"for {count} messages")


def steps_back(workspace: Workspace, channel: str) -> list[int]:
    """Return how many messages were sent again at each step back; what follows goes on in order."""
    got = numbers(workspace, channel)
    steps = [after - before for before, after in pairwise(got)]
    assert got[:1] in ([], [0])
    assert all(step == 1 or step <= 0 for step in steps), got
    return [1 - step for step in steps if step != 1]


def nothing_waits(pump: PumpProcess) -> bool:
    """Whether it holds no command."""
    return metric(pump, "commands_waiting") == 0


def metric(pump: PumpProcess, name: str) -> object:
    """Return one of the metrics that its port reports."""
    value: object = json.loads(ask(pump, "/status")[1])["metrics"][name]
    return value


def test_a_stop_and_a_kill_under_load(crew: Crew, workspace: Workspace, broker: Broker) -> None:
    """The order of each channel holds; all is sent, and only what was under way is sent twice."""
    # So slow that what was settled is out of the queue before the next one is sent.
    stopped, killed, last = (crew.start(rate=1.5) for _ in range(3))
    load = Load(broker, 40)
    arrived(workspace, load.size // 4)
    stopped.terminate()
    assert stopped.wait() == 0
    arrived(workspace, load.size // 2)
    assert repeats_so_far(workspace) == 0
    killed.kill()
    assert set(load.answered().values()) <= {1, 2}
    back = [again for channel in CHANNELS for again in steps_back(workspace, channel)]
    # One message of a channel is under way at a time, and the ack of the one before may be.
    assert len(back) <= len(CHANNELS)
    assert sum(back) <= 2 * len(CHANNELS), back
    assert all(set(numbers(workspace, channel)) == set(range(40)) for channel in CHANNELS)
    wait_until(lambda: nothing_waits(last))
    assert broker.count("rtm.outbound") == broker.count("rtm.outbound.dead") == 0


def repeats_so_far(workspace: Workspace) -> int:
    """Return how many messages came twice."""
    sent = [(one.channel, one.text) for one in list(workspace.sent)]
    return len(sent) - len(set(sent))


def test_a_pump_without_its_turn_is_ready_and_says_so(
    crew: Crew, workspace: Workspace, broker: Broker
) -> None:
    """It reads all the same; once a command came, it says no more."""
    first, second = crew.start(), crew.start()
    waits = "another pump has the turn for the commands"
    assert broker.ask({"channel": CHANNELS[0], "text": "0"})["ok"]
    assert ask(first, "/readyz") == (200, "ok\n")
    assert ask(second, "/readyz") == (200, f"ok; {waits}\n")
    assert metric(first, "commands_turn") is True
    assert metric(second, "commands_turn") is False
    assert len(workspace.sockets) == 2
    first.terminate()
    # Until it ends it may still take one.
    first.wait()
    assert broker.ask({"channel": CHANNELS[0], "text": "1"})["ok"]
    wait_until(lambda: ask(second, "/readyz") == (200, "ok\n"))


@pytest.mark.parametrize("end", ["frozen", "cut off"])
def test_a_host_that_is_gone_without_a_word(
    crew: Crew, workspace: Workspace, broker: Broker, node: RabbitNode, broker_url: str, end: str
) -> None:
    """RabbitMQ knows it after two heartbeats, and the next pump goes on in order.

    The one before has stopped to send by then, and does not begin again when it comes back.
    """
    with Proxy(node.port) as proxy:
        gone = crew.start(broker_url.replace(f":{node.port}/", f":{proxy.port}/"), rate=4.0)
        rest = crew.start(rate=4.0)
        # More than is sent until the end: each time some more must come.
        Load(broker, 400, [CHANNEL])
        arrived(workspace, 4)
        if end == "frozen":
            # What is under way at that moment can't be called back: so nothing is.
            workspace.faults.api_errors[POST].appendleft(LIMITED)
            wait_until(lambda: gone.logged("call.again") or gone.logged("slack.rests"))
            gone.signal(signal.SIGSTOP)
        else:
            proxy.weather = HALF_OPEN
            gone.wait_log("broker_commands.disconnected", reason="heartbeat")
        wait_until(lambda: metric(rest, "commands_turn"))
        arrived(workspace, len(workspace.sent) + 4)
        gone.signal(signal.SIGCONT)
        proxy.heal()
        gone.wait_log("broker_commands.connected", 2)
        arrived(workspace, len(workspace.sent) + 8)
        assert len(steps_back(workspace, CHANNEL)) <= 1
