"""The steps of the demo in their order: set up, play, wait for what is under way, take down, count.

Laws:

- All that was started is ended in reverse order, whatever happens in between.
- A signal during the set-up ends the demo at once. A signal during the play ends it early, and
  the count follows all the same. A signal during the wait ends the wait.
"""

from __future__ import annotations

import logging
import time
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from rtmpump.client import LOGGER, BrokerUnavailable, Client
from rtmpump.config import Config, Secret
from rtmpump.demo.chatter import CHANNELS, Chatter
from rtmpump.demo.consumer import Consumer
from rtmpump.demo.interrupt import Interrupt
from rtmpump.demo.line import Line, remove
from rtmpump.demo.screen import Screen
from rtmpump.demo.speakers import People, Service, Speaker
from rtmpump.demo.stage import Names, PumpProcess
from rtmpump.demo.strikes import Strikes
from rtmpump.demo.summary import Played, Summary
from rtmpump.demo.tally import Tally
from rtmpump.errors import ServiceUnreachable
from rtmpump.sandbox.rabbitmq import install
from rtmpump.sandbox.rabbitmq.node import RabbitNode
from rtmpump.sandbox.slack.workspace import Workspace

_LIVE_SECONDS: Final = 60.0
_PATIENCE: Final = 25.0
_CONNECT_SECONDS: Final = 30.0
_HEAL_SECONDS: Final = 120.0
_TURN: Final = 0.1
_ASK_EVERY: Final = 0.4
_COMMAND_EVERY: Final = 1.0


@dataclass(frozen=True)
class DemoOptions:
    """The command's options; `rate` is in events a second, no `broker_url` is a private node."""

    seconds: float = 20.0
    rate: float = 20.0
    broker_url: Secret | None = None
    live: bool = False
    chaos: bool = False
    http: str = ""
    seed: int = 1
    mode: str = "rtm"
    backfill: bool = False


class Show:
    """One demo; only the main thread may call `run`."""

    def __init__(self, options: DemoOptions, screen: Screen, interrupt: Interrupt) -> None:
        self._options = options
        self._screen = screen
        self._interrupt = interrupt
        self._tally = Tally(backfill=options.backfill)
        self._names = Names(own=bool(options.broker_url))
        self._consumer = Consumer(self._tally, screen)
        self._lines: list[Line] = []
        self._speakers: list[Speaker] = []
        self._problems: list[str] = []
        self._until = self._asked_at = 0.0
        self._has_reached = False
        self._spooled: int | None = None
        self._left = 0
        self.last_words: list[str] = []

    def run(self) -> Summary:
        """Run the demo and return its count.

        Raises:
            RtmpumpError: it can't go on (ServiceUnreachable, PumpEnded …).
            KeyboardInterrupt: a signal came during the set-up.
        """
        workspace = None if self._options.live else Workspace(channels=CHANNELS)
        with ExitStack() as stage:
            if workspace is not None:
                stage.callback(workspace.stop)
            node = self._node(stage)
            pump = self._pump(stage, workspace, node)
            options = self._options
            chatter = Chatter(options.seed, workspace.team if workspace else "", options.mode)
            if workspace is not None:
                # This Slack tries again soon; the real one waits for minutes.
                workspace.faults.ack_seconds, workspace.faults.retry_after = 2.0, (0.5, 2.0, 4.0)
            with self._screen.waiting(f"connecting to {_whose(node)}"):
                self._connect(stage, pump, chatter)
            pump.start()
            stage.callback(self._end_pump, pump)
            self._header(workspace, node, pump)
            with self._screen.waiting("starting the pump, until it is connected to Slack"):
                self._await_live(pump)
            self._interrupt.raises = False
            self._play(workspace, node, pump, chatter)
        sent = workspace.sent if workspace else ()
        hurried = self._interrupt.hurry.is_set()
        played = Played(options.mode, options.live, options.backfill, hurried)
        return Summary(self._tally, sent, played, self._problems)

    # Set up.

    def _node(self, stage: ExitStack) -> RabbitNode | None:
        if self._options.broker_url:
            return None
        node = RabbitNode(server=install.find_or_install(self._screen.live))
        stage.callback(self._end_node, node)
        with self._screen.waiting("starting RabbitMQ"):
            node.start()
        return node

    def _pump(
        self, stage: ExitStack, workspace: Workspace | None, node: RabbitNode | None
    ) -> PumpProcess:
        given = self._options.broker_url
        url = given.reveal() if given else node.url if node else ""
        options = self._options
        pump = PumpProcess(
            workspace, url, self._names, options.http, options.mode, options.backfill
        )
        stage.callback(pump.close)
        return pump

    def _connect(self, stage: ExitStack, pump: PumpProcess, chatter: Chatter) -> None:
        """Start the consumer before the first event, and the sender before the pump."""
        names, settings = self._names, pump.config
        if self._options.broker_url:
            stage.callback(self._clean_up, pump)
        self._consume(stage, settings)
        if self._options.live:
            return
        service = Service(chatter, self._tally, self._screen, results=names.results)
        line = Line(
            "demo sender",
            settings.broker,
            names.command_items(settings),
            names.results,
            service.answered,
        )
        self._line(stage, line)
        queue = settings.outbound.queue
        self._speakers.append(Speaker("sender", _COMMAND_EVERY, lambda: service.speak(line, queue)))

    def _consume(self, stage: ExitStack, settings: Config) -> None:
        # The screen says what is broken.
        logging.getLogger(LOGGER).addHandler(logging.NullHandler())
        exchange = settings.events.exchange
        client = Client(settings.broker, name="demo consumer", exchange=exchange)
        stage.callback(client.close)
        try:
            client.connect(_CONNECT_SECONDS)
            self._has_reached = True
            self._consumer.start(client, self._names.seen)
        except BrokerUnavailable as error:
            raise ServiceUnreachable("RabbitMQ", f"{error.code}: {error.message}") from error

    def _line(self, stage: ExitStack, line: Line) -> None:
        stage.callback(line.stop)
        self._lines.append(line)
        line.start()

    def _await_live(self, pump: PumpProcess) -> None:
        """Wait until the pump's first event has arrived at the consumer."""
        until = time.monotonic() + _LIVE_SECONDS
        while not self._consumer.greeted.wait(_TURN):
            pump.check()
            if time.monotonic() > until:
                self.last_words = pump.last_lines(20)
                raise ServiceUnreachable("Slack", f"no hello within {_LIVE_SECONDS:.0f} s")

    # Play.

    def _play(
        self,
        workspace: Workspace | None,
        node: RabbitNode | None,
        pump: PumpProcess,
        chatter: Chatter,
    ) -> None:
        strikes = None
        if workspace is not None:
            people = People(workspace, chatter, self._tally)
            self._speakers.append(Speaker("people", 1 / self._options.rate, people.speak))
            if self._options.chaos:
                strikes = Strikes(workspace, node, pump, self._screen, self._options.mode)
        self._screen.begin()
        self._screen.live.note = lambda: self._progress(pump)
        self._screen.live.begin()
        self._until = time.monotonic() + self._options.seconds
        try:
            for speaker in self._speakers:
                speaker.start()
            if strikes is not None:
                strikes.begin(self._options.seed, self._options.seconds)
            self._watch(pump, strikes)
        finally:
            with self._screen.waiting("the people and the service stop"):
                quiet = [speaker.stop() for speaker in self._speakers]
            healed = strikes is None or strikes.wait(_HEAL_SECONDS)
        if not all(quiet):
            self._problems.append("The pump does not read the events of Slack.")
        if not healed:
            self._problems.append("A part that was stopped did not start again in time.")
        self._settle(pump, strikes)

    def _watch(self, pump: PumpProcess, strikes: Strikes | None) -> None:
        while time.monotonic() < self._until and not self._interrupt.stop.wait(_TURN):
            self._check(pump, strikes)

    def _settle(self, pump: PumpProcess, strikes: Strikes | None) -> None:
        """Wait for what is under way, as long as there is progress."""
        if not self._tally.open():
            return
        if self._interrupt.stop.is_set():
            self._screen.say("ending early; Ctrl-C again: without what is under way", dim=True)
        with self._screen.waiting("waiting for the rest"):
            self._wait_for_the_rest(pump, strikes)

    def _wait_for_the_rest(self, pump: PumpProcess, strikes: Strikes | None) -> None:
        seen, until = -1, 0.0
        while (left := self._tally.open()) and not self._interrupt.hurry.wait(_TURN):
            self._left = left
            self._check(pump, strikes)
            if (progress := self._tally.progress()) != seen:
                seen, until = progress, time.monotonic() + _PATIENCE
            elif time.monotonic() > until:
                return

    def _check(self, pump: PumpProcess, strikes: Strikes | None) -> None:
        """Raise what went wrong in another thread or process."""
        self._screen.tick()
        pump.check()
        errors = [self._consumer.error, *(line.error for line in self._lines)]
        errors += [speaker.error for speaker in self._speakers]
        for error in [*errors, strikes.error if strikes else None]:
            if error is not None:
                raise error

    def _progress(self, pump: PumpProcess) -> str:
        """Return what the live line says while events flow, and until they have all come."""
        if time.monotonic() > self._asked_at + _ASK_EVERY:
            self._spooled, self._asked_at = pump.spooled(), time.monotonic()
        spool = "the pump is starting"
        if self._spooled is not None:
            spool = f"{self._spooled:,} wait in the spool"
        left = max(0.0, self._until - time.monotonic())
        ahead = f"{left:.0f} s to go" if not self._left else f"{self._left:,} still to come"
        return f"{spool}; {ahead}; {self._tally.arrived:,} arrived"

    # Take down.

    def _end_node(self, node: RabbitNode) -> None:
        with self._screen.waiting("ending RabbitMQ"):
            node.close()

    def _end_pump(self, pump: PumpProcess) -> None:
        self._screen.live.note = lambda: ""
        with self._screen.waiting("the pump ends: it publishes what its spool still holds"):
            is_stopped = pump.stop()
        if not is_stopped:
            self._problems.append("The pump did not stop in time and was killed.")
        self.last_words = pump.last_lines(20)

    def _clean_up(self, pump: PumpProcess) -> None:
        if not self._has_reached:
            return
        with self._screen.waiting(f"deleting {self._names.stem}.* on {_whose(None)}"):
            problem = remove(pump.config.broker, self._names.all_items(pump.config))
        if problem:
            self._screen.paragraph(
                f"not all of {self._names.stem}.* could be deleted, so delete the rest: {problem}"
            )

    def _header(
        self, workspace: Workspace | None, node: RabbitNode | None, pump: PumpProcess
    ) -> None:
        settings, names = pump.config, self._names
        slack = "the real workspace of SLACK_API_TOKEN; nothing is sent to it"
        if workspace is not None:
            slack = f"simulated workspace {workspace.team} at {workspace.host}:{workspace.port}"
        rows = [
            ("Slack", slack),
            ("RabbitMQ", f"{_whose(node)} at {_place(settings.broker.urls[0])}"),
            ("pump", f"process {pump.pid}; its log: {pump.log}"),
            ("consumer", f'queue {names.seen}, bound to {settings.events.exchange} with "#"'),
        ]
        if workspace is not None:
            commands = f"queue {settings.outbound.queue}, a command each second, the third one bad"
            rows.append(("sender", commands))
        if self._options.http:
            rows.append(("status", f"http://{self._options.http}/"))
        for name, what in rows:
            self._screen.entry(name, "", what)
        self._screen.say()
        if self._screen.legend:
            self._screen.say(self._screen.legend, dim=True)


def _whose(node: RabbitNode | None) -> str:
    return "a private RabbitMQ" if node else "your RabbitMQ"


def _place(url: Secret) -> str:
    """Return host and port of a broker, without user and password."""
    parts = urlsplit(url.reveal())
    return f"{parts.hostname}:{parts.port or (5671 if parts.scheme == 'amqps' else 5672)}"
