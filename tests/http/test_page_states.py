"""Facts about the page in each state that a pump can be in, in a real browser."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

import pytest

from tests.support.chromium import MISSING, Chromium, Tab
from tests.support.http import Service
from tests.support.page import CONTRASTS, TOO_WIDE
from tests.support.page_states import STATES

pytestmark = pytest.mark.skipif(bool(MISSING), reason=MISSING or "it is there")

SCREENS: Final = {"desk": {"width": 1000}, "phone_dark": {"width": 390, "dark": True}}
LEAST: Final = {"text": 4.5, "drawing": 3.0}
SAYS: Final = {
    "healthy": ("ok", ["All is well", "Example Works", "T024BE7LD", "RTM", "1 of 1 WebSocket"]),
    "reading_stopped": (
        "bad",
        [
            "Nothing is read from Slack: the spool is full",
            "What happens in Slack waits there unread, and is missed when Slack ends",
            "What to do: Have RabbitMQ take the events again",
            "Runbook: RtmpumpSpoolRefusing",
            "100 % full",
        ],
    ),
    "broker_away": (
        "bad",
        [
            "Not connected: RabbitMQ (events), RabbitMQ (commands)",
            "Events are kept on disk (12 % of the spool, room for 6 h at the present rate), "
            "and none is lost before the spool is full",
            "What to do: Start RabbitMQ, or correct broker.url; the next try is in 4 s.",
            "Runbook: RtmpumpBrokerDown",
            "Down for 42 min",
            "Next try in 4 s",
            "12 % full",
        ],
    ),
    "dead_letters": (
        "ok",
        [
            "Note: 3 dead letters are in rtm.outbound.dead.",
            "3 in rtm.outbound.dead now",
            "To look at them: rtmpump dead list",
        ],
    ),
    "gap": (
        "ok",
        [
            "Note: Events may be missing from 12:11:02 UTC to 12:11:14 UTC (goodbye).",
            "Gap: 12:11:02 to 12:11:14 UTC (12 s), goodbye; not filled: events.backfill is off",
            "Gap: 12:02:10 to 12:03:40 UTC (1 min), silent; filled",
        ],
    ),
    "standby": ("ok", ["Standby: ready to take over from the active pump", "Resting for 4 h"]),
    "socket_mode": (
        "ok",
        [
            "Socket Mode",
            "Note: 1 of 2 WebSockets is open.",
            "Note: 1 gap to fill: 12 conversations and 340 messages so far.",
        ],
    ),
}


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """Give where a daemon's page is; what it shows is given to it."""
    service = Service()
    yield service.url
    service.port.stop()


@pytest.fixture(scope="module", params=[*SCREENS.values()], ids=[*SCREENS])
def tab(browser: Chromium, url: str, request: pytest.FixtureRequest) -> Iterator[Tab]:
    """Give a page that is drawn only on request."""
    tab = browser.tab(**request.param)
    tab.open(url)
    tab.wait(lambda: tab.text("#verdict").startswith("All is well"))
    tab.value("byId('pause').click()")
    yield tab
    tab.close()


def drawn(tab: Tab, document: dict[str, Any], **wanted: str) -> dict[str, Any]:
    """Give the values of some expressions while the page shows this document."""
    fields = ", ".join(f"{name}: {expression}" for name, expression in wanted.items())
    found: dict[str, Any] = tab.value(f"show({json.dumps(document)}); ({{{fields}}})")
    return found


@pytest.mark.parametrize("state", STATES)
def test_each_state_is_said_and_can_be_read(tab: Tab, state: str) -> None:
    """Tone and words are there, with contrast, and nothing is wider than the screen."""
    tone, facts = SAYS[state]
    found = drawn(
        tab,
        STATES[state](),
        tone="byId('banner').dataset.tone",
        text="document.body.innerText.replace(/\\s+/g, ' ')",
        contrasts=CONTRASTS,
        wide=TOO_WIDE,
        width="document.documentElement.scrollWidth - innerWidth",
        entries="[...document.querySelectorAll('header a')].map(one => one.getAttribute('href'))",
    )
    assert found["tone"] == tone
    assert [fact for fact in facts if fact not in found["text"]] == []
    assert [one for one in found["contrasts"] if one[2] < LEAST[one[0]]] == []
    assert (found["wide"], found["width"] <= 0) == ([], True)
    assert all(one.startswith("runbook#rtmpump") for one in found["entries"])
    assert tab.problems() == []


def test_gaps_are_marks_in_the_chart(tab: Tab) -> None:
    """Each from its beginning to its end; a flag says when and why, and so does the chart."""
    flags = "[...byId('flags').children].map(one => [one.title, one.style.left])"
    found = drawn(
        tab,
        STATES["gap"](),
        marks="[...document.querySelectorAll('rect.gap')].map("
        "one => [Number(one.getAttribute('x')), Number(one.getAttribute('width'))])",
        lines="[...document.querySelectorAll('path.gap')].map(one => one.getAttribute('d'))",
        flags=flags,
        words="byId('chart').getAttribute('aria-label')",
    )
    # The chart ends with its newest bucket, at 12:14:50.
    assert found["marks"] == [[140, 90], [672, 12]]
    assert found["lines"] == ["M230 0V200", "M684 0V200"]
    said = "Gap: 12:11:02 to 12:11:14 UTC (12 s), goodbye"
    assert found["flags"][1] == [f"{said}; not filled: events.backfill is off", "76%"]
    assert f"{said}." in found["words"]


def test_gaps_outside_of_the_chart(tab: Tab) -> None:
    """An older one leaves it, one that is newer than its last bucket stands at its end."""
    document = STATES["gap"]()
    old, new = document["slack"]["gaps"]["recent"]
    old |= {"from": "2026-11-24T11:00:00.000Z", "to": "2026-11-24T11:59:00.000Z"}
    new |= {"from": "2026-11-24T12:14:58.000Z", "to": "2026-11-24T12:14:59.000Z"}
    lines, left = (
        "document.querySelectorAll('path.gap').length",
        "byId('flags').firstChild.style.left",
    )
    assert drawn(tab, document, lines=lines, left=left) == {"lines": 1, "left": "100%"}


def test_the_runbook_opens_at_the_entry(browser: Chromium, url: str) -> None:
    """The daemon serves it: nothing else is asked for, in a dark scheme and on a phone too."""
    tab = browser.tab(width=390, dark=True)
    tab.open(f"{url}runbook#rtmpumpbrokerdown")
    assert tab.text("section:has(:target) h2") == "RtmpumpBrokerDown"
    assert "Bring the broker back" in tab.text("section:has(:target)")
    found = tab.value(f"({{wide: {TOO_WIDE}, at: scrollY, contrasts: {CONTRASTS}}})")
    assert found["wide"] == []
    assert found["at"] > 500
    assert [one for one in found["contrasts"] if one[2] < LEAST[one[0]]] == []
    assert tab.requests() == [f"{url}runbook"]
    assert tab.problems() == []
    tab.close()
