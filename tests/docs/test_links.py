"""Facts about the links of all Markdown files, and about what an index has to name."""

from __future__ import annotations

from urllib.parse import unquote, urlsplit

import pytest

from tests.support.markdown import Page, page, pages, slug
from tests.support.paths import ROOT

DOCS = ROOT / "docs"
DECISIONS = sorted(path.name for path in (DOCS / "decisions").glob("[0-9]*.md"))
PARTS = ["Context", "Decision", "Figures", "Consequences"]


def broken(one: Page) -> list[str]:
    """Return the links that lead nowhere, each with what is wrong."""
    found = ((target, problem(one, target)) for target in one.links())
    return [f"{target}: {why}" for target, why in found if why]


def problem(one: Page, target: str) -> str:
    """Return what is wrong with a link; "" if it leads somewhere."""
    parts = urlsplit(target)
    if parts.scheme or parts.netloc:
        return "" if parts.scheme == "https" else "only https is for the outside"
    file = (one.path.parent / unquote(parts.path)).resolve() if parts.path else one.path
    if not file.is_relative_to(ROOT):
        return "it leaves the repository"
    if not file.exists():
        return "there is no such file"
    if not parts.fragment:
        return ""
    if file.suffix != ".md":
        return "only Markdown has anchors"
    there = page(str(file.relative_to(ROOT))).anchors()
    return "" if parts.fragment in there else "there is no such heading"


@pytest.mark.parametrize("name", [one.name for one in pages()])
def test_each_link_leads_somewhere(name: str) -> None:
    """A relative link names a file of the repository, and a heading that it has."""
    assert broken(page(name)) == []


@pytest.mark.parametrize(
    ("heading", "anchor"),
    [
        ("Install on a server", "install-on-a-server"),
        ("Who may do what in RabbitMQ?", "who-may-do-what-in-rabbitmq"),
        ("`cli/`: what a person types", "cli-what-a-person-types"),
        ("0003 Our own [encoding](x.md), again", "0003-our-own-encoding-again"),
        ("What's that / this_one, Ü", "whats-that--this_one-ü"),
    ],
)
def test_an_anchor_is_that_of_github(heading: str, anchor: str) -> None:
    """Lower case, no punctuation, a hyphen for each space."""
    assert slug(heading) == anchor


def test_a_link_in_code_is_none_and_one_that_leads_nowhere_is_found() -> None:
    """The reader of Markdown can find what these tests look for."""
    one = Page(ROOT / "README.md")
    assert "docs/slack-app.md" in one.links()
    assert problem(one, "docs/slack-app.md#a-classic-app-with-rtm") == ""
    assert problem(one, "docs/slack-app.md#nowhere") == "there is no such heading"
    assert problem(one, "docs/nowhere.md") == "there is no such file"
    assert problem(one, "../elsewhere.md") == "it leaves the repository"


def test_the_index_names_each_page() -> None:
    """docs/README.md links all pages of docs/, and decisions/README.md all decisions."""
    named = set(page("docs/README.md").links())
    assert {path.name for path in DOCS.glob("*.md")} - {"README.md"} <= named
    assert set(DECISIONS) == set(page("docs/decisions/README.md").links())


def test_the_readme_is_short_and_asks_first_which_app() -> None:
    """At most 160 lines, and the app before the installation."""
    text = page("README.md").text
    assert text.count("\n") <= 160
    assert text.index("## Which app have you?") < text.index("## Install on a server")


def test_the_glossary_has_one_page() -> None:
    """At most 60 lines, and each word once."""
    text = page("docs/glossary.md").text
    words = [line.split("**")[1] for line in text.splitlines() if line.startswith("| **")]
    assert text.count("\n") <= 60
    assert len(words) == len(set(words))


@pytest.mark.parametrize("name", DECISIONS)
def test_a_decision_has_its_four_parts_on_one_page(name: str) -> None:
    """Context, decision, figures and consequences; its number is that of its file."""
    text = page(f"docs/decisions/{name}").text
    assert text.startswith(f"# {name[:4]} ")
    assert [line[3:] for line in text.splitlines() if line.startswith("## ")] == PARTS
    assert text.count("\n") <= 60


def test_the_decisions_are_numbered_without_a_gap() -> None:
    """From 0001 on; there are at least eight."""
    assert [int(name[:4]) for name in DECISIONS] == list(range(1, len(DECISIONS) + 1))
    assert len(DECISIONS) >= 8
