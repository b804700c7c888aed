"""Facts about the WebSocket over TLS."""

from __future__ import annotations

import ssl
import time

import pytest

from rtmpump.config import Slack
from rtmpump.errors import WriteFailed
from rtmpump.links.slack import socket_io
from rtmpump.sandbox.slack.workspace import Workspace
from tests.support.rtm import (
    SECONDS,
    collect,
    live,
    ping_many,
    rtm_source,
    running,
    send_many,
    the_end,
)
from tests.support.tls import Pair, make_pair


@pytest.fixture(scope="session")
def right(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """A certificate for 127.0.0.1."""
    return make_pair(tmp_path_factory.mktemp("right"), "127.0.0.1")


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_tls_reads_and_writes_at_the_same_time(right: Pair, version: ssl.TLSVersion) -> None:
    """A flood in, a flood out: nothing is lost, and no record breaks."""
    client = ssl.create_default_context(cafile=right.ca_file)
    client.maximum_version = version
    right.server.maximum_version = version
    rtm = rtm_source(Slack(ca_file=right.ca_file))
    flood = [b'{"type":"x","n":%d,"text":"%s"}' % (n, b"y" * 1000) for n in range(5000)]
    with Workspace(tls=right.server) as workspace:
        number = live(rtm, workspace, client)
        with running(
            lambda: workspace.emit_many(flood),
            lambda: send_many(rtm, number, 1000, 3000),
            lambda: ping_many(workspace, [b"%d" % n for n in range(50)]),
        ):
            assert collect(rtm, 5000) == flood
            deadline = time.monotonic() + SECONDS
            while len(workspace.pongs) < 50 and time.monotonic() < deadline:
                rtm.read(0.05)
        assert workspace.wait(lambda: len(workspace.frames) == 1000, SECONDS)
        assert [frame["id"] for frame in workspace.frames] == list(range(1000))
        assert len(workspace.pongs) == 50
        workspace.close(1001)
        assert the_end(rtm)[1].reason == "closed"
        rtm.close()


def test_tls_ends_have_their_reasons(right: Pair) -> None:
    """A reset may look like an end: CPython 3.11 loses the errno of a TLS read."""
    client = ssl.create_default_context(cafile=right.ca_file)
    rtm = rtm_source(Slack(ca_file=right.ca_file))
    with Workspace(tls=right.server) as workspace:
        for end, reasons in ((workspace.cut, ["eof"]), (workspace.reset, ["reset", "eof"])):
            live(rtm, workspace, client)
            end()
            assert the_end(rtm)[1].reason in reasons
        rtm.close()


def test_a_peer_over_tls_that_takes_nothing_breaks_the_write(
    right: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it is without TLS."""
    monkeypatch.setattr(socket_io, "_STALL_SECONDS", 0.3)
    client = ssl.create_default_context(cafile=right.ca_file)
    rtm = rtm_source(Slack(ca_file=right.ca_file))
    with Workspace(tls=right.server) as workspace:
        number = live(rtm, workspace, client)
        workspace.silence()
        with pytest.raises(WriteFailed):
            send_many(rtm, number, 100_000, 16_000)
        assert the_end(rtm)[1].detail == "writing failed: the peer takes nothing"
        rtm.close()
