"""What the tests of the WebSocket share."""

from __future__ import annotations

import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rtmpump.config import Slack
from rtmpump.core.session import MessageIds
from rtmpump.errors import LinkError
from rtmpump.links.slack.rtm import RtmSource
from rtmpump.links.slack.web_api import SlackApi
from rtmpump.sandbox.slack.workspace import Workspace
from tests.support.sandbox_clients import web_client

SECONDS = 100.0
MIB = 1 << 20


def rtm_source(slack: Slack) -> RtmSource:
    """RTM with these settings, not open."""
    return RtmSource(slack, SlackApi(slack), MessageIds())


def url_of(workspace: Workspace, tls: ssl.SSLContext | None = None) -> str:
    """A fresh URL."""
    return str(web_client(workspace, tls).api_call("rtm.connect")["url"])


def collect(rtm: RtmSource, count: int) -> list[bytes]:
    """Reads until `count` messages have come; what is there after a deadline."""
    got: list[bytes] = []
    deadline = time.monotonic() + SECONDS
    while len(got) < count and time.monotonic() < deadline:
        got += rtm.read(0.5)
    return got


def live(rtm: RtmSource, workspace: Workspace, tls: ssl.SSLContext | None = None) -> int:
    """Connects and reads hello; returns the number of the connection."""
    before = workspace.connections
    number = rtm.open(url_of(workspace, tls))
    (hello,) = collect(rtm, 1)
    assert json.loads(hello)["type"] == "hello"
    assert workspace.wait(lambda: workspace.connections > before and workspace.live)
    return number


def the_end(rtm: RtmSource) -> tuple[list[bytes], LinkError]:
    """Reads to the end: what came before it, and the error."""
    got: list[bytes] = []
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        try:
            got += rtm.read(0.5)
        except LinkError as error:
            return got, error
    raise AssertionError("the connection did not end")


@contextmanager
def running(*jobs: Callable[[], object]) -> Iterator[None]:
    """Runs each job in a thread; waits for all, and none may fail."""
    failures: list[BaseException] = []

    def run(job: Callable[[], object]) -> None:
        try:
            job()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(job,)) for job in jobs]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        for thread in threads:
            thread.join(SECONDS)
    assert not failures
    assert not any(thread.is_alive() for thread in threads)


def say(number: int, who: str = "a", text: str = "x") -> bytes:
    """A frame that the workspace records and answers shortly."""
    return json.dumps({"id": number, "type": "typing", "who": who, "text": text}).encode()


def send_many(
    rtm: RtmSource, connection: int, count: int, size: int = 1, written: list[int] | None = None
) -> None:
    """Writes numbered frames with texts of `size`; notes those that were written."""
    for number in range(count):
        rtm.send(say(number, text="x" * size), connection=connection)
        if written is not None:
            written.append(number)


def ping_many(workspace: Workspace, payloads: list[bytes]) -> None:
    """Sends a WebSocket ping for each payload."""
    for payload in payloads:
        workspace.ping(payload)
