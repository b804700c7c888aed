"""Facts about the runbook that the daemon serves."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from rtmpump.http import page, runbook, wording
from tests.support.http import Service
from tests.support.paths import ROOT

pytestmark = pytest.mark.quick

TEXT = (ROOT / "deploy/RUNBOOK.md").read_text()
ANCHORS = set(re.findall(r'<h2 id="(\w+)">', runbook.body()))


def test_each_entry_has_its_anchor() -> None:
    """The same as in the file, so that both kinds of link work."""
    assert {name.lower() for name in re.findall(r"^## (\w+)$", TEXT, re.MULTILINE)} == ANCHORS


def test_what_the_verdict_names_is_there() -> None:
    """So no link of the page leads nowhere, nor one from entry to entry."""
    assert {runbook.anchor(name) for name in wording.ENTRIES.values()} <= ANCHORS
    assert set(re.findall(r'href="#(\w+)"', runbook.body())) <= ANCHORS


def test_markdown_is_rendered() -> None:
    """Nothing of its marks is left, and nothing but https leads out."""
    prose = re.sub(r"<(code|pre)>.*?</\1>", "", runbook.body(), flags=re.DOTALL)
    assert not re.search(r"\*\*|`|\]\(|^#", prose, re.MULTILINE)
    assert "<p><b>Do.</b> " in prose
    assert "<pre><code>rtmpump status " in runbook.body()
    outside = set(re.findall(r'href="([^#"][^"]*)"', runbook.body()))
    assert all(link.startswith("https://") for link in outside)


@pytest.mark.real
def test_it_is_served_and_may_load_nothing() -> None:
    """Only its own style is allowed."""
    service = Service()
    try:
        answer = service.ask("/runbook")
    finally:
        service.port.stop()
    assert (answer.status, answer.body) == (200, page.runbook())
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; ")
    assert "script-src" not in policy


@pytest.mark.slow
@pytest.mark.real
def test_an_installed_daemon_has_it(tmp_path: Path) -> None:
    """The wheel holds the very text of deploy/RUNBOOK.md, where it was only a link."""
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True, timeout=100)
    (wheel,) = tmp_path.glob("*.whl")
    assert zipfile.ZipFile(wheel).read("rtmpump/http/runbook.md").decode() == TEXT
