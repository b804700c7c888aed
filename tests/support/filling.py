"""A pump that fills gaps, with a simulated workspace and a real spool."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rtmpump import config
from rtmpump.links.lifecycle import Lifecycle
from rtmpump.links.slack.history import History
from rtmpump.links.slack.web_api import SlackApi
from rtmpump.metrics import Metrics
from rtmpump.pumps.backfill.gap_file import GapFile
from rtmpump.pumps.backfill.pump import Backfill
from rtmpump.sandbox.slack.workspace import Workspace
from rtmpump.spool import Spool
from tests.support.spool import Reports, opened, rows
from tests.support.waiting import SECONDS, wait_until

GENERAL = "C0GENERAL"
HISTORY = "conversations.history"
REPLIES = "conversations.replies"
LIST = "users.conversations"
QUICK = config.Retry(initial=0.002, max=0.01)


class Filling:
    """A running pump; `spool` holds what it fetched."""

    def __init__(self, workspace: Workspace, folder: Path, **keys: Any) -> None:
        retry = keys.pop("retry", QUICK)
        spool_keys = {key: keys.pop(key) for key in ("max_bytes",) if key in keys}
        self.path = folder / "spool.db"
        self.spool: Spool = opened(self.path, **spool_keys)
        self.told = Reports()
        self.gaps = GapFile(self.path, self.told)
        self.metrics = Metrics()
        self.stop = threading.Event()
        settings = config.Config(
            slack=config.Slack(token=config.Secret(workspace.token), api_url=workspace.api_url),
            retry=retry,
            events=config.Events(backfill=True, **keys),
        )
        history = History(
            SlackApi(settings.slack), policy=settings.retry, lifecycle=Lifecycle(stop=self.stop)
        )
        self.pump = Backfill(
            settings,
            self.spool,
            self.gaps,
            self.metrics,
            history,
            lambda: None,
        )
        self.error: BaseException | None = None
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def rest(self) -> None:
        """Ends the run."""
        self.stop.set()
        self.pump.wake()
        self.thread.join(SECONDS)
        assert not self.thread.is_alive()

    def begin(self, *, stopped: bool = False) -> None:
        """Begins another, or one that was ended already."""
        self.stop = threading.Event()
        if stopped:
            self.stop.set()
        self.pump.begin(Lifecycle(stop=self.stop))
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def bodies(self) -> list[dict[str, Any]]:
        """All that is in the spool."""
        return [json.loads(row.body) for row in rows(self.spool)]

    def texts(self) -> list[str]:
        """What was said, in its order."""
        return [body["text"] for body in self.bodies() if body["type"] == "message"]

    def closed(self, count: int = 1) -> list[dict[str, Any]]:
        """The events that close gaps, once there are so many."""

        def events() -> list[dict[str, Any]]:
            return [body for body in self.bodies() if body.get("subtype") == "backfilled"]

        wait_until(lambda: self.error or len(events()) >= count)
        assert self.error is None
        wait_until(lambda: len(self.gaps) == 0 or len(events()) > count)
        return events()

    def close(self) -> None:
        """Ends it."""
        self.rest()
        self.spool.close()
        assert self.error is None

    def _run(self) -> None:
        try:
            self.pump.run()
        except BaseException as error:
            self.error = error


Fill = Callable[..., Filling]


def around(*ts: str) -> tuple[int, int]:
    """The times of a gap in which these messages lie, in milliseconds."""
    times = [int(float(one) * 1000) for one in ts]
    return min(times), max(times) + 1


def missed(filling: Filling, span: tuple[int, int]) -> None:
    """Slack said hello, and this is the gap before."""
    filling.pump.missed(*span, "T1", "U1")


def age(workspace: Workspace, seconds: int) -> None:
    """All that was said so far was said so much earlier."""
    for message in workspace.archive.said[GENERAL]:
        for key in ("ts", "thread_ts", "latest_reply"):
            if key in message:
                whole, _, micros = message[key].partition(".")
                message[key] = f"{int(whole) - seconds}.{micros}"


def calls(workspace: Workspace, method: str = HISTORY) -> list[dict[str, str]]:
    """The arguments of the calls of a method."""
    return [call.args for call in list(workspace.calls) if call.method == method]
