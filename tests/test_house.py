"""The house stays in order: how many rooms, no circles, few parameters, short functions and files.

The limits hold for every file, those of tomorrow too. Whoever meets one makes the code smaller and
not the limit larger.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.house import House, above, circles, percentile
from tests.support.paths import ROOT

ROOT_MODULES = 8
FILE_LINES = 450
PARAMETERS = 6
FUNCTION_LINES_P90 = 20

# Public classes that share a name: each with the reason why both keep it.
HOMONYMS: dict[str, str] = {
    "Event": "what a frame is for a session, and what a service gets: the word is right for both",
    "SlackClient": "one bears the name of a library's class, whose users it serves",
}

# Test files over the limit; none may be added, and one that shrinks goes from the list.
LONG_TESTS = {
    "tests.core.test_session",
    "tests.e2e.test_outbound",
    "tests.e2e.test_socket_mode",
    "tests.links.slack.test_socket_mode",
    "tests.pumps.test_publisher",
    "tests.pumps.test_reader",
}


@pytest.fixture(scope="module")
def program() -> House:
    """The program."""
    return House(ROOT / "rtmpump")


@pytest.fixture(scope="module")
def suite() -> House:
    """Its tests."""
    return House(ROOT / "tests")


def test_the_root_holds_few_modules(program: House) -> None:
    """What is not one of a few files that all rooms need lives in a room."""
    assert len(program.root_modules()) <= ROOT_MODULES, program.root_modules()


def test_no_circles(program: House, suite: House) -> None:
    """No module imports itself by way of others, also not in functions or for type checking."""
    assert circles(program.imports()) == []
    assert circles(suite.imports()) == []


def test_constructors_take_few_parameters(program: House) -> None:
    """No constructor has more than six parameters beside self."""
    assert above(program.constructors(), PARAMETERS) == []


def test_functions_are_short(program: House, suite: House) -> None:
    """Nine functions of ten have at most twenty lines, their docstring with them."""
    assert percentile(program.functions(), 0.9) <= FUNCTION_LINES_P90
    assert percentile(suite.functions(), 0.9) <= FUNCTION_LINES_P90


def test_files_are_short(program: House) -> None:
    """No file of the program has more than 450 lines."""
    assert above(program.files(), FILE_LINES) == []


def test_test_files_are_short(suite: House) -> None:
    """No file of the tests has more, but for those that had when this test was written."""
    assert {one.where for one in above(suite.files(), FILE_LINES)} == LONG_TESTS


def test_one_name_for_one_thing(program: House) -> None:
    """No two public classes have the same name."""
    assert program.homonyms().keys() == HOMONYMS.keys(), program.homonyms()


def house(folder: Path, **files: str) -> House:
    """Make a package `made` with these modules; `made` itself and `made.room` are empty."""
    room = folder / "made" / "room"
    room.mkdir(parents=True)
    texts = {"__init__": "", "room/__init__": ""} | {
        name.replace("room_", "room/"): text for name, text in files.items()
    }
    for name, text in texts.items():
        (folder / "made" / f"{name}.py").write_text(text)
    return House(folder / "made")


def test_root_modules_are_counted(tmp_path: Path) -> None:
    """Files in the root count, a room doesn't."""
    assert house(tmp_path, log="", room_file="").root_modules() == ["__init__", "log"]


@pytest.mark.parametrize(
    "back",
    [
        "import made.low",
        "from made import low",
        "from made.low import Thing",
        "from . import low",
        "from .low import Thing",
        "def late():\n    from made.low import Thing",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from made.low import Thing",
    ],
)
def test_a_circle_is_found(tmp_path: Path, back: str) -> None:
    """Each way to import closes a circle, and only what is on it is named."""
    made = house(tmp_path, top="from made import low", low="from made.high import x", high=back)
    assert circles(made.imports()) == [["made.high", "made.low"]]


def test_a_circle_by_way_of_a_package_is_found(tmp_path: Path) -> None:
    """A package's own file can be on a circle; that it lies in the package is none."""
    package = "from made.room.file import x"
    one = house(tmp_path / "one", room___init__=package, room_file="")
    assert circles(one.imports()) == []
    two = house(tmp_path / "two", room___init__=package, room_file="from .. import room")
    assert circles(two.imports()) == [["made.room", "made.room.file"]]


def test_a_module_that_imports_itself_is_a_circle(tmp_path: Path) -> None:
    """The smallest circle."""
    assert circles(house(tmp_path, one="import made.one").imports()) == [["made.one"]]


def test_parameters_are_counted(tmp_path: Path) -> None:
    """All kinds of parameters count, self doesn't; fields of a dataclass are no parameters."""
    text = (
        "class Wide:\n    def __init__(self, a, /, b, c=1, *d, e, f=2, **g): ...\n"
        "@dataclass\nclass Value:\n    a: int\n    b: int\n"
        "def outer():\n    class Inner:\n        def __init__(self): ...\n"
    )
    made = house(tmp_path, one=text)
    assert set(made.constructors()) == {(7, "made.one.Wide"), (0, "made.one.Inner")}
    assert above(made.constructors(), 6) == [(7, "made.one.Wide")]


def test_lines_of_functions_are_counted(tmp_path: Path) -> None:
    """From `def` to the last line, methods, inner and async functions alike."""
    text = (
        "class A:\n    def one(self): ...\n\n"
        "    async def two(self):\n        x = 1\n        return x\n"
    )
    made = house(tmp_path, one=text)
    assert set(made.functions()) == {(1, "made.one.one"), (3, "made.one.two")}
    assert percentile(made.functions(), 0.9) == 3
    assert percentile(made.functions(), 0.0) == 1


def test_lines_of_files_are_counted(tmp_path: Path) -> None:
    """Empty lines and comments count."""
    made = house(tmp_path, short="x = 1\n" * 450, long="\n# no\n" + "x = 1\n" * 449)
    assert above(made.files(), 450) == [(451, "made.long")]


def test_homonyms_are_found(tmp_path: Path) -> None:
    """Two public classes of one name are found, private ones are let be."""
    made = house(tmp_path, a="class Job: ...\nclass _Row: ...", b="class Job: ...\nclass _Row: ...")
    assert made.homonyms() == {"Job": ["made.a", "made.b"]}
