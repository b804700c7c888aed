"""Facts about the page in a real browser: with and without scripts, small, dark, and read aloud."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest

from rtmpump.http import page
from rtmpump.http.status import LinkChange
from rtmpump.metrics import LINKS
from tests.support.chromium import MISSING, Chromium, Tab
from tests.support.http import AT, Service

pytestmark = pytest.mark.skipif(bool(MISSING), reason=MISSING or "it is there")

EVIL = "<script>document.title='evil'</script><b>\"&amp;"
LONG = "x" * 200 + " and words " * 40
PARTS = (
    *("verdict", "about", "as_of", "links", "rate", "totals", "ticks", "chart", "types"),
    *("minutes_head", "minutes", "tiles", "commands", "dead_letters", "changes"),
)
COLLECT = f"""(root => JSON.stringify([
  root.title, root.body.dataset.tone, root.getElementById('chart').getAttribute('aria-label'),
  ...{json.dumps(PARTS)}.map(id => root.getElementById(id).innerHTML)
]))"""
CONTRASTS = """(() => {
  const parse = text => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map(part => part / 255)
    .map(part => part <= .04045 ? part / 12.92 : ((part + .055) / 1.055) ** 2.4)
    .reduce((sum, part, i) => sum + part * [.2126, .7152, .0722][i], 0);
  const ratio = (one, other) => {
    const [low, high] = [light(one), light(other)].sort((a, b) => a - b);
    return (high + .05) / (low + .05);
  };
  const ground = element => {
    for (let at = element; at; at = at.parentElement) {
      const colour = parse(getComputedStyle(at).backgroundColor);
      if (colour.length === 3 || colour[3] > 0) return colour;
    }
  };
  const words = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), found = [];
  while (words.nextNode()) {
    const element = words.currentNode.parentElement;
    if (!words.currentNode.data.trim() || !element.checkVisibility()) continue;
    if (element.closest('script, noscript, svg')) continue;
    const colour = parse(getComputedStyle(element).color);
    found.push(['text', words.currentNode.data.trim(), ratio(colour, ground(element))]);
  }
  const panel = ground(document.querySelector('svg').parentElement);
  for (const band of document.querySelectorAll('svg path:not(.grid)')) {
    const colour = parse(getComputedStyle(band).fill);
    found.push(['drawing', band.textContent, ratio(colour, panel)]);
  }
  return found;
})()"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Chromium]:
    """One browser for all tests of this file."""
    with Chromium() as browser:
        yield browser


@pytest.fixture
def service() -> Iterator[Service]:
    """A port whose daemon has something to tell."""
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


def status_of(service: Service) -> dict[str, Any]:
    """What it tells at `/status`."""
    told: dict[str, Any] = json.loads(service.ask("/status").body)
    return told


def history(rows: int, seconds: float, *types: str) -> dict[str, Any]:
    """A history in which something came of each type."""
    dice = random.Random(len(types))
    return {
        "at": [f"2026-11-24T12:{place // 6:02}:{place % 6}0Z" for place in range(rows)],
        "seconds": [seconds] * rows,
        "received": {type: [dice.randrange(60) for _ in range(rows)] for type in types},
    }


def crowded(service: Service) -> dict[str, Any]:
    """The status of a daemon to which everything happened that makes a page large or strange."""
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
    metrics["spool"] = {"events": 10**9, "bytes": 10**13, "oldest_seconds": 10.0**6}
    metrics["events"] |= {"returned": 3, "nacked": 10**6, "dropped": {"spool_full": 2, "a": 10**9}}
    types = ("message", "a" * 100, EVIL, "d", "e", "f", "g", "h", "other")
    status["history"] = history(90, 10.1, *types)
    return status


def random_status(service: Service, dice: random.Random) -> dict[str, Any]:
    """A status with numbers of any size."""

    def number() -> float:
        return dice.choice((0.0, dice.random(), 0.5, 10 ** dice.uniform(-4, 6)))

    def latency() -> dict[str, Any]:
        count = int(number())
        return {"count": count, "p50": dice.choice((None, number())), "p99": number()}

    status = status_of(service)
    status["uptime_seconds"] = number()
    status["recent"] = {
        "seconds": number(),
        "confirm_latency": latency(),
        "command_latency": latency(),
    }
    status["metrics"] |= {
        "spool": {"events": int(number()), "bytes": int(number()), "oldest_seconds": number()},
        "slack_rtt_seconds": number(),
        "commands_waiting": dice.choice((None, int(number()))),
        "broker_blocked": dice.random() < 0.5,
    }
    rows = dice.randrange(1, 91)
    types = dice.sample(("message", "user_typing", "hello", "ä b", "other"), dice.randrange(1, 5))
    status["history"] = {
        "at": [f"2026-11-24T12:{place // 6:02}:{place % 6}0Z" for place in range(rows)],
        "seconds": [dice.choice((10.0, 10.2, 13.37)) for _ in range(rows)],
        "received": {type: [int(number()) for _ in range(rows)] for type in types},
    }
    return status


def test_without_javascript(browser: Chromium, service: Service) -> None:
    """All facts are on the page, nothing else is asked for, and it says that it stands still."""
    tab = browser.tab(script=False)
    tab.open(service.url)
    text = tab.text()
    for fact in (
        "All is well: Slack and RabbitMQ are connected",
        "Up for",
        "since 2026-11-24 13:00:00 UTC",
        "refused: 192.0.2.1:5672",
        "1,234 received",
        "42 ms",
        "channel_not_found",
        "team T1",
        "reload it",
    ):
        assert fact in text, fact
    assert "Pause" not in text
    assert tab.requests() == [service.url]
    assert tab.problems() == []
    tab.close()


def test_live(browser: Chromium, service: Service) -> None:
    """What changes in the daemon changes on the page; only the daemon is asked, without a fault."""
    tab = browser.tab()
    tab.open(service.url)
    service.metrics.received("message", 1)
    tab.wait(lambda: "1,235 received" in tab.text("#totals"))
    service.up["slack"] = False
    tab.wait(lambda: tab.text("#verdict") == "Not connected: Slack")
    assert tab.value("document.title") == "rtmpump: Not connected: Slack"
    assert "Down for" in tab.text("#links")
    assert set(tab.requests()) == {service.url, f"{service.url}status"}
    assert "reload it" not in tab.text()
    assert tab.problems() == []
    tab.close()


def test_pause(browser: Chromium, service: Service) -> None:
    """Who reads can hold the page, and let it go on."""
    tab = browser.tab()
    tab.open(service.url)
    tab.wait(lambda: f"{service.url}status" in tab.requests())
    tab.value("document.getElementById('pause').click()")
    buttons = [told for role, name, told in spoken(tab) if (role, name) == ("button", "Pause")]
    assert [told["pressed"] for told in buttons] == ["true"]
    before = len(tab.requests())
    tab.value("live()")
    assert len(tab.requests()) == before
    tab.value("document.getElementById('pause').click()")
    tab.wait(lambda: len(tab.requests()) > before)
    tab.close()


def test_a_daemon_that_goes_and_comes(browser: Chromium, service: Service) -> None:
    """A page whose daemon is gone says so, keeps what it knew, and finds it when it is back."""
    tab = browser.tab()
    tab.open(service.url)
    address = service.port.address
    service.port.stop()
    tab.wait(lambda: "does not answer" in tab.text("#verdict"))
    assert "1,234 received" in tab.text("#totals")
    back = Service(*address)
    try:
        tab.wait(lambda: "All is well" in tab.text("#verdict"))
    finally:
        back.port.stop()
    tab.close()


def test_the_policy_holds(browser: Chromium, service: Service) -> None:
    """Even a script that got in could ask nobody else, and could make no markup."""
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


def test_script_and_server_make_the_same(browser: Chromium, service: Service) -> None:
    """From one status page.js makes what page.py makes, to the letter."""
    dice = random.Random(7)
    down = status_of(service) | {"stalled": ["reader"], "links": {}, "changes": []}
    standby = status_of(service) | {"role": "standby", "wanted": ["broker_events", "broker_lock"]}
    standby["links"]["slack"]["up"] = False
    statuses = [status_of(service), down, standby, crowded(service)]
    statuses += [random_status(service, dice) for _ in range(40)]
    live, still = browser.tab(), browser.tab()
    live.open(service.url)
    for status in statuses:
        made = live.value(f"show({json.dumps(status)}); {COLLECT}(document)")
        text = json.dumps(page.render(status).decode())
        parsed = f"new DOMParser().parseFromString({text}, 'text/html')"
        assert json.loads(made) == json.loads(still.value(f"{COLLECT}({parsed})"))
    assert live.value("document.title") != "evil"
    assert live.problems() == []
    live.close()
    still.close()


@pytest.mark.parametrize("width", [320, 360, 1000])
def test_it_fits(browser: Chromium, service: Service, width: int) -> None:
    """Nothing makes the page wider than the screen, whatever is on it and is opened."""
    tab = browser.tab(width=width)
    tab.open(service.url)
    show = f"show({json.dumps(crowded(service))}); document.querySelector('details').open = true;"
    assert tab.value(f"{show} document.documentElement.scrollWidth") <= width
    inner = "[...document.querySelectorAll('.panel, li, dl div')]"
    wide = f"{inner}.filter(one => one.scrollWidth > one.clientWidth).map(one => one.innerText)"
    assert tab.value(f"{show} {wide}") == []
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
    assert kinds.count("drawing") == 9
    assert kinds.count("text") > 200
    tab.close()


def test_dark(browser: Chromium, service: Service) -> None:
    """Who has a dark screen gets a dark page."""
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
    tab = browser.tab(script=False)
    tab.open(service.url)
    nodes = spoken(tab)
    roles = [role for role, _, _ in nodes]
    for landmark in ("banner", "main", "contentinfo", "navigation"):
        assert roles.count(landmark) == 1, landmark
    headings = [(told["level"], name) for role, name, told in nodes if role == "heading"]
    assert headings[0] == (1, "rtmpump")
    assert all(after[0] <= before[0] + 1 for before, after in pairwise(headings))
    regions = {name for role, name, _ in nodes if role == "region"}
    assert {"Links", "Events", "Backlog and latency", "Commands", "Changes"} <= regions
    charts = [name for role, name, _ in nodes if role in ("img", "image")]
    assert len(charts) == 1
    assert charts[0].startswith("Events a second over the last 15 minutes")
    assert roles.count("table") == 4
    assert roles.count("rowheader") == len(
        tab.value("[...document.querySelectorAll('tbody th')].filter(one => one.checkVisibility())")
    )
    assert {"columnheader", "rowheader"} <= set(roles)
    live = [told["live"] for _, _, told in nodes if told.get("live", "off") != "off"]
    assert set(live) == {"polite"}
    assert tab.value("document.documentElement.lang") == "en"
    tab.close()


def spoken(tab: Tab) -> list[tuple[str, str, dict[str, Any]]]:
    """What a screen reader is told: role, name and properties of each node."""
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
