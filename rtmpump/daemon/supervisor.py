"""The daemon: which threads run, and in which order they all stop; `wiring` builds what runs.

Laws:

- Only the supervisor starts and joins the threads of pumps.
- A signal handler does nothing; the signal's number comes through the wake-up pipe of the main
  thread, which is the only one that decides.
- The stop follows the data, with one deadline for all of it. What is left then stays on disk or in
  RabbitMQ, and that is a success. A second signal stops at once.
- A thread that ends although no stop was asked for ends the daemon, and the log says which and why.
"""

from __future__ import annotations

import os
import time
from typing import Final

from rtmpump import log
from rtmpump.daemon.overview import Overview
from rtmpump.daemon.threads import Alarm, PumpThread
from rtmpump.daemon.watch import Watch, Watched
from rtmpump.daemon.wiring import Parts
from rtmpump.errors import (
    EXIT_DONE,
    EXIT_FAILED,
    LinkError,
    RtmpumpError,
    SpoolError,
    TokenRefused,
)
from rtmpump.http import server
from rtmpump.links.systemd import Notifier
from rtmpump.pumps.outbound import sender as sending

STOP_DEADLINE: Final = 20.0
# A loop that makes no round in this time hangs; a node that does not answer takes its part of it.
_STALLED_AFTER: Final = 60.0
_NODE_TIMEOUT: Final = 15.0
_log = log.get("supervisor")


class StopNow(Exception):
    """A second signal came."""


class Supervisor:
    """One workspace, one process; `run` belongs to the main thread."""

    def __init__(self, parts: Parts, notifier: Notifier) -> None:
        self._parts = parts
        self._notifier = notifier
        self._stalled_after = _STALLED_AFTER + _NODE_TIMEOUT * len(parts.config.broker.urls)
        self._alarm = Alarm()
        self._pumps = parts.pumps()
        self._threads = {
            name: PumpThread(name, pump.run, self._alarm) for name, pump in self._pumps.items()
        }

    def run(self) -> int:
        """Run until a signal or the end of a thread; return the exit code of the program."""
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
        """Return the names of the threads that still run."""
        return [name for name, thread in self._threads.items() if not thread.is_over]

    def stalled(self) -> list[str]:
        """Return the names of the threads that run and make no progress."""
        since = time.monotonic() - self._stalled_after
        return [name for name in self.alive() if self._pumps[name].lifecycle.last_progress < since]

    def _start(self) -> None:
        parts = self._parts
        if parts.port is not None:
            parts.port.start(self._sources())
            host, port = parts.port.address
            _log.info("http.listening", host=host, port=port)
        if parts.control_socket is not None:
            parts.control_socket.start()
        for thread in self._threads.values():
            thread.start()
        # A broker or a Slack that is away must not delay the boot.
        self._notifier.ready()
        parts.status.publish()

    def _sources(self) -> server.Sources:
        """Return where the port gets its answers."""
        parts = self._parts
        spool, reader, publisher = parts.spool, parts.reader, parts.publisher
        watch = Watch(
            Watched(parts.status.states, spool, reader, publisher, parts.current, parts.lease)
        )
        parts.metrics.stopped = watch.stopped
        overview = Overview(parts)
        return server.Sources(
            links=overview.links,
            stalled=self.stalled,
            metrics=parts.metrics,
            halts=watch.halts,
            look=watch.look,
            slack=overview.slack,
            queues=overview.queues,
            spool_bytes=lambda: spool.bytes_seen,
        )

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
            if self._alarm.takes_reload():
                self._parts.reload.begin()
            self._feed_watchdog()
        for name, thread in self._threads.items():
            if thread.is_over:
                _log_death(name, thread.error)

    def _stop_in_order(self) -> None:
        parts, began = self._parts, time.monotonic()
        self._notifier.stopping()

        def part(of_the_deadline: float) -> float:
            return began + of_the_deadline * STOP_DEADLINE

        for pump in parts.terms.values():
            pump.close()
        # The backfill goes on at the next start; now it would only make the spool fuller.
        parts.current.stop_filling()
        # Commands first: those that were written wait for a reply, and that needs the WebSocket.
        parts.current.notify_sender(sending.Finish())
        self._join("sender", part(0.25))
        # Now the WebSocket is not needed any more, and nothing else will come into the spool.
        parts.current.stop_reading()
        parts.reader.stop()
        if parts.dialer is not None:
            parts.dialer.stop()
        self._join("reader", part(0.5))
        # From here on another pump may read and write; what is left to do is our own spool.
        if parts.lease is not None:
            parts.lease.release()
        # Empty the spool, as far as the broker lets us.
        self._finish_publishing()
        self._join("publisher", part(0.75))
        # What still runs waits for a peer that does not answer.
        self._end_all()
        for name in self._threads:
            self._join(name, part(1.0))

    def _finish_publishing(self) -> None:
        publisher = self._parts.publisher
        try:
            publisher.finish()
        except SpoolError as error:
            # A spool that can't be read can't be emptied either.
            _log.error("spool.unreadable", problem=str(error))
            publisher.stop()

    def _end_all(self) -> None:
        parts = self._parts
        parts.current.term.sender.lifecycle.stop.set()
        parts.current.notify_sender(sending.Close())
        parts.publisher.stop()
        parts.directory.stop()
        parts.calls.stop.set()
        parts.calls.wake()

    def _join(self, name: str, until: float) -> None:
        if name == "sender" and not self._parts.status.states.is_up(sending.LINK):
            self._parts.current.term.sender.lifecycle.stop.set()
        thread = self._threads[name]
        while not thread.is_over and (left := until - time.monotonic()) > 0:
            if self._alarm.wait(left):
                raise StopNow

    def _farewell(self, seconds: float) -> int:
        parts, left, late = self._parts, self._left_in_spool(), self.alive()
        if parts.port is not None:
            parts.port.stop()
        if parts.control_socket is not None:
            parts.control_socket.stop()
        if not late:
            parts.spool.close()
            parts.source.close()
        errors = [thread.error for thread in self._threads.values() if thread.error is not None]
        code = _exit_code(errors)
        _log.info(
            "stopped", seconds=round(seconds, 1), left_in_spool=left, unfinished=late, exit=code
        )
        return code

    def _left_in_spool(self) -> int | None:
        try:
            return self._parts.spool.usage().events
        except SpoolError:
            return None


def _log_death(name: str, error: BaseException | None) -> None:
    if isinstance(error, TokenRefused):
        _log.error("token.refused", code=error.code, fix=error.fix)
    else:
        why = "it ended" if error is None else f"{type(error).__name__}: {error}"
        _log.error("thread.died", thread=name, why=why, exc_info=error)


def _exit_code(errors: list[BaseException]) -> int:
    if not errors:
        return EXIT_DONE
    ours = [error for error in errors if isinstance(error, RtmpumpError)]
    fatal = [error for error in ours if not isinstance(error, LinkError)]
    return fatal[0].exit_code if len(fatal) == len(errors) else EXIT_FAILED
