"""Facts about the page as the server makes it; what page.js draws is in test_page_browser.py."""

from __future__ import annotations

import hashlib
import re
from base64 import b64encode
from html.parser import HTMLParser

import pytest
from msgspec.structs import replace

from rtmpump.http import page
from rtmpump.http.status import BLANK, LinkState, Status
from rtmpump.sandbox.ports import free_port
from rtmpump.sandbox.slack.workspace import Workspace
from tests.conftest import StartPump
from tests.support.broker import Broker
from tests.support.http import AT, ask
from tests.support.waiting import wait_until

pytestmark = pytest.mark.quick

EVIL = "<script>alert('1')</script>\"&"


class Elements(HTMLParser):
    """All elements of a page, with their attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep one element; the parser calls this."""
        self.found.append((tag, dict(attrs)))

    def count(self, tag: str) -> int:
        """How many there are of one name."""
        return sum(name == tag for name, _ in self.found)


@pytest.fixture
def status() -> Status:
    """Give the status of a daemon that is well."""
    up = LinkState(up=True, since=AT)
    return replace(BLANK, version="0.1.0", now=AT, links=dict.fromkeys(BLANK.wanted, up))


def failed(error: str) -> dict[str, LinkState]:
    """Give a link that failed for this reason, which is its name too."""
    return {error: LinkState(up=False, since=AT, last_error=error, last_error_at=AT)}


def test_nothing_from_outside_is_markup(status: Status) -> None:
    """Names, versions and errors are text, whatever is in them."""
    plain = Elements(page.render(status).decode())
    evil = replace(status, version=EVIL, stalled=[EVIL], links=status.links | failed(EVIL))
    text = page.render(evil).decode()
    assert EVIL not in text
    assert "<script>alert" not in text
    found = Elements(text)
    assert found.count("script") == plain.count("script") == 1
    named = [attributes for _, attributes in found.found if EVIL in attributes.values()]
    assert named == [{"data-version": EVIL}]


def test_one_file(status: Status) -> None:
    """Nothing is loaded from anywhere, and no element has a style or a handler of its own."""
    text = page.render(status).decode()
    assert "url(" not in text
    assert "@import" not in text
    for tag, attributes in Elements(text).found:
        assert tag not in ("link", "img", "iframe", "object", "embed", "base")
        assert not attributes.keys() & {"src", "style", "srcset"}
        assert not [key for key in attributes if key.startswith("on")]


def test_hashes_of_the_policy(status: Status) -> None:
    """The policy names the very script and style that the page has."""
    text = page.render(status).decode()
    for tag in ("script", "style"):
        found = re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        assert len(found) == 1
        digest = b64encode(hashlib.sha256(found[0].encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in page.POLICY


def test_a_lone_surrogate(status: Status) -> None:
    """Half a character in a text, which JSON can carry, doesn't take the page with it."""
    assert b"</html>" in page.render(replace(status, links=failed("\ud83d")))


def test_a_long_error_is_cut(status: Status) -> None:
    """An error without an end is shown as far as a person reads."""
    endless = LinkState(up=False, last_error="x" * 100_000)
    assert len(page.render(replace(status, links={"slack": endless}))) < 50_000


@pytest.mark.real
def test_no_text_and_no_token(start_pump: StartPump, workspace: Workspace, broker: Broker) -> None:
    """The daemon's pages count messages, and never show their texts or a token."""
    port = free_port()
    start_pump(http={"listen": f"127.0.0.1:{port}"})
    workspace.emit({"type": "message", "channel": "C1", "text": "first secret", "ts": "1.1"})
    assert broker.ask({"channel": "general", "text": "second secret"})["ok"]
    assert not broker.ask({"channel": "general", "text": "third secret", "colour": "red"})["ok"]
    wait_until(lambda: b"invalid_command" in ask(port, "/status")[1])
    for path in ("/", "/status", "/metrics"):
        found, body = ask(port, path)
        assert found == 200
        assert b"message" in body or path == "/"
        assert b"secret" not in body
        assert workspace.token.encode() not in body
