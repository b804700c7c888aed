"""A reader in a thread of its own, between a workspace (or a script) and a real spool."""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from rtmpump import config
from rtmpump.config import Config, Secret, SpoolConfig
from rtmpump.core.frames import Reply, parse
from rtmpump.core.session import MessageIds, Session
from rtmpump.errors import LinkError, RtmpumpError
from rtmpump.links.lifecycle import Lifecycle, RetryDetails
from rtmpump.links.slack.event_source import EventSource, new_session
from rtmpump.links.slack.web_api import SignIn
from rtmpump.metrics import Metrics
from rtmpump.pumps.reader import Reader
from rtmpump.sandbox.slack.workspace import Workspace
from rtmpump.spool import Appended, Row, Spool
from tests.support.links import LinkLog
from tests.support.rtm import rtm_source

SECONDS = 100.0
HELLO = b'{"type":"hello"}'
GOODBYE = b'{"type":"goodbye"}'
PART = "a part of a frame"


def configure(workspace: Workspace | None = None, **sections: Any) -> Config:
    """Fast retries and a small spool; keywords are keys of a section."""
    slack: dict[str, Any] = {}
    if workspace is not None:
        slack = {"token": Secret(workspace.token), "api_url": workspace.api_url}
    return Config(
        slack=config.Slack(**slack | sections.get("slack", {})),
        events=config.Events(**sections.get("events", {})),
        retry=config.Retry(**{"initial": 0.02, "max": 0.4} | sections.get("retry", {})),
        spool=SpoolConfig(**{"max_bytes": 16 << 20} | sections.get("spool", {})),
    )


def open_spool(
    folder: Path, settings: Config, when_full: Literal["block", "drop_oldest"] = "block"
) -> Spool:
    """The spool of a test."""
    size = settings.spool.max_bytes
    return Spool.open(folder / "spool.db", max_bytes=size, when_full=when_full, sync="normal")


class Told:
    """What the listener was called with, in order."""

    def __init__(self) -> None:
        self.all: list[tuple[str, object]] = []
        self.raising: str = ""

    def names(self) -> list[str]:
        """The names alone, without `stored`."""
        return [name for name, _ in self.all if name != "stored"]

    def stored(self) -> None:
        """A batch is in the spool."""
        self._tell("stored")

    def replied(self, reply: Reply) -> None:
        """A reply came."""
        self._tell("replied", reply.reply_to)

    def connected(self, connection: int) -> None:
        """Commands may go out."""
        self._tell("connected", connection)

    def disconnected(self) -> None:
        """No command may go out."""
        self._tell("disconnected")

    def channels_changed(self, frame: bytes) -> None:
        """A channel changed."""
        self._tell("channels_changed", frame)

    def missed(self, from_ms: int, to_ms: int, team: str, bot: str) -> None:
        """See `ReaderListener`."""
        self._tell("missed", (from_ms, to_ms, team, bot))

    def _tell(self, name: str, what: object = None) -> None:
        self.all.append((name, what))
        if self.raising == name:
            raise ZeroDivisionError(name)


class Refusing:
    """A spool whose first appends and syncs are refused with these errors, as by a sick disk."""

    def __init__(self, spool: Spool, *refusals: RtmpumpError) -> None:
        self._spool = spool
        self.refusals = deque(refusals)
        self.unsynced: deque[RtmpumpError] = deque()

    def append(self, items: Sequence[tuple[int, bytes]], **said: Any) -> Appended:
        """Refuse as often as was asked for, then append."""
        if self.refusals:
            raise self.refusals.popleft()
        return self._spool.append(items, **said)

    def sync(self) -> None:
        """Refuse as often as was asked for, then sync."""
        if self.unsynced:
            raise self.unsynced.popleft()
        self._spool.sync()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._spool, name)


class Scripted:
    """A source of events that does what no workspace would: each connection is a list.

    An entry is what one read gives, or an error that it raises, or `PART`.
    """

    def __init__(self, *connections: list[Any]) -> None:
        self.connections = deque(connections)
        self.opened = 0
        self.accepts = 0
        self.slack = config.Slack()
        self.heard = False
        self._reads: deque[Any] = deque()

    name = ""
    parse = staticmethod(parse)

    def new_session(self, now: float) -> Session:
        """As any source makes it."""
        return new_session(now, self.slack, MessageIds())

    def accepted(self) -> None:
        """Count what is safe."""
        self.accepts += 1

    def sign_in(self) -> SignIn:
        """Answer rtm.connect."""
        return SignIn(Secret("ws://127.0.0.1/"), "T1", "U1", "team", "bot")

    def come(self, entry: Any) -> None:
        """Let this be the next entry of the connection that is open."""
        self._reads.append(entry)

    def open(self, url: str) -> int:
        """Begin the next connection of the script."""
        if not self.connections:
            raise LinkError("slack", "unreachable", "the script is over")
        self._reads = deque(self.connections.popleft())
        self.opened += 1
        return self.opened

    def read(self, wait: float) -> list[bytes]:
        """The next entry; nothing more comes when there is none."""
        entry = self._reads.popleft() if self._reads else []
        self.heard = bool(entry)
        if entry == PART:
            entry = []
        if not entry:
            time.sleep(0.01)
        if isinstance(entry, Exception):
            raise entry
        return list(entry)

    @property
    def received_ms(self) -> int:
        """Each read is of just now."""
        return time.time_ns() // 1_000_000

    def ping(self, frame: bytes, *, connection: int) -> None:
        """Take a ping and never answer."""

    def wake(self) -> None:
        """Nobody sleeps for long."""

    close = say_goodbye = give_answers = wake


class Reading:
    """A reader that runs."""

    def __init__(self, settings: Config, spool: Any, source: EventSource) -> None:
        self.told = Told()
        self.metrics = Metrics()
        self.ups: list[str] = []
        self.downs: list[RetryDetails] = []
        self.error: BaseException | None = None
        self.spool = spool
        self.stop_flag = threading.Event()
        self.reader = Reader(
            settings,
            source,
            spool,
            self.metrics,
            Lifecycle(LinkLog(self.ups, self.downs), self.stop_flag),
            self.told,
        )
        self.thread = threading.Thread(target=self._run, name="reader under test")

    def _run(self) -> None:
        try:
            self.reader.run()
        except BaseException as error:
            self.error = error

    def rows(self) -> list[Row]:
        """All that the spool holds."""
        return list(self.spool.read(0, 100_000, 1 << 30))

    def events(self, subtype: str = "") -> list[dict[str, Any]]:
        """The events in the spool, decoded; with `subtype`, only the pump's own of that kind."""
        events = [json.loads(row.body) for row in self.rows()]
        if not subtype:
            return events
        return [e for e in events if e.get("type") == "rtmpump" and e["subtype"] == subtype]

    def kinds(self) -> list[str]:
        """Type, or for the pump's own events the subtype, of each event."""
        own = "rtmpump"
        return [e["subtype"] if e.get("type") == own else str(e.get("type")) for e in self.events()]

    def stop(self) -> None:
        """Asks it to stop and waits for the end of the thread."""
        self.reader.stop()
        self.join()

    def join(self) -> None:
        """Waits for the end of the thread."""
        self.thread.join(SECONDS)
        assert not self.thread.is_alive()


@contextmanager
def reading(
    settings: Config, spool: Any, workspace: Workspace | None = None, script: Any = None
) -> Iterator[Reading]:
    """Starts a reader; it has ended afterwards, and without an error that the test did not take."""
    if script is not None:
        script.slack = settings.slack
    running = Reading(settings, spool, script or rtm_source(settings.slack))
    running.thread.start()
    try:
        yield running
    finally:
        running.stop()
    if running.error is not None:
        raise running.error
