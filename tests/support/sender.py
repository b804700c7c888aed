"""A sender with all it needs: a real WebSocket to a workspace, a directory, threads of its own."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rtmpump import config
from rtmpump.core.frames import Hello, Reply, parse
from rtmpump.core.outbound.api_calls import CallAnswer
from rtmpump.core.session import MessageIds
from rtmpump.errors import LinkError
from rtmpump.links.lifecycle import Lifecycle, RetryDetails
from rtmpump.links.slack.rtm import RtmSource
from rtmpump.links.slack.web_api import SlackApi
from rtmpump.metrics import Metrics
from rtmpump.pumps.directory import Directory
from rtmpump.pumps.outbound.sender import Close, LinkDown, LinkUp, Sender
from rtmpump.pumps.web_api_workers import WebApiWorkers, crew
from rtmpump.sandbox.slack.workspace import Workspace
from tests.support.links import LinkLog
from tests.support.waiting import SECONDS, wait_until


class SenderRig:
    """A running sender; `close` ends all and raises what a thread died of."""

    def __init__(self, workspace: Workspace, broker_url: str, **outbound: Any) -> None:
        self.config = _config(workspace, broker_url, {"rate": 1_000.0, "burst": 100} | outbound)
        self._api = SlackApi(self.config.slack)
        ids = MessageIds()
        self.socket = RtmSource(self.config.slack, self._api, ids)
        self.stop = threading.Event()
        self._ups: list[str] = []
        self._downs: list[RetryDetails] = []
        self._errors: list[BaseException] = []
        self._directory = Directory(
            self._api, policy=self.config.retry, lifecycle=Lifecycle(stop=self.stop)
        )
        self.metrics = Metrics()
        self.calls = WebApiWorkers(self._api, crew(posts=True, methods=3), stop=self.stop)
        self.sender = Sender(
            self.config,
            self.metrics,
            self,
            self._directory,
            ids,
            Lifecycle(LinkLog(self._ups, self._downs), self.stop),
        )
        workers = [worker.run for worker in self.calls.workers]
        bodies = (self.sender.run, self._read, self._directory.run, *workers)
        self.threads = [threading.Thread(target=self._kept, args=(body,)) for body in bodies]
        for thread in self.threads:
            thread.start()
        wait_until(lambda: self.ups, what="for the broker")
        assert workspace.wait_live(SECONDS)

    @property
    def ups(self) -> int:
        """How often the broker was connected."""
        return len(self._ups)

    @property
    def ended(self) -> list[str]:
        """Why its connections ended."""
        return [retry.reason for retry in self._downs]

    @property
    def has_ended(self) -> bool:
        """Whether the sender's thread is over."""
        return not self.threads[0].is_alive()

    def send(self, frame: bytes, connection: int) -> None:
        """Write to the WebSocket."""
        self.socket.send(frame, connection=connection)

    def submit(
        self, method: str, arguments: Mapping[str, str], answered: Callable[[CallAnswer], None]
    ) -> float:
        """Call a method of the Web API."""
        self.calls.submit(method, arguments, answered)
        return 0.0

    def close(self) -> None:
        """End all threads."""
        self.stop.set()
        self.sender.notify(Close())
        self._directory.stop()
        self.calls.wake()
        self.socket.wake()
        for thread in self.threads:
            thread.join(SECONDS)
            assert not thread.is_alive()
        for error in self._errors:
            raise error

    def _kept(self, body: Any) -> None:
        try:
            body()
        except BaseException as error:
            self._errors.append(error)

    def _read(self) -> None:
        """Read as the reader does, with neither pings nor a spool."""
        while not self.stop.is_set():
            try:
                number = self.socket.open(self.socket.sign_in().url.reveal())
                while not self.stop.is_set():
                    for body in self.socket.read(0.1):
                        self._pass_on(parse(body), number)
            except LinkError:
                self.sender.notify(LinkDown())
                time.sleep(0.05)
        self.socket.close()

    def _pass_on(self, frame: object, number: int) -> None:
        if isinstance(frame, Hello):
            self.sender.notify(LinkUp(number))
        elif isinstance(frame, Reply):
            self.sender.notify(frame)


def _config(workspace: Workspace, broker_url: str, outbound: dict[str, Any]) -> config.Config:
    env = {
        "SLACK_API_TOKEN": workspace.token,
        "RTMPUMP_SLACK_API_URL": workspace.api_url,
        "RTMPUMP_BROKER_URL": broker_url,
        "RTMPUMP_RETRY_INITIAL": "0.05",
        "RTMPUMP_RETRY_MAX": "1",
    }
    env |= {f"RTMPUMP_OUTBOUND_{key.upper()}": str(value) for key, value in outbound.items()}
    no_file: Path | None = None
    return config.load(no_file, env)
