"""Facts about the table of rooms in docs/architecture.md."""

from __future__ import annotations

import re
from collections import Counter

from tests.support.markdown import page
from tests.support.paths import ROOT

PROGRAM = ROOT / "rtmpump"
TEXT = page("docs/architecture.md").text
ROOMS = TEXT[TEXT.index("## The rooms") : TEXT.index("## Find your way")]
ROWS = re.findall(r"^\| `([\w./]+)` \| (.+) \|$", ROOMS, re.MULTILINE)
HEADINGS = re.findall(r"^### `([\w./]+)`", ROOMS, re.MULTILINE)


def test_each_module_stands_there_once_and_no_other() -> None:
    """A new module needs its line, one that is gone must leave."""
    rows = Counter(name for name, _ in ROWS if not name.endswith("/"))
    modules = {str(path.relative_to(PROGRAM)) for path in PROGRAM.rglob("*.py")}
    named = {name for name in modules if not name.endswith("/__init__.py")}
    assert rows == Counter(named)


def test_each_package_stands_there() -> None:
    """As a heading, or as a row under the heading of its parent."""
    rows = {name for name, _ in ROWS if name.endswith("/")}
    inits = PROGRAM.rglob("*/__init__.py")
    packages = {f"{path.parent.relative_to(PROGRAM)}/" for path in inits}
    assert packages == (rows | set(HEADINGS)) - {"rtmpump/"}


def test_each_line_is_short() -> None:
    """A caption, not a description."""
    assert [caption for _, caption in ROWS if len(caption) > 110] == []
