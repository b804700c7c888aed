"""Facts about names in the documentation: commands, keys, metrics, variables, files, log lines."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from typing import get_type_hints

import click
import pytest

from rtmpump.cli import main
from rtmpump.config import Config
from rtmpump.metrics import LINKS, STANDBY_LINKS
from tests.deploy.test_monitoring import exposed, family
from tests.support import usage
from tests.support.markdown import Page, page, pages
from tests.support.paths import ROOT

# What was measured says what was there then.
PAGES = [one for one in pages() if not one.name.endswith("RESULTS.md")]
CODE = ROOT / "rtmpump"
FILES = re.compile(r"\.?[\w/-][\w./-]*\.(?:py|toml|md|sh|yaml|yml|json|service|txt)")
FOLDERS = re.compile(r"[\w.-]+(?:/[\w.-]+)*/")
# Files and names that the program or its user makes, and names that stand for many.
MADE = ("config.toml", "/etc/", "./config.toml", "spool.db", "NAME", "requirements.txt")
VARIABLES_BESIDE_KEYS = {"RTMPUMP_CONFIG", "RTMPUMP_COMPLETE"}

each_page = pytest.mark.parametrize("name", [one.name for one in PAGES])


@cache
def keys() -> set[str]:
    """Return all config keys as `section.key`."""
    return {f"{name}.{key}" for name, cls in get_type_hints(Config).items() for key in _fields(cls)}


def _fields(cls: type) -> Iterable[str]:
    return cls.__struct_fields__  # type: ignore[attr-defined, no-any-return]


@cache
def code() -> str:
    """Return the text of the whole program."""
    return "\n".join(path.read_text() for path in sorted(CODE.rglob("*.py")))


@cache
def log_events() -> set[str]:
    """Return the names of all lines of the log, those of the links included."""
    of_links = {
        f"{link}.{what}"
        for link in (*LINKS, *STANDBY_LINKS)
        for what in ("connected", "disconnected", "unreachable")
    }
    return of_links | set(re.findall(r'"([a-z_]+\.[a-z_]+)"', code()))


def dotted(one: Page) -> list[str]:
    """Return the code of a page that looks like `section.key`, also before ` = value`."""
    sections = "|".join([*get_type_hints(Config), *LINKS, *STANDBY_LINKS, "role", "lock", "token"])
    found = (re.fullmatch(rf"((?:{sections})\.[a-z_]+)(?: = .+)?", span) for span in one.spans())
    names = [match[1] for match in found if match and not match[1].startswith(MADE)]
    return [name for name in names if not FILES.fullmatch(name)]


@each_page
def test_each_command_and_option_exists(name: str) -> None:
    """What a page calls `rtmpump …` in its text can be called."""
    calls = [span[8:] for span in page(name).spans() if span.startswith("rtmpump ")]
    assert {call: wrong for call in calls if (wrong := usage.problems(call))} == {}


@each_page
def test_each_key_and_log_event_exists(name: str) -> None:
    """`slack.mode` is a key of the configuration, `slack.disconnected` a line of the log."""
    assert set(dotted(page(name))) - keys() - log_events() == set()


@each_page
def test_each_metric_exists(name: str) -> None:
    """What begins with rtmpump_ is exposed."""
    named = set(re.findall(r"\brtmpump_[a-z_]+", page(name).text))
    assert named - exposed().keys() - {family(sample) for sample in exposed()} == set()


@each_page
def test_each_variable_exists(name: str) -> None:
    """RTMPUMP_<SECTION>_<KEY> names a key; RTMPUMP_CONFIG and the completion's stand beside."""
    of_keys = {f"RTMPUMP_{key.replace('.', '_').upper()}" for key in keys()}
    named = set(re.findall(r"RTMPUMP_[A-Z]+(?:_[A-Z]+)*", page(name).text))
    assert named - of_keys - VARIABLES_BESIDE_KEYS == set()


@each_page
def test_each_file_exists(name: str) -> None:
    """A path is one of the repository, of rtmpump/, or beside the page."""
    one = page(name)
    places = (ROOT, CODE, one.path.parent)
    named = {span for span in one.spans() if FILES.fullmatch(span) or FOLDERS.fullmatch(span)}
    ours = {span for span in named if not any(word in span for word in MADE)}
    assert [span for span in ours if not any((place / span).exists() for place in places)] == []


@each_page
def test_each_target_of_make_exists(name: str) -> None:
    """`make NAME` stands in the Makefile."""
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {found[1] for s in page(name).spans() if (found := re.match(r"make ([a-z]+)", s))}
    assert named - targets == set()


@pytest.mark.parametrize(
    ("words", "wrong"),
    [
        ("nonsense", ["there is no command nonsense"]),
        ("spool info|mend", ["spool has no command mend"]),
        ("dead retry --all --force", ["there is no option --force"]),
        ("check [--connect] -c FILE", []),
        ("send general '--not-an-option'", []),
    ],
)
def test_what_is_wrong_with_a_call_is_found(words: str, wrong: list[str]) -> None:
    """Commands, those of groups, and options are compared with those of the program."""
    assert usage.problems(words) == wrong


def test_the_readme_has_each_command() -> None:
    """Its table has a row for each."""
    rows = re.findall(r"^\| `rtmpump ([a-z]+)", page("README.md").text, re.MULTILINE)
    assert set(rows) == set(main.list_commands(click.Context(main)))


def test_an_error_text_of_the_troubleshooting_is_that_of_the_program() -> None:
    """A text that a person looks for there must be what the program prints."""
    cells = re.findall(r"^\| ([^|]+) \|", page("docs/troubleshooting.md").text, re.MULTILINE)
    texts = [span for cell in cells for span in re.findall(r"`([^`]+)`", cell) if " " in span]
    pieces = [piece.strip() for text in texts for piece in re.split("…|: ", text)]
    prose = [piece for piece in pieces if " " in piece and not piece.startswith("rtmpump ")]
    assert len(prose) >= 5
    of_rabbitmq = "406 PRECONDITION_FAILED"
    assert [piece for piece in prose if piece not in code()] == [of_rabbitmq]


def test_the_operator_finds_each_part_of_the_page_and_of_the_status() -> None:
    """The table of docs/operate.md names the headings and tiles of the page, and the rows."""
    html, script = ((CODE / "http" / name).read_text() for name in ("page.html", "page.js"))
    parts = set(re.findall(r"<h2[^>]*>([^<]+)", html)) | set(re.findall(r"tile\('([^']+)'", script))
    rows = set(re.findall(r'\("([a-z ]+)", _', (CODE / "cli" / "status.py").read_text()))
    assert len(parts) > 12
    assert len(rows) > 4
    table = page("docs/operate.md").text.partition("## Read the page")[2]
    assert [part for part in parts if f"*{part}*" not in table] == []
    assert [row for row in rows if f"`{row}" not in table] == []


def test_each_word_of_the_glossary_is_used() -> None:
    """A word that the program no longer uses leaves."""
    words = re.findall(r"^\| \*\*([^*]+)\*\*", page("docs/glossary.md").text, re.MULTILINE)
    text = code().lower().replace("-", " ").replace("_", " ")
    assert [word for entry in words for word in entry.split(", ") if word not in text] == []
