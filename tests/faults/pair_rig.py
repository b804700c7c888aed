"""Two pumps of one workspace, and three RabbitMQ nodes: what a run of two needs, and its ends."""

from __future__ import annotations

import os
import random
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, Final, cast

from rtmpump.sandbox.ports import free_port
from rtmpump.sandbox.rabbitmq.node import RabbitNode
from rtmpump.sandbox.slack.workspace import Workspace
from tests.e2e.test_cluster import our_node
from tests.e2e.test_standby import LOCK, ask, has_nothing_left
from tests.faults import traffic
from tests.faults.ledger import Ledger
from tests.faults.two_pumps import Readers, Span, Write, Writers
from tests.support.broker import Broker
from tests.support.broker_node import note_all
from tests.support.cluster import SIZE, cluster, cut_off
from tests.support.pump import PumpProcess
from tests.support.waiting import wait_until

HEARTBEAT: Final = 12
RECOVERS_IN: Final = 60.0
_LOOK_EVERY: Final = 0.01
_WELL_FOR: Final = 4.5
_ASKED_EVERY: Final = 0.1
_STOPS_IN: Final = 25.0
_WITH_IDENTITY: Final = 4
_LOCK_ITEMS: Final = (
    "leader,members,online,consumers,single_active_consumer_pid,messages_ready,"
    "messages_unacknowledged"
)
_LOCK_INFO: Final = (
    f"[{{amqqueue:get_pid(Q), rabbit_amqqueue:info(Q, [{_LOCK_ITEMS}])}} || {{ok, Q}} <- "
    '[rabbit_amqqueue:lookup(rabbit_misc:r(<<"/">>, queue, <<"rtmpump.lock">>))]]'
)
_SETTINGS: Final[dict[str, dict[str, object]]] = {
    "ha": {"enabled": True},
    "slack": {"ping_interval": 2, "ping_timeout": 5, "hello_timeout": 4},
    "outbound": {"rate": 1000.0, "burst": 100, "reply_timeout": 2},
    "retry": {"initial": 0.1, "max": 2, "healthy_after": 1},
    "log": {"level": "info"},
}


class PairLedger(Ledger):
    """Older events may come behind newer ones, and one without an identity with two ids."""

    two_ids = 0

    def came(self, number: int, id: int, *, in_order: bool) -> None:
        """A consumer got an event."""
        known = self._ids[number] if number < len(self._ids) else 0
        if number % _WITH_IDENTITY and known not in (0, id):
            self.two_ids += 1
            self.repeats += 1
        else:
            super().came(number, id, in_order=False)

    def is_doubled(self, id: str) -> bool:
        """Whether its producer published a command twice, for no confirm had come."""
        return id in self._again


class Watch:
    """Watches Slack's side of all connections: who wrote what, and whether anybody reads.

    `owners` and `ended` say of each connection whose it was, and when it ended.
    """

    def __init__(self, workspace: Workspace) -> None:
        self.commands, self.others = Writers(), Writers()
        self.readers = Readers(time.time())
        self.pumps: dict[str, PumpProcess] = {}
        self.frozen: set[str] = set()
        self.owners: dict[int, str] = {}
        self.latest = 0.0
        self._hub = cast(Any, workspace._hub)
        self._port = workspace.port
        self._mine = threading.local()
        self._add, self._note = self._hub.add, self._hub.note
        self._remove = self._hub.remove
        self._hub.add = self._added
        self._hub.note = self._noted
        self._hub.remove = self._removed
        self.ended: dict[int, float] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self.readers = Readers(time.time())
        self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        before = time.time()
        while not self._over.wait(_LOOK_EVERY):
            reads = {self.owners[peer.number] for peer in self._hub.live_peers()} - self.frozen
            now = time.time()
            late = max(0.0, now - before - _LOOK_EVERY)
            before, self.latest = now, max(self.latest, late)
            self.readers.look(now, bool(reads), late)

    def _added(self, peer: Any) -> None:
        """A connection, on its own thread."""
        self._mine.number = peer.number
        self.owners[peer.number] = self._owner(peer._stream._socket.getpeername()[1])
        self._add(peer)

    def _removed(self, peer: Any) -> None:
        self.ended[peer.number] = time.time()
        self._remove(peer)

    def _noted(self, record: list[Any], entry: Any) -> None:
        """A frame of a client, on the thread of its connection, and other things."""
        if record is self._hub.frames:
            number = self._mine.number
            write = Write(number, self.owners[number], time.time())
            writers = self.commands if entry.get("type") == "message" else self.others
            with self._hub.changed:
                writers.wrote(write)
        self._note(record, entry)

    def _owner(self, port: int) -> str:
        """The pump whose connection comes from this port."""
        inode = f"socket:[{_inode(port, self._port)}]"
        for name, pump in self.pumps.items():
            with suppress(OSError):
                for file in Path(f"/proc/{pump.pid}/fd").iterdir():
                    with suppress(OSError):
                        if os.readlink(file) == inode:
                            return name
        return "one that is gone"


class PairRig:
    """One run; `close` ends all. `active` and `standby` are as they were when all was well."""

    def __init__(self, seed: int, event_rate: float, command_rate: float) -> None:
        self.dice = random.Random(seed)
        self.ledger = PairLedger()
        self.keeps_folder = False
        self.troubles: list[Span] = []
        self.divided: list[RabbitNode] = []
        with ExitStack() as stack:
            self.folder = Path(tempfile.mkdtemp(prefix="rtmpump-pair-"))
            stack.callback(self._remove_folder)
            self.nodes = stack.enter_context(cluster())
            self.workspace = stack.enter_context(Workspace(channels=traffic.CHANNELS))
            self.watch = Watch(self.workspace)
            stack.callback(self.watch.stop)
            urls = [node.url for node in self.nodes]
            self.consumer = traffic.Consumer(self.ledger, *urls)
            stack.callback(self.consumer.stop)
            self.flood = traffic.Flood(self.workspace, self.ledger, event_rate)
            self.commands = traffic.Commands(self.ledger, command_rate, *urls)
            self.commands.start()
            stack.callback(self.commands.stop)
            self.active = stack.enter_context(self._pump("first", urls))
            self.standby = stack.enter_context(self._pump("second", [*urls[1:], urls[0]]))
            self._stack = stack.pop_all()

    def close(self) -> None:
        """End all; the folder with the logs stays if `keeps_folder` was set."""
        if self.keeps_folder:
            for number, node in enumerate(self.nodes):
                (self.folder / f"node-{number}.log").write_text(node.logs)
        self._stack.close()

    def lock_queue(self) -> list[str]:
        """What each node says of the lock queue."""
        return [
            f"{number} at {node.port}: {node.evaluate(_LOCK_INFO)}"
            for number, node in enumerate(self.nodes)
        ]

    @property
    def pumps(self) -> list[PumpProcess]:
        """Both, in the order in which they were made."""
        return list(self.watch.pumps.values())

    def name(self, pump: PumpProcess) -> str:
        """How a pump is called."""
        return next(name for name, one in self.watch.pumps.items() if one is pump)

    # What strikes do.

    def node_of(self, pump: PumpProcess) -> RabbitNode:
        """The node on which a pump stands for the lock."""
        return our_node(pump, self.nodes, "broker_lock")

    def some_node(self) -> RabbitNode:
        """That of the active pump, that of the standby, or any."""
        kind = self.dice.randrange(3)
        any_node = self.dice.choice(self.nodes)
        return [self.node_of(self.active), self.node_of(self.standby), any_node][kind]

    @contextmanager
    def trouble(self) -> Iterator[None]:
        """What is done here leaves RabbitMQ unwell until the end."""
        since = time.time()
        try:
            yield
        finally:
            self.troubles.append(Span(since, time.time()))

    def cut(self, node: RabbitNode, seconds: float) -> None:
        """Cut a node off from the others for so long."""
        with self.trouble(), cut_off(node, self.nodes):
            if node not in self.divided:
                self.divided.append(node)
            time.sleep(seconds)

    def rejoin(self) -> None:
        """Restart the nodes that were alone: until then they may know other queues."""
        for node in list(self.divided):
            # A stop in good order takes half a minute then.
            self.kill_node(node, 0)

    def kill_node(self, node: RabbitNode, away: float) -> None:
        """Kill a node, and start it after so many seconds."""
        with self.trouble():
            note_all(node)
            node.kill()
            time.sleep(away)
            self._start(node)

    def stop_node(self, node: RabbitNode, away: float) -> None:
        """Stop a node in good order, and start it after so many seconds."""
        with self.trouble():
            node.stop()
            time.sleep(away)
            self._start(node)

    def _start(self, node: RabbitNode) -> None:
        node.start()
        self.divided = [one for one in self.divided if one is not node]
        for one in self.nodes:
            if one not in self.divided:
                wait_until(partial(_has_all_members, one), what="for all members")

    def stop_pump(self, pump: PumpProcess) -> None:
        """Stop a pump in order."""
        pump.end_in_order(_STOPS_IN)

    @contextmanager
    def frozen(self, pump: PumpProcess) -> Iterator[None]:
        """A pump that doesn't get the CPU, and so reads nothing."""
        name = self.name(pump)
        pump.signal(signal.SIGSTOP)
        self.watch.frozen.add(name)
        try:
            yield
        finally:
            self.watch.frozen.discard(name)
            pump.signal(signal.SIGCONT)

    # Whether all is well.

    def check(self) -> None:
        """Fail if a part of the rig, or a pump, has ended by itself."""
        for pump in self.pumps:
            assert pump.running, f"a pump has ended\n{pump.log_text()[-5000:]}"
        assert self.consumer.running, "the consumer has ended"
        assert not self.consumer.broken, "an event came that was not as it was sent"
        assert not self.commands.errors, self.commands.errors

    def recover(self) -> float:
        """Wait until all is well and stays so for a while; return when it was, since 1970."""
        wait_until(self._has_roles, RECOVERS_IN, lambda: f"for both roles: {self._told()}")
        event, commands = self.ledger.emitted_count, self.commands.count
        wait_until(lambda: self._has_passed(event, commands), RECOVERS_IN, f"for event {event}")
        well_since, deadline = time.time(), time.monotonic() + RECOVERS_IN
        # A pump learns of some strikes only when its claim runs out.
        while time.time() - well_since < _WELL_FOR:
            if not self._has_roles():
                well_since = time.time()
            assert time.monotonic() < deadline, f"all was well for a moment only: {self._told()}"
        return well_since

    def restart_pumps(self, *, anew: bool = False) -> None:
        """Kill and start both pumps; `anew`: with a lock queue that they make anew."""
        for pump in self.pumps:
            pump.kill()
        if anew:
            with Broker(self.nodes[0].url) as broker:
                broker.channel.queue_delete(LOCK)
        for pump in self.pumps:
            pump.start()

    def settle(self) -> None:
        """Wait until all came that is still to come; what is missing then is for the verdict."""
        for pump in self.pumps:
            wait_until(partial(has_nothing_left, pump), what="for an empty spool")
        self._await_all(10)
        if self.ledger.unanswered:
            # As a producer does after a while: RabbitMQ may have lost a message, or its confirm.
            now = time.time() * 1000
            self.ledger.struck(now, now + 1000)
            line = self.commands._line
            line._connection.call(lambda: line._connection.fail("lost", "to publish once more"))
        self._await_all(30)

    def _await_all(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and (self.ledger.unanswered or self.ledger.lost()):
            time.sleep(0.2)

    def _has_roles(self) -> bool:
        """Whether one reads and the other one could take over; notes which."""
        time.sleep(_ASKED_EVERY)
        self.check()
        told = {pump: ask(pump, "/readyz") for pump in self.pumps}
        active = [pump for pump, (code, text) in told.items() if (code, text[:2]) == (200, "ok")]
        standby = [pump for pump in told if told[pump] == (200, "standby\n")]
        if len(active) != 1 or len(standby) != 1 or self.workspace.live != 1:
            return False
        self.active, self.standby = active[0], standby[0]
        return True

    def _told(self) -> str:
        told = {self.name(pump): ask(pump, "/readyz") for pump in self.pumps}
        return (
            f"{told}, {self.workspace.live} live connections, {self.ledger.unanswered} commands "
            f"without an answer; now {time.time():.3f}; the lock queue: {self.lock_queue()}"
        )

    def _has_passed(self, event: int, commands: int) -> bool:
        self.check()
        answered = self.commands.count - self.ledger.unanswered
        return self.ledger.highest >= event and answered >= commands

    def _pump(self, name: str, urls: list[str]) -> PumpProcess:
        folder = self.folder / name
        folder.mkdir()
        sections: dict[str, Any] = {key: dict(value) for key, value in _SETTINGS.items()}
        sections["broker"] = {"urls": urls, "heartbeat": HEARTBEAT}
        sections["http"] = {"listen": f"127.0.0.1:{free_port()}"}
        pump = PumpProcess(folder, self.workspace, "", **sections)
        self.watch.pumps[name] = pump
        return pump

    def _remove_folder(self) -> None:
        if not self.keeps_folder:
            shutil.rmtree(self.folder, ignore_errors=True)


def _has_all_members(node: RabbitNode) -> bool:
    """Whether all members of all queues are online, as this node sees it."""
    time.sleep(_ASKED_EVERY)
    online = "length(proplists:get_value(online, rabbit_amqqueue:info(Q, [online])))"
    counts = f"[{online} || Q <- rabbit_amqqueue:list()]"
    return node.evaluate(f"lists:usort({counts})") == f"[{SIZE}]"


def _inode(local: int, remote: int) -> str:
    """The inode of the client's end of a TCP connection over loopback."""
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        ports = [int(address.split(":")[1], 16) for address in fields[1:3]]
        if ports == [local, remote]:
            return fields[9]
    return "0"
