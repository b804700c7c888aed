"""Read the Markdown files of the repository: headings, links, code."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

from tests.support.paths import ROOT

_NOT_OURS = {"node_modules", "out", "dist", "build"}
_FENCE = re.compile(r"^( *)(`{3,})(\w*)[^\n]*\n(.*?)^\1\2 *$\n?", re.MULTILINE | re.DOTALL)
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
_SPAN = re.compile(r"(?<!`)`([^`\n]+(?:\n[^`\n]+)?)`(?!`)")
_HEADING = re.compile(r"^#{1,6} +(.+?) *#*$", re.MULTILINE)
_LINK = re.compile(r"\[(?:[^\[\]]|\[[^\]]*\])*\]\(<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\)")
_DEFINITION = re.compile(r"^ {0,3}\[[^\]]+\]: +(\S+)", re.MULTILINE)
_NOT_IN_A_SLUG = re.compile(r"[^\w\- ]")


class Block(NamedTuple):
    """A fenced block: its language, its text without indentation, the line of its first line."""

    language: str
    text: str
    line: int


class Page:
    """One Markdown file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.text = path.read_text(encoding="utf-8")
        self._prose = _FENCE.sub(_blank, _COMMENT.sub(_blank, self.text))

    @property
    def name(self) -> str:
        """Return its path in the repository."""
        return str(self.path.relative_to(ROOT))

    def blocks(self, *languages: str) -> list[Block]:
        """Return the fenced blocks of these languages, in order."""
        return [
            Block(found[3], textwrap.dedent(found[4]), 2 + self.text.count("\n", 0, found.start()))
            for found in _FENCE.finditer(self.text)
            if found[3] in languages
        ]

    def spans(self) -> list[str]:
        """Return what stands in backticks outside of blocks, without the escapes of tables."""
        spans = (found[1] for found in _SPAN.finditer(self._prose))
        return [" ".join(span.split()).replace("\\|", "|") for span in spans]

    def links(self) -> list[str]:
        """Return the targets of all links and pictures."""
        bare = _SPAN.sub("", self._prose)
        return _LINK.findall(bare) + _DEFINITION.findall(bare)

    def anchors(self) -> set[str]:
        """Return the anchors of its headings, as GitHub makes them."""
        seen: dict[str, int] = {}
        return {_numbered(slug(found[1]), seen) for found in _HEADING.finditer(self._prose)}


def slug(heading: str) -> str:
    """Return the anchor of a heading: GitHub keeps letters, digits, `_`, `-` and spaces."""
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "")
    return _NOT_IN_A_SLUG.sub("", text.strip().lower()).replace(" ", "-")


def _numbered(name: str, seen: dict[str, int]) -> str:
    """Return the name, with a number behind it where it was there before."""
    count = seen[name] = seen.get(name, -1) + 1
    return f"{name}-{count}" if count else name


def _blank(found: re.Match[str]) -> str:
    return "\n" * found[0].count("\n")


@cache
def pages() -> list[Page]:
    """Return each Markdown file of the repository, sorted by its path."""
    return [Page(path) for path in sorted(_files(ROOT))]


def page(name: str) -> Page:
    """Return the Markdown file of this path in the repository."""
    return next(one for one in pages() if one.name == name)


def _files(folder: Path) -> Iterator[Path]:
    for path in folder.iterdir():
        if path.name.startswith(".") or path.name in _NOT_OURS:
            continue
        if path.is_dir():
            yield from _files(path)
        elif path.suffix == ".md" and not path.is_symlink():
            yield path
