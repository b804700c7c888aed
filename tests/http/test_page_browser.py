"""Facts about what page.js draws in a real browser: small and dark, read aloud, and without it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest

from rtmpump.http.status import LinkChange
from rtmpump.metrics import LINKS
from tests.support.chromium import MISSING, Chromium, Tab
from tests.support.http import AT, Service
from tests.support.page import CONTRASTS, TOO_WIDE, history, shown, status_of

pytestmark = pytest.mark.skipif(bool(MISSING), reason=MISSING or "it is there")

EVIL = "<script>document.title='evil'</script><b>\"&amp;"
LONG = "x" * 200 + " and words " * 40


@pytest.fixture
def service() -> Iterator[Service]:
    """Give a port whose daemon has done something."""
    service = Service()
    service.metrics.received("message", 1234)
    service.metrics.slack_rtt(0.042)
    service.metrics.command("message", "ok")
    service.metrics.command("message", "channel_not_found")
    service.metrics.dead_letter("channel_not_found")
    service.last_error = "refused: 192.0.2.1:5672"
    service.changes = [LinkChange(at=AT, link="slack", up=True, why="team T1")]
    yield service
    service.port.stop()


def crowded(service: Service) -> dict[str, Any]:
    """Give the status of a daemon that makes the page as large and strange as can be."""
    status = status_of(service)
    failed = {"since": AT, "last_error": f"protocol: {EVIL} {LONG}", "last_error_at": AT}
    status["links"] = {link: {"up": False, **failed} for link in (*LINKS, EVIL)}
    status["changes"] = [
        {"at": AT, "link": LINKS[place % 3], "up": place % 2 == 0, "why": LONG + EVIL}
        for place in range(50)
    ]
    metrics = status["metrics"]
    metrics["commands"] = {"message": {"ok": 10**9, LONG[:90]: 1, EVIL: 2}, "typing": {"ok": 3}}
    metrics["dead_letters"] = {LONG[:90]: 10**7, EVIL: 2}
    sizes = dict.fromkeys(("events", "bytes", "max_bytes", "oldest_seconds"), 10**13)
    metrics["spool"] = sizes | {"percent": 99.9}
    gap = {"from": AT, "to": AT, "reason": EVIL, "filled": False, "note": LONG}
    names = {"id": EVIL, "name": LONG[:99], "bot": EVIL}
    status["slack"] |= {
        "gaps": {"number": 10**6, "last": gap, "recent": [gap] * 9},
        "workspace": names,
    }
    metrics["dead_letters_waiting"] = 10**9
    said = {"means": LONG, "fix": EVIL, "runbook": LONG[:99]}
    problem = said | {"level": "bad", "reason": "x", "what": LONG + EVIL}
    status["verdict"] |= said | {"tone": "bad", "what": EVIL, "more": [problem] * 3}
    metrics["events"] |= {"returned": 3, "nacked": 10**6, "dropped": {"spool_full": 2, "a": 10**9}}
    types = ("message", "a" * 100, EVIL, "d", "e", "f", "g", "h", "other")
    status["history"] = history(90, 10.1, *types)
    return status


def test_without_javascript(browser: Chromium, service: Service) -> None:
    """The verdict and the links are there, nothing else is asked for, and it says to reload."""
    service.up["slack"] = False
    tab = browser.tab(script=False)
    tab.open(service.url)
    text = tab.text()
    for fact in (
        "Not connected: Slack",
        "Runbook: RtmpumpSlackDown",
        "Slack: down since 2026-11-24 13:00:00 UTC; last error: refused: 192.0.2.1:5672",
        "RabbitMQ (events): up",
        "reload",
    ):
        assert fact in text, fact
    assert "Pause" not in text
    assert tab.requests() == [service.url]
    assert tab.problems() == []
    tab.close()


def test_all_facts_are_on_the_page(browser: Chromium, service: Service) -> None:
    """Verdict, links, events, latencies, commands, dead letters and changes."""
    tab = browser.tab()
    tab.open(service.url)
    tab.wait(lambda: tab.text("#verdict") == "All is well: Slack and RabbitMQ are connected")
    text = tab.text()
    for fact in (
        "Up for",
        "since 2026-11-24 13:00:00 UTC",
        "refused: 192.0.2.1:5672",
        "1,234 received",
        "42 ms",
        "channel_not_found",
        "team T1",
        "updated every 2 s",
    ):
        assert fact in text, fact
    assert "reload" not in text
    tab.close()


def test_live(browser: Chromium, service: Service) -> None:
    """What changes in the daemon changes on the page; only the daemon is asked, without a fault."""
    tab = browser.tab()
    tab.open(service.url)
    service.metrics.received("message", 1)
    tab.wait(lambda: "1,235 received" in tab.text("#totals"))
    service.up["slack"] = False
    tab.value("live()")
    tab.wait(lambda: tab.text("#verdict").startswith("Not connected: Slack ("))
    assert tab.value("document.title").startswith("rtmpump: Not connected: Slack (")
    assert "Down for" in tab.text("#links")
    assert set(tab.requests()) == {service.url, f"{service.url}status"}
    assert tab.problems() == []
    tab.close()


def test_pause(browser: Chromium, service: Service) -> None:
    """A reader can hold the page, and let it go on."""
    tab = browser.tab()
    tab.open(service.url)
    # The button is hidden until the first answer is on the page.
    tab.wait(lambda: "1,234 received" in tab.text("#totals"))
    tab.value("document.getElementById('pause').click()")
    buttons = [more for role, name, more in spoken(tab) if (role, name) == ("button", "Pause")]
    assert [more["pressed"] for more in buttons] == ["true"]
    before = len(tab.requests())
    tab.value("live()")
    assert len(tab.requests()) == before
    tab.value("document.getElementById('pause').click()")
    tab.wait(lambda: len(tab.requests()) > before)
    tab.close()


def test_a_daemon_that_goes_and_comes(browser: Chromium, service: Service) -> None:
    """A page whose daemon is gone says so, keeps its content, and finds the daemon again."""
    tab = browser.tab()
    tab.open(service.url)
    tab.wait(lambda: "1,234 received" in tab.text("#totals"))
    address = service.port.address
    service.port.stop()
    tab.value("live()")
    tab.wait(lambda: "does not answer" in tab.text("#verdict"))
    assert "1,234 received" in tab.text("#totals")
    back = Service(*address)
    try:
        tab.wait(lambda: "All is well" in tab.text("#verdict"))
    finally:
        back.port.stop()
    tab.close()


def test_the_policy_holds(browser: Chromium, service: Service) -> None:
    """Even a foreign script in the page could ask no other address and make no markup."""
    other = Service()
    tab = browser.tab()
    try:
        tab.open(service.url)
        sent = f"fetch({json.dumps(other.url)}, {{mode: 'no-cors'}}).then(() => 'sent', () => 'no')"
        assert tab.value(sent) == "no"
        made = "(() => { try { document.body.innerHTML = 'x' } catch { return 'no' } })()"
        assert tab.value(made) == "no"
    finally:
        other.port.stop()
    tab.close()


def test_verdict(browser: Chromium, service: Service) -> None:
    """What is wrong, what it means and what to do stand at the top, in the title the first."""
    calm = status_of(service)
    said = {"what": "Half", "means": "A part.", "fix": "Type `x`"}
    more = said | {"level": "warn", "reason": "x", "runbook": ""}
    bad = {"tone": "bad", "what": "All", "means": "No more.", "fix": "Mend it", "more": [more]}
    tab = browser.tab()
    tab.open(service.url)
    # All in one expression: between two of them the page may get an answer of its own.
    texts = "byId('banner').innerText, byId('more').innerText"
    made = f"[byId('banner').dataset.tone, {texts}, document.title]"
    well = "All is well: Slack and RabbitMQ are connected"
    assert shown(tab, calm, made) == ["ok", well, "", f"rtmpump: {well}"]
    tone, said, also, title = shown(tab, calm | {"verdict": calm["verdict"] | bad}, made)
    assert (tone, said.split("\n")) == ("bad", ["All", "", "No more.", "", "What to do: Mend it."])
    assert (also, title) == ("Watch out: Half. A part. Type x.", "rtmpump: All")
    tab.close()


def test_nothing_from_outside_is_markup(browser: Chromium, service: Service) -> None:
    """Types, error details, codes, reasons and names are text, whatever is in them."""
    tab = browser.tab()
    tab.open(service.url)
    status = crowded(service)
    plain = "[...document.querySelectorAll('script, #content b')].filter(b => !b.dataset.tone)"
    text, elements = shown(tab, status, f"[document.body.innerText, {plain}.length]")
    # Verdict, a link and its error, a type and its column, a command's type, a dead letter.
    assert text.count(EVIL) >= 7
    assert elements == 2  # The script, and the rate.
    assert tab.value("document.title").startswith("rtmpump: ")
    assert tab.problems() == []
    tab.close()


def test_what_is_not_known(browser: Chromium, service: Service) -> None:
    """The page says so of a spool that can't be measured, and of links that were never tried."""
    status = status_of(service) | {"links": {}}
    status["metrics"] |= {"spool": None, "commands_waiting": None}
    tab = browser.tab()
    tab.open(service.url)
    text = shown(tab, status, "document.body.innerText")
    assert "the spool cannot be measured now" in text
    assert "waiting now" not in text
    assert text.count("Not tried yet") == 4
    tab.close()


def test_odd_texts(browser: Chromium, service: Service) -> None:
    """Half a character does no harm, and an error without an end is cut."""
    status = status_of(service)
    status["changes"] = [{"at": AT, "link": "slack", "up": True, "why": "\ud83d"}]
    status["links"]["slack"]["last_error"] = "x" * 100_000
    tab = browser.tab()
    tab.open(service.url)
    assert shown(tab, status, "byId('changes').rows.length") == 1
    assert tab.value("byId('links').innerText.length") < 1000
    tab.close()


def test_chart(browser: Chromium, service: Service) -> None:
    """Bands on each other, as wide as their time, up to a round number; all of it in words too."""
    tab = browser.tab()
    tab.open(service.url)

    def chart(history: dict[str, Any]) -> dict[str, Any]:
        made = f"(chart => ({{...chart, words: describe(chart)}}))(chartOf({json.dumps(history)}))"
        drawn: dict[str, Any] = tab.value(made)
        return drawn

    # Without a bucket, and with none in them, it is empty and says so.
    empty = chart(buckets())
    assert (empty["top"], empty["now"], empty["bands"], empty["minutes"]) == (0.5, 0, [], [])
    assert empty["words"].endswith("nothing is counted yet.")
    quiet = chart({"at": [AT], "seconds": [10.0], "received": {}})
    assert (quiet["now"], quiet["most"], len(quiet["minutes"])) == (0, 0, 1)
    # One band stands on the other, the newest bucket at the right.
    drawn = chart(buckets(message=[10, 20], other=[10, 0]))
    first, second = drawn["bands"]
    assert drawn["top"] == 2
    assert first["path"] == "M880 200V100H890V0H900V200H890V200H880Z"
    assert second["path"] == "M880 200V0H890V0H900V0H890V100H880Z"
    assert (first["colour"], second["colour"]) == (0, 8)
    assert (first["now"], first["most"], first["events"]) == (2, 2, 30)
    assert "2.0 now, 2.0 at most. message: 2.0 now. other: 0 now." in drawn["words"]
    # Buckets that took longer than they should do not leave the chart at the left.
    late = chart(buckets(message=[1] * 90) | {"seconds": [10.9] * 90})["bands"][0]["path"]
    at = [float(x) for x in re.findall(r"[MH]([-\d.]+)", late)]
    assert (min(at), max(at)) == (0, 900)
    # The table behind the chart has six buckets to a row, the newest first.
    minutes = chart(buckets(message=[6] * 12 + [60]))["minutes"]
    assert [minute["all"] for minute in minutes] == [pytest.approx(1.5), 0.6, pytest.approx(0.6)]
    assert [minute["until"][14:19] for minute in minutes] == ["02:00", "01:00", "00:00"]
    for most, top in [(0, 0.5), (0.5, 0.5), (0.51, 1), (1.1, 2), (2.1, 5), (7, 10), (10_001, 2e4)]:
        assert tab.value(f"roundTop({most})") == top
    tab.close()


def buckets(**received: list[int]) -> dict[str, Any]:
    """Give a history whose buckets have ten seconds each."""
    length = len(next(iter(received.values()), []))
    at = [f"2026-11-24T12:{place // 6:02}:{place % 6}0Z" for place in range(length)]
    return {"at": at, "seconds": [10.0] * length, "received": received}


def test_words(browser: Chromium, service: Service) -> None:
    """Numbers and times in the words of people."""
    words = {
        "fixed(1234.5, 0)": "1,235",
        "fixed(0.25, 1)": "0.3",
        "trimmed(2.50)": "2.5",
        "trimmed(0)": "0",
        "rate(0.0001)": "under 0.01",
        "rate(0.25)": "0.25",
        "rate(12.34)": "12.3",
        "rate(1234.4)": "1,234",
        "size(1023)": "1,023 B",
        "size(16384)": "16.0 KiB",
        "size(5 * 2 ** 40)": "5,120.0 GiB",
        "duration(-3)": "0 s",
        "duration(59.9)": "59 s",
        "duration(3599)": "59 min",
        "duration(7260)": "2 h 1 min",
        "duration(7200)": "2 h",
        "duration(90000)": "1 d 1 h",
        "latency(null)": "\N{EN DASH}",
        "latency(0.0042)": "4.2 ms",
        "latency(0.42)": "420 ms",
        "latency(1.25)": "1.3 s",
        "latency(120)": "2 min",
        "quantile({p99: null, count: 1}, 'p99')": "over 1 h",
        "moment('2026-11-24T13:55:01.123Z')": "2026-11-24 13:55:01 UTC",
        "counted(1, 'event', 'events')": "1 event",
    }
    tab = browser.tab()
    tab.open(service.url)
    assert tab.value(f"[{', '.join(words)}]") == list(words.values())
    tab.close()


@pytest.mark.parametrize("width", [320, 360, 1000])
def test_it_fits(browser: Chromium, service: Service, width: int) -> None:
    """Nothing makes the page wider than the screen, whatever is on it and is opened."""
    tab = browser.tab(width=width)
    tab.open(service.url)
    show = f"show({json.dumps(crowded(service))}); document.querySelector('details').open = true;"
    assert tab.value(f"{show} document.documentElement.scrollWidth") <= width
    assert tab.value(f"{show} {TOO_WIDE}") == []
    tab.close()


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_contrast(browser: Chromium, service: Service, dark: bool) -> None:
    """Each text has 4.5:1 to its ground and each band 3:1 (WCAG 2.2, 1.4.3 and 1.4.11)."""
    tab = browser.tab(dark=dark)
    tab.open(service.url)
    blocked = status_of(service)
    blocked["metrics"]["broker_blocked"] = True
    kinds = []
    for status in (status_of(service), blocked, crowded(service)):
        found = tab.value(f"show({json.dumps(status)}); {CONTRASTS}")
        kinds += [kind for kind, _, _ in found]
        least = {"text": 4.5, "drawing": 3.0}
        assert [one for one in found if one[2] < least[one[0]]] == []
    # Nine bands, and nine gaps.
    assert kinds.count("drawing") == 18
    assert kinds.count("text") > 200
    tab.close()


def test_dark(browser: Chromium, service: Service) -> None:
    """A dark scheme gets a dark page."""
    grounds = []
    for dark in (False, True):
        tab = browser.tab(dark=dark)
        tab.open(service.url)
        grounds.append(tab.value("getComputedStyle(document.body).backgroundColor"))
        tab.close()
    light, dim = (sum(map(int, ground[4:-1].split(","))) for ground in grounds)
    assert light > 600 > 150 > dim


def test_read_aloud(browser: Chromium, service: Service) -> None:
    """Landmarks, headings in order, a chart in words, tables with headers, one polite region."""
    tab = browser.tab()
    tab.open(service.url)
    tab.wait(lambda: "All is well" in tab.text("#verdict"))
    nodes = spoken(tab)
    roles = [role for role, _, _ in nodes]
    for landmark in ("banner", "main", "contentinfo", "navigation"):
        assert roles.count(landmark) == 1, landmark
    headings = [(more["level"], name) for role, name, more in nodes if role == "heading"]
    assert headings[0] == (1, "rtmpump")
    assert all(after[0] <= before[0] + 1 for before, after in pairwise(headings))
    regions = {name for role, name, _ in nodes if role == "region"}
    named = {"Links", "Events", "Backlog and latency", "Slack and gaps", "Commands", "Changes"}
    assert named <= regions
    charts = [name for role, name, _ in nodes if role in ("img", "image")]
    assert len(charts) == 1
    assert charts[0].startswith("Events per second over the last 15 minutes")
    assert roles.count("table") == 4
    assert roles.count("rowheader") == len(
        tab.value("[...document.querySelectorAll('tbody th')].filter(one => one.checkVisibility())")
    )
    assert {"columnheader", "rowheader"} <= set(roles)
    live = [more["live"] for _, _, more in nodes if more.get("live", "off") != "off"]
    assert set(live) == {"polite"}
    assert tab.value("document.documentElement.lang") == "en"
    tab.close()


def spoken(tab: Tab) -> list[tuple[str, str, dict[str, Any]]]:
    """Give what a screen reader gets: role, name and properties of each node."""
    nodes = tab.ask("Accessibility.getFullAXTree")["nodes"]
    return [
        (
            node["role"]["value"],
            node.get("name", {}).get("value", ""),
            {one["name"]: one["value"].get("value") for one in node.get("properties", [])},
        )
        for node in nodes
        if not node["ignored"]
    ]
