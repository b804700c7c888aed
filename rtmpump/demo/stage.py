"""The names in RabbitMQ, and the pump as a process of its own.

Laws:

- All that is started here ends in every case: the node and the pump belong to keepers
  (`sandbox/rabbitmq/keeper.py`), which end with the demo and remove their folders.
- On the user's own broker the demo touches only what it has made: all names there are new, and they
  are deleted at the end.
- The pump gets its settings only from its file, not from the environment of the demo.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import sys
import tempfile
import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from rtmpump import config
from rtmpump.config import Config
from rtmpump.demo.chatter import UNKNOWN_TYPE
from rtmpump.errors import RtmpumpError, TokenRefused
from rtmpump.links.rabbitmq import topology
from rtmpump.sandbox.rabbitmq.keeping import Keeper
from rtmpump.sandbox.slack.workspace import Workspace

_NAME: Final = "pump"
_STOP_SECONDS: Final = 25.0
_POLL: Final = 0.05
_ASK_SECONDS: Final = 0.3
_SETTINGS: Final = ("RTMPUMP_", "SLACK_API_TOKEN", "STATE_DIRECTORY", "CREDENTIALS_DIRECTORY")
_TOKENS: Final = ("SLACK_API_TOKEN", "SLACK_APP_TOKEN")
_SERVICE: Final = ("NOTIFY_SOCKET", "WATCHDOG_", "LISTEN_")
_PROXIES: Final = ("http_proxy", "https_proxy", "all_proxy")


class PumpEnded(RtmpumpError):
    """The pump ended by itself; `words` are the last lines of its log."""

    def __init__(self, words: list[str]) -> None:
        super().__init__(words)
        self.words = words

    def __str__(self) -> str:
        return "the pump has ended by itself; its log says why"


class Names:
    """The names of the demo's exchanges and queues; with `own` they are new ones."""

    def __init__(self, *, own: bool) -> None:
        self.stem = f"rtm.demo-{secrets.token_hex(3)}" if own else "rtm"
        mark = self.stem if own else "demo"
        self.seen = f"{mark}.seen"
        self.results = f"{mark}.results"

    def settings(self) -> dict[str, dict[str, str]]:
        """Return the sections of the configuration that hold them."""
        stem = self.stem
        return {
            "events": {
                "exchange": f"{stem}.events",
                "type_exchange": f"{stem}.{{type}}",
                "unrouted": f"{stem}.unrouted",
            },
            "outbound": {"queue": f"{stem}.outbound", "dead_queue": f"{stem}.outbound.dead"},
        }

    def command_items(self, settings: Config) -> list[topology.Item]:
        """Return what the sender declares: the outbound queue as the pump does, and its own."""
        results = topology.Queue(self.results, {"x-queue-type": "quorum"})
        return [*topology.outbound(settings.outbound), results]

    def all_items(self, settings: Config) -> list[topology.Item]:
        """Return all that may have been declared."""
        events = settings.events
        of_events = [*topology.events(events), *topology.for_type(events, UNKNOWN_TYPE)]
        return [*of_events, topology.Queue(self.seen, {}), *self.command_items(settings)]


class PumpProcess:
    """The real pump, `rtmpump run`, in a folder of its own, which is removed at the end.

    `workspace` None means the real Slack, with the token of SLACK_API_TOKEN.
    """

    def __init__(
        self,
        workspace: Workspace | None,
        broker_url: str,
        names: Names,
        http: str,
        mode: str = "rtm",
        backfill: bool = False,
    ) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="rtmpump-demo-")).resolve()
        self._keeper = Keeper(str(self.folder))
        self._file = self.folder / "config.toml"
        self._live = workspace is None
        self._stopped = True
        self.pid = 0
        self.log = self.folder / "pump.log"
        sections: dict[str, dict[str, object]] = {
            "slack": {"mode": mode, **(_slack(workspace) if workspace else {})},
            "broker": {"url": broker_url},
            "spool": {"path": str(self.folder / "spool.db"), "max_bytes": "256MiB"},
            "retry": {} if self._live else {"initial": 0.1, "max": 2, "healthy_after": 1},
            "http": {"listen": http},
            "log": {"format": "json"},
        }
        self._file.touch(mode=0o600)
        named = names.settings()
        events = {**named["events"], "backfill": backfill}
        self._file.write_text(_toml({**sections, **named, "events": events}))
        try:
            self.config = config.load(self._file, {}, need_token=False)
        except BaseException:
            self.close()
            raise

    def start(self) -> None:
        """Start it.

        Raises:
            ServiceUnreachable: the process could not be started.
        """
        command = [sys.executable, "-m", "rtmpump", "run", "-c", str(self._file)]
        self.pid = self._keeper.run(_NAME, command, self._environment(), str(self.log))
        self._stopped = False

    def kill(self) -> None:
        """Kill it as a crash would, and wait until it has ended."""
        self._stopped = True
        self._keeper.signal(_NAME, signal.SIGKILL)
        self._wait_gone(_STOP_SECONDS)

    def stop(self) -> bool:
        """Stop it in good order; return False if it had to be killed."""
        self._stopped = True
        self._keeper.signal(_NAME, signal.SIGTERM)
        if self._wait_gone(_STOP_SECONDS):
            return True
        self.kill()
        return False

    def check(self) -> None:
        """Check that it runs.

        Raises:
            TokenRefused: it ended because Slack refused the token.
            PumpEnded: it ended by itself for another reason.
        """
        # Asked again at the end: a strike may have stopped it in between.
        if self._stopped or self._keeper.alive(_NAME) or self._stopped:
            return
        for line in map(_parsed, self.last_lines(100)):
            if line.get("event") == "token.refused":
                raise TokenRefused(str(line.get("code")), str(line.get("fix")))
        raise PumpEnded(self.last_lines(20))

    def spooled(self) -> int | None:
        """Return how many events wait in the spool; None while the pump does not answer."""
        try:
            with socket.socket(socket.AF_UNIX) as asking:
                asking.settimeout(_ASK_SECONDS)
                asking.connect(str(self.folder / "spool.db.sock"))
                asking.sendall(b"info\n")
                events = _parsed(asking.makefile().readline()).get("events")
        except OSError:
            return None
        return events if isinstance(events, int) else None

    def last_lines(self, count: int) -> list[str]:
        """Return the last lines of its log."""
        if not self.log.exists():
            return []
        with self.log.open(errors="replace") as lines:
            return [line.rstrip("\n") for line in deque(lines, maxlen=count)]

    def close(self) -> None:
        """Kill what still runs and remove the folder."""
        self._stopped = True
        self._keeper.end()

    def _environment(self) -> dict[str, str]:
        return environment(os.environ, live=self._live)

    def _wait_gone(self, seconds: float) -> bool:
        until = time.monotonic() + seconds
        while self._keeper.alive(_NAME):
            if time.monotonic() > until:
                return False
            time.sleep(_POLL)
        return True


def environment(ours: Mapping[str, str], *, live: bool) -> dict[str, str]:
    """Return our environment without settings; with tokens and a proxy only if `live`."""
    names = _TOKENS if live else ()
    tokens = {name: token for name in names if (token := ours.get(name, ""))}
    theirs = {name: value for name, value in ours.items() if not _is_setting(name, live)}
    package = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join(part for part in (package, ours.get("PYTHONPATH", "")) if part)
    return theirs | {"PYTHONPATH": path} | tokens


def _slack(workspace: Workspace) -> dict[str, object]:
    tokens = {"token": workspace.token, "app_token": workspace.app_token}
    return {"api_url": workspace.api_url, **tokens}


def _is_setting(name: str, live: bool) -> bool:
    if name.lower() in _PROXIES:
        return not live
    return name.startswith((*_SETTINGS, *_SERVICE))


def _toml(sections: Mapping[str, Mapping[str, object]]) -> str:
    """Return TOML with sections of strings and numbers; a string of JSON is one of TOML too."""
    lines: list[str] = []
    for section, keys in sections.items():
        lines.append(f"[{section}]")
        lines += [f"{key} = {json.dumps(value)}" for key, value in keys.items()]
    return "\n".join(lines) + "\n"


def _parsed(line: str) -> dict[str, object]:
    try:
        fields = json.loads(line)
    except ValueError:
        return {}
    return fields if isinstance(fields, dict) else {}
