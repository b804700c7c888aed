"""All that a run needs, each part real: workspace, node, proxies, pump, traffic, and its ends."""

from __future__ import annotations

import contextlib
import math
import os
import random
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

from rtmpump.sandbox.ports import free_port
from rtmpump.sandbox.rabbitmq.node import RabbitNode
from rtmpump.sandbox.slack.workspace import SentEnvelope, Workspace
from tests.faults import traffic
from tests.faults.asker import Asker, Moved
from tests.faults.clocks import PROGRAM, Clocks
from tests.faults.ledger import Ledger
from tests.faults.modes import Mode
from tests.faults.proxy import Proxy
from tests.faults.questions import Questions
from tests.faults.tokens import Tokens
from tests.support.broker import Broker
from tests.support.broker_node import note_all
from tests.support.pump import PumpProcess
from tests.support.waiting import wait_until

HEARTBEAT: Final = 2
DISK: Final = 64 << 20
RECOVERS_IN: Final = 90.0
_STOPS_IN: Final = 25.0
_URL: Final = "amqp://guest:guest@127.0.0.1:{}/%2F"
_SETTINGS: Final[dict[str, dict[str, object]]] = {
    "slack": {"ping_interval": 2, "ping_timeout": 2, "hello_timeout": 4},
    "broker": {"heartbeat": HEARTBEAT},
    "outbound": {"rate": 1000.0, "burst": 100, "reply_timeout": 2},
    "retry": {"initial": 0.1, "max": 2, "healthy_after": 1},
    "spool": {"max_bytes": "32MiB"},
    "log": {"level": "info"},
}


class Rig:
    """One run; `close` ends all. `disk` is whether the spool lies on a small disk of its own."""

    def __init__(self, mode: Mode, seed: int, event_rate: float, command_rate: float) -> None:
        self.mode = mode
        self.dice = random.Random(seed)
        self.ledger = Ledger(sends_again=mode.sends_again)
        self.peak_kib = 0
        self.longest_recovery = 0.0
        self.pumps = 0
        self.keeps_folder = False
        self._port = free_port()
        self._rested: dict[str, float] = {}
        with ExitStack() as stack:
            self.folder = self._folder(stack)
            self.disk = _small_disk(stack, self.folder)
            self.workspace = stack.enter_context(Workspace(channels=traffic.CHANNELS))
            self.tokens = Tokens(self.folder, self.workspace)
            self.clocks = Clocks(self.folder / "clocks")
            self.node = stack.enter_context(RabbitNode())
            self.slack_proxy = stack.enter_context(Proxy(self.workspace.port))
            self.amqp_proxy = stack.enter_context(Proxy(self.node.port))
            self.workspace.faults = mode.fair(f"127.0.0.1:{self.slack_proxy.port}")
            self.consumer = traffic.Consumer(self.ledger, self.node.url)
            stack.callback(self.consumer.stop)
            self.flood = traffic.Flood(self.workspace, self.ledger, event_rate)
            self.commands = traffic.Commands(self.ledger, command_rate, self.node.url)
            self.commands.start()
            stack.callback(self.commands.stop)
            self.questions: Questions | None = None
            if mode.sends_again:
                self.questions = Questions(self.workspace, self.node.url)
                stack.callback(self.questions.close)
            self.pump = self._pump()
            stack.callback(self.pump.close)
            self.asker = Asker(self._port, self.pump.config, self._events, self._answers)
            stack.callback(self.asker.stop)
            self._stack = stack.pop_all()

    def close(self) -> None:
        """End all; the folder with the logs stays if `keeps_folder` was set."""
        self._stack.close()

    def kill_node(self) -> None:
        """Kill the node once it can know all its queues again afterwards."""
        note_all(self.node)
        self.node.kill()

    def start_pump(self) -> None:
        """Start the pump again."""
        self.pumps += 1
        self.pump.start()

    def stop_pump(self) -> None:
        """Stop the pump in order."""
        self.pump.end_in_order(_STOPS_IN)

    def start_fellow(self) -> PumpProcess:
        """Start one more pump of the same app, on a disk of its own."""
        self.pumps += 1
        folder = self.folder / f"fellow-{self.pumps}"
        folder.mkdir()
        return self._stack.enter_context(self._new_pump(folder, folder / "spool.db"))

    def end_pump(self, end: Callable[[], object]) -> None:
        """Take down what the pump needed, and end it."""
        self.weigh()
        end()

    def weigh(self) -> None:
        """Note the most memory that the pump ever took."""
        self.peak_kib = max(self.peak_kib, traffic.memory(self.pump.pid).get("VmHWM", 0))

    @contextmanager
    def breaks_commands(self) -> Iterator[None]:
        """What is done here may make a result come again: nobody can know whether it arrived."""
        since = time.time() * 1000
        try:
            yield
        finally:
            # Until all links are surely up again.
            self.ledger.struck(since, time.time() * 1000 + 2_000 * (HEARTBEAT + 4))

    def rest(self, what: str, seconds: float) -> None:
        """Wait until so many seconds have passed since the last such rest."""
        now = time.monotonic()
        time.sleep(max(0.0, self._rested.get(what, -math.inf) + seconds - now))
        self._rested[what] = time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Let the pump's machine have slept for so long: then all is so much later, Slack too."""
        self.clocks.sleep(seconds)
        self.ledger.slept(seconds * 1000)

    @contextmanager
    def refuses(self, channel: str) -> Iterator[None]:
        """What is done here refuses commands for this channel as if it were their own fault."""
        since = time.time() * 1000
        try:
            yield
        finally:
            self.ledger.refused(channel, since, time.time() * 1000)

    def bind_questions(self) -> None:
        """Bind their queues again, whose bindings have gone with an exchange."""
        if self.questions is not None:
            self.questions.bind()

    def unacknowledged(self) -> list[SentEnvelope]:
        """Return the envelopes that Slack will send until it hears of them."""
        return [one for one in self.workspace.unacknowledged() if one.kind == "events_api"]

    def check(self) -> None:
        """Fail if a part of the rig, or the pump, has ended by itself."""
        assert self.pump.running, f"the pump has ended\n{self.pump.log_text()[-5000:]}"
        assert self.consumer.running, "the consumer has ended"
        assert not self.consumer.broken, "an event came that was not as it was sent"
        assert not self.commands.errors, self.commands.errors

    def wait(self, true: Callable[[], object], what: str = "") -> None:
        """Wait until `true()` is."""
        wait_until(true, RECOVERS_IN, what)

    def recover(self) -> float:
        """Wait until an event that is sent from now on comes out, and a command is answered.

        Before that event comes what Slack had to send again.
        """
        began = time.monotonic()
        wait_until(self._is_live, RECOVERS_IN, "for Slack's connections")
        waiting = self.unacknowledged()
        wait_until(lambda: self._have_come(waiting), RECOVERS_IN, "for acknowledgements")
        event = self.ledger.emitted_count
        commands = self.commands.count
        wait_until(lambda: self._has_passed(event, commands), RECOVERS_IN, f"for event {event}")
        took = time.monotonic() - began
        self.longest_recovery = max(self.longest_recovery, took)
        self.weigh()
        return took

    def settle(self, seconds: float = 120.0, *, pump_runs: bool = True) -> None:
        """Wait until all came that is still to come; what is missing then is for the verdict."""
        deadline, seen, quiet_since = time.monotonic() + seconds, (-1, -1), time.monotonic()
        while time.monotonic() < deadline:
            now = (self.ledger.received + self.ledger.repeats, self.ledger.unanswered)
            if now != seen:
                seen, quiet_since = now, time.monotonic()
            is_quiet = time.monotonic() - quiet_since
            if is_quiet > 15 or (is_quiet > 2 and self._is_all_done()):
                return
            if pump_runs:
                self.check()
            time.sleep(0.2)

    def broker(self) -> Broker:
        """A connection of our own, past the proxy."""
        return Broker(self.node.url)

    def _folder(self, stack: ExitStack) -> Path:
        folder = Path(tempfile.mkdtemp(prefix="rtmpump-faults-"))
        (folder / "disk").mkdir()

        def remove() -> None:
            if not self.keeps_folder:
                shutil.rmtree(folder, ignore_errors=True)

        stack.callback(remove)
        return folder

    def _pump(self) -> PumpProcess:
        self.pumps = 1
        listen = f"127.0.0.1:{self._port}"
        return self._new_pump(self.folder, self.folder / "disk" / "spool.db", listen)

    def _new_pump(self, folder: Path, spool: Path, listen: str = "") -> PumpProcess:
        sections: dict[str, Any] = {key: dict(value) for key, value in _SETTINGS.items()}
        sections["slack"] |= self.mode.settings(self.tokens.app_file)
        sections["slack"] |= {"token": "", "token_file": str(self.tokens.file)}
        sections["slack"]["api_url"] = f"http://127.0.0.1:{self.slack_proxy.port}/api/"
        sections["http"] = {"listen": listen}
        sections["spool"]["path"] = str(spool)
        url = _URL.format(self.amqp_proxy.port)
        env = {"CLOCKS": str(self.clocks.file)}
        pump = PumpProcess(folder, self.workspace, url, program=PROGRAM, env=env, **sections)
        pump.spool = spool
        return pump

    def _events(self) -> Moved:
        """How much has come out; something is due while somebody is there to send it."""
        ledger = self.ledger
        return Moved(ledger.received + ledger.repeats, self.flood.runs and self.workspace.live > 0)

    def _answers(self) -> Moved:
        """How many commands were answered; one is due once it is in its queue."""
        unanswered = self.ledger.unanswered
        return Moved(self.commands.count - unanswered, unanswered > 0)

    def _is_live(self) -> bool:
        self.check()
        return self.workspace.live >= self.mode.connections

    def _have_come(self, envelopes: list[SentEnvelope]) -> bool:
        self.check()
        return all(one.acknowledged for one in envelopes)

    def _is_all_done(self) -> bool:
        waits = self.ledger.unanswered or self.unacknowledged()
        return not waits and not self.ledger.lost()

    def _has_passed(self, event: int, commands: int) -> bool:
        self.check()
        # Slack may be away again, by another fault, and then the event that we wait for is gone.
        return self.ledger.highest >= event and self.commands.count - self.ledger.unanswered >= (
            commands if commands < self.commands.count else 0
        )


def _unmount(disk: Path) -> None:
    subprocess.run(["umount", "-l", disk], check=False)


def _small_disk(stack: ExitStack, folder: Path) -> bool:
    """A tmpfs of 64 MiB for the spool where we may mount one."""
    disk = folder / "disk"
    if os.geteuid() != 0:
        return False
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", disk], capture_output=True
    )
    if made.returncode:
        return False
    stack.callback(_unmount, disk)
    return True


def stop_for(pid: int, seconds: float) -> None:
    """A process that doesn't get the CPU, for so long."""
    with frozen(pid):
        time.sleep(seconds)


@contextmanager
def frozen(pid: int) -> Iterator[None]:
    """A process that doesn't get the CPU."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
