"""The runbook as a page of the daemon: what to do is at hand where nothing else can be reached.

`runbook.md` is a symbolic link to deploy/RUNBOOK.md, and a wheel holds its text: so it is written
once. Of Markdown it may use headings, paragraphs, `sh` blocks, bold, code and links.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from html import escape
from pathlib import Path
from typing import Final

_FILE: Final = Path(__file__).with_name("runbook.md")
_INLINE: Final = (
    (re.compile(r"`([^`]+)`"), r"<code>\1</code>"),
    (re.compile(r"\*\*(.+?)\*\*", re.DOTALL), r"<b>\1</b>"),
    (re.compile(r"&lt;(https://\S+?)&gt;"), r'<a href="\1">\1</a>'),
    (re.compile(r"\[([^]]+)\]\((https://[^)\s]+)\)"), r'<a href="\2">\1</a>'),
    # The other files of the repository are not served.
    (re.compile(r"\[([^]]+)\]\([^)\s]+\)"), r"\1"),
)
_ENTRY: Final = re.compile(r"\bRtmpump[A-Z]\w+")
_HEADING: Final = re.compile(r"(#{1,2}) (.+)\n?")


def anchor(entry: str) -> str:
    """Return the anchor of an entry; it is the one that GitHub gives it too."""
    return entry.lower()


@cache
def body() -> str:
    """Return the runbook as HTML, each entry in a section with its anchor."""
    sections = re.split(r"^(?=## )", _FILE.read_text("utf-8"), flags=re.MULTILINE)
    return "".join(f"<section>{''.join(_blocks(section))}</section>" for section in sections)


def _blocks(section: str) -> Iterator[str]:
    for text in re.split(r"^(```sh\n.*?^```\n)", section, flags=re.MULTILINE | re.DOTALL):
        if text.startswith("```"):
            lines = "\n".join(text.splitlines()[1:-1])
            yield f"<pre><code>{escape(lines)}</code></pre>"
            continue
        # "**Do.**" and its like begin a paragraph, also where no empty line is before it.
        for block in filter(str.strip, re.split(r"\n\n+|\n(?=\*\*)", text)):
            yield from _block(block.strip())


def _block(block: str) -> Iterator[str]:
    if found := _HEADING.match(block):
        level, name = len(found[1]), found[2]
        yield f'<h{level} id="{escape(anchor(name))}">{_inline(name)}</h{level}>'
        block = block[found.end() :]
    if block:
        yield f"<p>{_ENTRY.sub(_to_entry, _inline(block))}</p>"


def _to_entry(found: re.Match[str]) -> str:
    return f'<a href="#{anchor(found[0])}">{found[0]}</a>'


def _inline(text: str) -> str:
    made = escape(text, quote=False)
    for pattern, html in _INLINE:
        made = pattern.sub(html, made)
    return made
