"""The daemon: who runs, in which state, and in which order it all stops.

Laws:

- Nobody else starts or joins a thread of the daemon. Pumps know nothing of each other: what one
  has to tell another goes through the wires that are laid here.
- A signal handler does nothing; the signal's number comes through the wake-up pipe of the main
  thread, which is the only one that decides.
- The stop follows the data, with one deadline for all of it. What is left then stays on disk or in
  RabbitMQ, and that is a success. A second signal stops at once.
- A thread that ends although nobody asked it to ends the daemon, and the log says which and why.
- With `ha.enabled` reader, sender and backfill work in terms, each as long as the lease is held;
  the others run on. Without it nothing of that is there.
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, Final, NamedTuple, Protocol

from rtmpump import log
from rtmpump.config import Config
from rtmpump.core.frames import Reply
from rtmpump.core.session import MessageIds
from rtmpump.daemon.control_socket import SpoolPort
from rtmpump.daemon.link_states import Links
from rtmpump.daemon.threads import Alarm, PumpThread
from rtmpump.errors import (
    EXIT_DONE,
    EXIT_FAILED,
    LinkError,
    NotConnected,
    RtmpumpError,
    SpoolError,
    TokenRefused,
)
from rtmpump.http import server
from rtmpump.links.lifecycle import Lifecycle, RetryDetails
from rtmpump.links.slack.connection_orders import ConnectionOrders
from rtmpump.links.slack.socket_mode import SEEN_MOST, SocketMode
from rtmpump.links.slack.web_api import SlackApi
from rtmpump.links.slack.websocket import RtmSocket
from rtmpump.links.systemd import Notifier
from rtmpump.metrics import Metrics
from rtmpump.pumps import publisher as publishing
from rtmpump.pumps import reader as reading
from rtmpump.pumps.backfill.gap_file import Gaps
from rtmpump.pumps.backfill.pump import Backfill
from rtmpump.pumps.dialer import Dialer
from rtmpump.pumps.directory import Directory
from rtmpump.pumps.lease import Lease
from rtmpump.pumps.outbound import sender as sending
from rtmpump.pumps.terms import Turns
from rtmpump.pumps.web_api_workers import WORKERS, Answered, WebApiWorkers
from rtmpump.spool import Spool

STOP_DEADLINE: Final = 20.0
# A loop that makes no round in this time hangs; a node that does not answer takes its part of it.
_STALLED_AFTER: Final = 60.0
_NODE_TIMEOUT: Final = 15.0
# How long commands under way have when the lease was lost: their connection may be dead.
_STEP_DOWN: Final = 3.0
# When a command is worth another look that may not go out now; a new term begins with a new sender.
_NOT_OURS_NOW: Final = 1.0
_log = log.get("supervisor")


class StopNow(Exception):
    """A second signal came."""


class Supervisor:
    """One workspace, one process; `run` belongs to the main thread."""

    def __init__(self, config: Config, notifier: Notifier) -> None:
        """Open spool and port, lay the wires; raises SpoolError, PortRefused and ConfigError."""
        self._config = config
        self._notifier = notifier
        self._stop_calls = threading.Event()
        self.metrics = Metrics()
        self.links = Links(self.metrics)
        self.spool = _open_spool(config)
        self._port = self._open_port(config)
        self._spool_port = SpoolPort.beside(self.spool)
        self._stalled_after = _STALLED_AFTER + _NODE_TIMEOUT * len(config.broker.urls)
        self.metrics.spool = self.spool.usage
        self._alarm = Alarm()
        api = SlackApi(config.slack)
        self._ids = MessageIds()
        self._directory = Directory(api, policy=config.retry, lifecycle=Lifecycle())
        self._calls = _web_calls(config, self._stop_calls)
        self._publisher = publishing.Publisher(config, self.spool, self.metrics, Lifecycle(self))
        self._term = self._new_term(None)
        self._dialer = self._make_dialer(api)
        self._lease: Lease | None = None
        self._backfill = self._make_backfill()
        self.metrics.commands_waiting = lambda: self._term.sender.waiting
        self._reader = reading.Reader(
            config,
            api,
            self._socket,
            self.spool,
            self.metrics,
            ids=self._ids,
            lifecycle=self._term.reading,
            hearers=_Wires(self._publisher, self._tell_sender, self._directory, self._backfill),
        )
        # In the order of the start: who receives runs before who brings.
        self._pumps: dict[str, _Pump] = {
            "publisher": self._publisher,
            "directory": self._directory,
            **{f"calls-{n}": worker for n, worker in enumerate(self._calls.workers, 1)},
            "sender": self._term.sender,
            **({"backfill": self._backfill} if self._backfill is not None else {}),
            "reader": self._reader,
        }
        if self._dialer is not None:
            self._pumps["dialer"] = self._dialer
        self._turns: tuple[Turns[_Term], ...] = ()
        if config.ha.enabled:
            self._stand_for_election()
        self._threads = {
            name: PumpThread(name, pump.run, self._alarm) for name, pump in self._pumps.items()
        }

    def run(self) -> int:
        """Run until a signal or a dead thread; gives the exit code of the program."""
        with self._alarm:
            started = time.monotonic()
            _log.info("started", pid=os.getpid())
            self._start()
            try:
                self._wait_for_an_end()
                self._stop_in_order()
            except StopNow:
                _log.warning("stopped_at_once", note="what was not done stays in spool and queue")
                return EXIT_FAILED
            return self._farewell(time.monotonic() - started)

    def alive(self) -> list[str]:
        """The names of the threads that still run."""
        return [name for name, thread in self._threads.items() if not thread.is_over]

    def stalled(self) -> list[str]:
        """The names of the threads that run and make no progress."""
        since = time.monotonic() - self._stalled_after
        return [name for name in self.alive() if self._pumps[name].lifecycle.last_progress < since]

    def _make_backfill(self) -> Backfill | None:
        config = self._config
        if not config.events.backfill:
            return None
        return Backfill(
            config,
            SlackApi(config.slack),
            self.spool,
            Gaps(config.spool.path, _told),
            self.metrics,
            lifecycle=self._term.filling,
            stored=self._publisher.wake,
        )

    def _make_dialer(self, api: SlackApi) -> Dialer | None:
        """Make the source of events; RTM dials as it reads, Socket Mode beside it."""
        slack = self._config.slack
        if slack.mode == "rtm":
            self._socket: RtmSocket | SocketMode = RtmSocket(slack)
            return None
        orders = ConnectionOrders()
        source = SocketMode(slack, ids=self._ids, orders=orders)
        dialer = Dialer(
            slack,
            api,
            policy=self._config.retry,
            lifecycle=Lifecycle(stop=self._term.reading.stop),
            orders=orders,
        )
        self._socket = source
        source.remember(_newest(self.spool, SEEN_MOST))
        return dialer

    # Two pumps, one of them active.

    def _stand_for_election(self) -> None:
        turns = {
            "sender": Turns[_Term](lambda term: term.sender, lambda: self._rested(sending.LINK)),
            "reader": Turns[_Term](self._reader_in, lambda: self._rested(reading.LINK)),
        }
        if self._backfill is not None:
            fills = partial(_backfill_in, self._backfill)
            turns["backfill"] = Turns[_Term](fills, lambda: None)
        self._turns = tuple(turns.values())
        self._lease = Lease(
            self._config,
            self.metrics,
            self,
            covered=lambda: self._reader.good_until_ms,
            lifecycle=Lifecycle(self),
        )
        # The lease last: then all is there that it may wake.
        self._pumps |= {**turns, "lease": self._lease}
        self.links.role = "standby"

    def elected(self, covered_until_ms: int | None) -> None:
        """Begin a term. On the thread of the lease."""
        # The sender is there before the reader can tell it of a connection.
        self._term = self._new_term(covered_until_ms)
        for turns in self._turns:
            turns.offer(self._term)
        self._take_role("active")

    def deposed(self, why: str) -> None:
        """End the term: read no more, write no more, fetch no more. On the thread of the lease."""
        term = self._term
        term.reading.stop.set()
        self._socket.wake()
        self._stop_backfill()
        term.sender.tell(sending.Finish(within=_STEP_DOWN))
        if not self.links.is_up(sending.LINK):
            term.sender.lifecycle.stop.set()
        self._take_role("standby")

    def _stop_backfill(self) -> None:
        self._term.filling.stop.set()
        if self._backfill is not None:
            self._backfill.wake()

    def _take_role(self, role: str) -> None:
        self.links.role = role
        _log.info("role.changed", role=role)
        self._tell_status()

    def _new_term(self, covered_until_ms: int | None) -> _Term:
        sender = sending.Sender(
            self._config,
            self.metrics,
            send=self._send,
            submit=self._submit,
            lookup=self._directory.lookup,
            ids=self._ids,
            lifecycle=Lifecycle(self),
        )
        return _Term(sender, Lifecycle(self), Lifecycle(self), covered_until_ms)

    def _reader_in(self, term: _Term) -> reading.Reader:
        self._reader.begin(term.reading, term.covered_until_ms)
        return self._reader

    def _rested(self, link: str) -> None:
        self.links.rest(link)
        self._tell_status()

    def _is_active(self) -> bool:
        """Whether no other pump may act on this workspace now. From any thread."""
        return self._lease is None or self._lease.is_held()

    def _send(self, frame: bytes, connection: int) -> None:
        """Write to Slack, unless another pump may have begun to do so."""
        if not self._is_active():
            raise NotConnected(reading.LINK, "standby", "this pump is not the active one")
        self._socket.send(frame, connection=connection)

    def _submit(self, method: str, arguments: Mapping[str, str], answered: Answered) -> float:
        """Have Slack's Web API called, unless another pump may have begun to do so."""
        if not self._is_active():
            return _NOT_OURS_NOW
        return self._calls.submit(method, arguments, answered)

    def _tell_sender(self, note: sending.Note) -> None:
        self._term.sender.tell(note)

    def _open_port(self, config: Config) -> server.Port | None:
        if config.http.address is None:
            return None
        try:
            return server.Port(config.http.address)
        except BaseException:
            self.spool.close()
            raise

    def _start(self) -> None:
        if self._port is not None:
            self._port.start(server.Sources(self.links.snapshot, self.stalled, self.metrics))
            host, port = self._port.address
            _log.info("http.listening", host=host, port=port)
        if self._spool_port is not None:
            self._spool_port.start()
        for thread in self._threads.values():
            thread.start()
        # A broker or a Slack that is away must not hold up the boot.
        self._notifier.ready()
        self._tell_status()

    def link_up(self, link: str, where: str) -> None:
        """Take in that a link was made. On the thread of its pump."""
        self.links.up(link, where)
        self._tell_status()

    def link_down(self, retry: RetryDetails) -> None:
        """Take in that a link ended. On the thread of its pump."""
        self.links.down(retry)
        self._tell_status()

    def _tell_status(self) -> None:
        told = ""
        # Again if it changed meanwhile: another thread may have told the newer one before us.
        while (status := self._status()) != told:
            self._notifier.status(status)
            told = status

    def _status(self) -> str:
        role = "" if self._lease is None else f"{self.links.role}: "
        away = [link for link in self.links.wanted if not self.links.is_up(link)]
        state = f"waiting for {', '.join(away)}" if away else "all links are up"
        return f"{role}{state}"

    def _feed_watchdog(self) -> None:
        stalled = self.stalled()
        if stalled:
            _log.error("thread.stalled", threads=stalled)
        else:
            self._notifier.watchdog()

    def _wait_for_an_end(self) -> None:
        while len(self.alive()) == len(self._threads):
            if self._alarm.wait(self._notifier.watchdog_interval):
                _log.info("stopping", why="signal", deadline=STOP_DEADLINE)
                return
            self._feed_watchdog()
        for name, thread in self._threads.items():
            if thread.is_over:
                _tell_death(name, thread.error)

    def _stop_in_order(self) -> None:
        began = time.monotonic()
        self._notifier.stopping()

        def part(of_the_deadline: float) -> float:
            return began + of_the_deadline * STOP_DEADLINE

        for turns in self._turns:
            turns.close()
        # What fills gaps goes on at the next start, and would only make the spool fuller.
        self._stop_backfill()
        # Commands first: those that were written are owed a reply, and that needs the WebSocket.
        self._term.sender.tell(sending.Finish())
        self._join("sender", part(0.25))
        # Now nobody needs the WebSocket, and what it still brings is all that the spool will hold.
        self._term.reading.stop.set()
        self._reader.stop()
        if self._dialer is not None:
            self._dialer.wake()
        self._join("reader", part(0.5))
        # From here on another may read and write; what is left to do is our own spool.
        if self._lease is not None:
            self._lease.release()
        # So the spool can be emptied, as far as the broker lets us.
        self._finish_publishing()
        self._join("publisher", part(0.75))
        # Whoever still runs waits for somebody who does not answer.
        self._end_all()
        for name in self._threads:
            self._join(name, part(1.0))

    def _finish_publishing(self) -> None:
        try:
            self._publisher.finish()
        except SpoolError as error:
            # A spool that can't be asked can't be emptied either.
            _log.error("spool.unreadable", problem=str(error))
            self._publisher.lifecycle.stop.set()
            self._publisher.wake()

    def _end_all(self) -> None:
        self._stop_calls.set()
        for pump in (self._publisher, self._term.sender, self._directory):
            pump.lifecycle.stop.set()
        self._publisher.wake()
        self._term.sender.tell(sending.Close())
        self._directory.wake()
        self._calls.wake()

    def _join(self, name: str, until: float) -> None:
        if name == "sender" and not self.links.is_up(sending.LINK):
            self._term.sender.lifecycle.stop.set()
        thread = self._threads[name]
        while not thread.is_over and (left := until - time.monotonic()) > 0:
            if self._alarm.wait(left):
                raise StopNow

    def _farewell(self, seconds: float) -> int:
        left, late = self._left_in_spool(), self.alive()
        if self._port is not None:
            self._port.stop()
        if self._spool_port is not None:
            self._spool_port.stop()
        if not late:
            self.spool.close()
            self._socket.close()
        errors = [thread.error for thread in self._threads.values() if thread.error is not None]
        code = _exit_code(errors)
        _log.info(
            "stopped", seconds=round(seconds, 1), left_in_spool=left, unfinished=late, exit=code
        )
        return code

    def _left_in_spool(self) -> int | None:
        try:
            return self.spool.usage().events
        except SpoolError:
            return None


class _Pump(Protocol):
    """What the supervisor needs of each pump: the body of its thread, and a sign of progress."""

    @property
    def lifecycle(self) -> Lifecycle:
        """Of what it does now."""

    def run(self) -> None:
        """Work until it is stopped."""


class _Term(NamedTuple):
    """What is new in each term: who sends, and how those that work in it are ended."""

    sender: sending.Sender
    reading: Lifecycle
    filling: Lifecycle
    covered_until_ms: int | None


def _backfill_in(backfill: Backfill, term: _Term) -> Backfill:
    backfill.begin(term.filling)
    return backfill


class _Wires:
    """What the reader meets, brought to whom it concerns."""

    def __init__(
        self,
        publisher: publishing.Publisher,
        tell_sender: Callable[[sending.Note], None],
        directory: Directory,
        backfill: Backfill | None,
    ) -> None:
        self._publisher = publisher
        self._tell_sender = tell_sender
        self._directory = directory
        self._backfill = backfill

    def stored(self) -> None:
        self._publisher.wake()

    def replied(self, reply: Reply) -> None:
        self._tell_sender(reply)

    def connected(self, connection: int) -> None:
        # What changed while nobody listened is not known.
        self._directory.changed()
        self._tell_sender(sending.LinkUp(connection))

    def disconnected(self) -> None:
        self._tell_sender(sending.LinkDown())

    def channels_changed(self) -> None:
        self._directory.changed()

    def missed(self, from_ms: int, to_ms: int, team: str, bot: str) -> None:
        if self._backfill is not None:
            self._backfill.missed(from_ms, to_ms, team, bot)


def _told(event: str, fields: dict[str, Any]) -> None:
    _log.warning(event, **fields)


def _newest(spool: Spool, most: int) -> Iterator[bytes]:
    """Give the bodies of the newest events that the spool holds, at most so many."""
    cursor = spool.usage().last_seq - most
    while rows := spool.read(cursor, 1024):
        cursor = rows[-1].seq
        yield from (row.body for row in rows if row.origin.source == SocketMode.source)


def _open_spool(config: Config) -> Spool:
    spool = config.spool
    return Spool.open(
        spool.path,
        max_bytes=spool.max_bytes,
        when_full=spool.when_full,
        sync=spool.sync,
        report=_told,
    )


def _web_calls(config: Config, stop: threading.Event) -> WebApiWorkers:
    """The workers for calls of the Web API; none where no command can ask for one."""
    outbound = config.outbound
    is_needed = bool(outbound.api_methods) or config.slack.mode == "socket"
    return WebApiWorkers(
        SlackApi(config.slack, timeout=math.ceil(outbound.reply_timeout)),
        rate=outbound.api_rate,
        burst=outbound.burst,
        stop=stop,
        workers=WORKERS if is_needed else 0,
    )


def _tell_death(name: str, error: BaseException | None) -> None:
    if isinstance(error, TokenRefused):
        _log.error("token.refused", code=error.code, fix=error.fix)
    else:
        why = "it ended" if error is None else f"{type(error).__name__}: {error}"
        _log.error("thread.died", thread=name, why=why, exc_info=error)


def _exit_code(errors: list[BaseException]) -> int:
    if not errors:
        return EXIT_DONE
    told = [error for error in errors if isinstance(error, RtmpumpError)]
    fatal = [error for error in told if not isinstance(error, LinkError)]
    return fatal[0].exit_code if len(fatal) == len(errors) else EXIT_FAILED
