"""Facts about docs/clients.md: it speaks of the libraries that the judges pin."""

from __future__ import annotations

import re

from tests.clients.libraries import LIBRARIES, NODE, PYTHON, SERVERS, SLACKCLIENT, pinned
from tests.clients.page import snippet
from tests.support.markdown import page

TEXT = page("docs/clients.md").text
ROWS = re.findall(r"^\| `([^`]+)` \| ([\d.]+) \| ([\w ]+) \|", TEXT, re.MULTILINE)


def test_each_library_stands_there_with_its_pinned_version() -> None:
    """One line for each library and server; a new pin needs `make clients`."""
    assert [(one.name, one.version, server) for one in LIBRARIES for server in SERVERS] == ROWS


def test_all_pins_are_exact() -> None:
    """So that a run says something about a version."""
    for file in (PYTHON, SLACKCLIENT, NODE):
        assert pinned(file)
        assert all(re.fullmatch(r"[\d.]+", version) for version in pinned(file).values())
    lines = [line for file in (PYTHON, SLACKCLIENT) for line in file.read_text().splitlines()]
    assert [line for line in lines if "==" not in line and not line.startswith("#")] == []


def test_the_settings_are_those_of_the_programs() -> None:
    """What a reader copies is what was run."""
    shown = [block.text.rstrip("\n") for block in page("docs/clients.md").blocks("python", "js")]
    assert shown == [snippet(one) for one in LIBRARIES]


def test_each_remark_is_there() -> None:
    """A number in a table has its text."""
    for one in LIBRARIES:
        assert all(remark in TEXT for remark in one.remarks.values())
    assert "**no**" not in TEXT
