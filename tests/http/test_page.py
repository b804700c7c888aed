"""Facts about the page as the server makes it; how browsers take it is in test_page_browser.py."""

from __future__ import annotations

import hashlib
import json
import re
from base64 import b64encode
from html.parser import HTMLParser
from typing import Any

import pytest

from rtmpump.http import chart, page, wording
from rtmpump.sandbox.ports import free_port
from rtmpump.sandbox.slack.workspace import Workspace
from tests.conftest import StartPump
from tests.support.http import AT, Service, ask
from tests.support.pump import Broker, wait_until

EVIL = "<script>alert('1')</script>\"&"


class Elements(HTMLParser):
    """All elements of a page, with their attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Called by the parser for each."""
        self.found.append((tag, dict(attrs)))

    def count(self, tag: str) -> int:
        """How many there are of one name."""
        return sum(name == tag for name, _ in self.found)


@pytest.fixture
def status() -> dict[str, Any]:
    """What `/status` tells of a daemon that is well."""
    service = Service()
    try:
        told: dict[str, Any] = json.loads(service.ask("/status").body)
    finally:
        service.port.stop()
    return told


def history(**received: list[int]) -> dict[str, Any]:
    """A history whose buckets have ten seconds each."""
    length = len(next(iter(received.values()), []))
    at = [f"2026-11-24T12:{place // 6:02}:{place % 6}0Z" for place in range(length)]
    return {"at": at, "seconds": [10.0] * length, "received": received}


def test_nothing_from_outside_is_markup(status: dict[str, Any]) -> None:
    """Types, error details, codes, reasons and names are text, whatever is in them."""
    plain = Elements(page.render(status).decode())
    link = {"up": False, "since": AT, "last_error": EVIL, "last_error_at": AT}
    status["links"][EVIL] = link
    status["stalled"] = [EVIL]
    status["version"] = EVIL
    status["changes"] = [{"at": AT, "link": EVIL, "up": True, "why": EVIL}]
    status["metrics"]["commands"] = {EVIL: {EVIL: 1}}
    status["metrics"]["dead_letters"] = {EVIL: 1}
    status["history"] = history(**{EVIL: [1]})
    text = page.render(status).decode()
    assert EVIL not in text
    assert "<script>alert" not in text
    told = Elements(text)
    assert told.count("script") == plain.count("script") == 1
    named = [attributes for _, attributes in told.found if EVIL in attributes.values()]
    assert {key for attributes in named for key in attributes if key != "data-tone"} <= {
        "data-version"
    }


def test_one_file(status: dict[str, Any]) -> None:
    """Nothing is loaded from anywhere, and no element has a style or a handler of its own."""
    text = page.render(status).decode()
    assert "url(" not in text
    assert "@import" not in text
    told = Elements(text)
    for tag, attributes in told.found:
        assert tag not in ("link", "img", "iframe", "object", "embed", "base")
        assert not attributes.keys() & {"src", "style", "srcset"}
        assert not [key for key in attributes if key.startswith("on")]


def test_hashes_of_the_policy(status: dict[str, Any]) -> None:
    """The policy names the very script and style that the page has."""
    text = page.render(status).decode()
    for tag in ("script", "style"):
        found = re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        assert len(found) == 1
        digest = b64encode(hashlib.sha256(found[0].encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in page.POLICY


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({}, "All is well: Slack and RabbitMQ are connected"),
        ({"links": {}}, "Not connected: Slack, RabbitMQ (events), RabbitMQ (commands)"),
        ({"stalled": ["reader"]}, "No progress: reader"),
        (
            {"role": "standby", "wanted": ["broker_events", "broker_lock"]},
            "Not connected: RabbitMQ (lock)",
        ),
        (
            {"role": "standby", "wanted": ["broker_events"]},
            "Standing by: ready to take over from the active one",
        ),
    ],
)
def test_verdict(status: dict[str, Any], change: dict[str, Any], sentence: str) -> None:
    """One sentence at the top, and in the title, says how it is as a whole."""
    text = page.render(status | change).decode()
    assert f'<p id="verdict" role="status">{sentence}</p>' in text
    assert f"<title>rtmpump: {sentence}</title>" in text


def test_a_blocked_broker(status: dict[str, Any]) -> None:
    """A broker that takes nothing is told, though it is connected."""
    status["metrics"]["broker_blocked"] = True
    text = page.render(status).decode()
    assert 'data-tone="warn"' in text
    assert "RabbitMQ takes no events now" in text


def test_what_is_not_known(status: dict[str, Any]) -> None:
    """A spool that can't be asked, and links that nobody tried yet, are said to be so."""
    status["metrics"] |= {"spool": None, "commands_waiting": None}
    text = page.render(status | {"links": {}}).decode()
    assert "it can&#x27;t be asked now" in text
    assert text.count("Not tried yet") == 3 + text.split("<script>")[1].count("Not tried yet")


def test_a_lone_surrogate(status: dict[str, Any]) -> None:
    """Half a character in a text, which JSON can carry, doesn't take the page with it."""
    status["changes"] = [{"at": AT, "link": "slack", "up": True, "why": "\ud83d"}]
    assert b"</html>" in page.render(status)


def test_a_long_error_is_cut(status: dict[str, Any]) -> None:
    """An error without an end is told as far as somebody reads."""
    status["links"]["slack"]["last_error"] = "x" * 100_000
    assert len(page.render(status)) < 50_000


def test_no_events() -> None:
    """Without a bucket, and with none in them, the chart is empty and says so."""
    empty = chart.chart(history())
    assert (empty.top, empty.now, empty.bands, empty.minutes) == (0.5, 0.0, [], [])
    assert empty.said.endswith("nothing is counted yet.")
    quiet = chart.chart({"at": [AT], "seconds": [10.0], "received": {}})
    assert (quiet.now, quiet.most, len(quiet.minutes)) == (0.0, 0.0, 1)


def test_bands() -> None:
    """One band stands on the other; each bucket is as wide as its time, the newest at the right."""
    drawn = chart.chart(history(message=[10, 20], other=[10, 0]))
    assert drawn.top == 2
    first, second = drawn.bands
    assert first.path == "M880 200V100H890V0H900V200H890V200H880Z"
    assert second.path == "M880 200V0H890V0H900V0H890V100H880Z"
    assert (first.colour, second.colour) == (0, 8)
    assert (first.now, first.most, first.events) == (2.0, 2.0, 30)
    assert "2.0 now, 2.0 at most. message: 2.0 now. other: 0 now." in drawn.said


def test_bands_stay_inside() -> None:
    """Buckets that took longer than they should don't leave the chart at the left."""
    told = history(message=[1] * 90) | {"seconds": [10.9] * 90}
    outline = chart.chart(told).bands[0].path
    at = [float(x) for x in re.findall(r"[MH]([-\d.]+)", outline)]
    assert (min(at), max(at)) == (0, 900)


def test_minutes() -> None:
    """The table behind the chart has six buckets to a row, the newest first."""
    minutes = chart.chart(history(message=[6] * 12 + [60])).minutes
    assert [minute.all for minute in minutes] == [pytest.approx(1.5), 0.6, pytest.approx(0.6)]
    assert [minute.until[14:19] for minute in minutes] == ["02:00", "01:00", "00:00"]


@pytest.mark.parametrize(
    ("most", "top"),
    [(0, 0.5), (0.5, 0.5), (0.51, 1), (1.1, 2), (2.1, 5), (7, 10), (10_001, 20_000)],
)
def test_top(most: float, top: float) -> None:
    """The scale ends at a round number that is no less than what is drawn."""
    drawn = chart.chart({"at": [AT], "seconds": [1.0], "received": {"message": [most]}})
    assert drawn.top == top


@pytest.mark.parametrize(
    ("told", "said"),
    [
        (wording.fixed(1234.5, 0), "1,235"),
        (wording.fixed(0.25, 1), "0.3"),
        (wording.trimmed(2.50), "2.5"),
        (wording.trimmed(0.0), "0"),
        (wording.rate(0.0001), "under 0.01"),
        (wording.rate(0.25), "0.25"),
        (wording.rate(12.34), "12.3"),
        (wording.rate(1234.4), "1,234"),
        (wording.size(1023), "1,023 B"),
        (wording.size(16_384), "16.0 KiB"),
        (wording.size(5 * 2**40), "5,120.0 GiB"),
        (wording.duration(-3), "0 s"),
        (wording.duration(59.9), "59 s"),
        (wording.duration(3599), "59 min"),
        (wording.duration(7260), "2 h 1 min"),
        (wording.duration(90_000), "1 d 1 h"),
        (wording.latency(None), wording.UNKNOWN),
        (wording.latency(0.0042), "4.2 ms"),
        (wording.latency(0.42), "420 ms"),
        (wording.latency(1.25), "1.3 s"),
        (wording.latency(120), "2 min"),
        (wording.quantile({"p99": None, "count": 1}, "p99"), "over 1 h"),
        (wording.moment("2026-11-24T13:55:01.123Z"), "2026-11-24 13:55:01 UTC"),
        (wording.counted(1, "event", "events"), "1 event"),
    ],
)
def test_words(told: str, said: str) -> None:
    """Numbers and times in the words of people."""
    assert told == said


def test_no_text_and_no_token(start_pump: StartPump, workspace: Workspace, broker: Broker) -> None:
    """The daemon's pages tell of messages that came and went, but not what stood in them."""
    port = free_port()
    start_pump(http={"listen": f"127.0.0.1:{port}"})
    workspace.emit({"type": "message", "channel": "C1", "text": "first secret", "ts": "1.1"})
    assert broker.ask({"channel": "general", "text": "second secret"})["ok"]
    assert not broker.ask({"channel": "general", "text": "third secret", "colour": "red"})["ok"]
    wait_until(lambda: b"invalid_command" in ask(port, "/")[1])
    for path in ("/", "/status", "/metrics"):
        found, body = ask(port, path)
        assert found == 200
        assert b"message" in body
        assert b"secret" not in body
        assert workspace.token.encode() not in body
