"""Keys set in the text of a configuration: all else stays as it was written."""

from __future__ import annotations

import tomllib

import pytest

from rtmpump.config.writing import with_keys
from rtmpump.errors import ConfigError
from tests.support.config import EXAMPLE

pytestmark = pytest.mark.quick


def test_the_example_changes_in_these_lines_alone() -> None:
    """Comments and order stay."""
    before = EXAMPLE.read_text()
    after = with_keys(before, {"slack.mode": "socket", "broker.url_file": 'a "b" \\ c'})
    changed = [
        (old, new)
        for old, new in zip(before.splitlines(), after.splitlines(), strict=True)
        if old != new
    ]
    assert changed == [
        ('mode = "rtm"', 'mode = "socket"'),
        ('url_file = ""', 'url_file = "a \\"b\\" \\\\ c"'),
    ]
    assert tomllib.loads(after)["broker"]["url_file"] == 'a "b" \\ c'


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("", '[log]\nlevel = "info"\nformat = "json"\n'),
        ("# mine\n", '# mine\n\n[log]\nlevel = "info"\nformat = "json"\n'),
        ("[ha]\n[log] # x\n", '[ha]\n[log] # x\nlevel = "info"\nformat = "json"\n'),
        ('[log]\nformat = "x"', '[log]\nlevel = "info"\nformat = "json"\n'),
        ("log.level = 'x'\n", None),
        ('log = { level = "x" }\n', None),
        ('[log]\nlevel = """\nx"""\n', '[log]\nlevel = "info"\nformat = "json"\n'),
        (
            '# \u2028\x85\n[log]\nlevel="x"\n',
            '# \u2028\x85\n[log]\nlevel = "info"\nformat = "json"\n',
        ),
        ('[log]\r\nlevel="x"\r\n', '[log]\r\nlevel = "info"\r\nformat = "json"\r\n'),
        ("log = 3\n", None),
        ("[log\n", None),
    ],
)
def test_keys_that_are_missing_and_lines_that_cannot_be_replaced(
    text: str, wanted: str | None
) -> None:
    """A new key comes under its header; where that can't be done, nothing is guessed."""
    keys = {"log.level": "info", "log.format": "json"}
    if wanted is None:
        with pytest.raises(ConfigError):
            with_keys(text, keys)
    else:
        assert with_keys(text, keys) == wanted


def test_a_list_in_place_of_one_of_many_lines() -> None:
    """All of its lines go, and nothing else."""
    text = '[broker]\nurls = [\n  "a", # one\n  "b",\n]\n# mine\nheartbeat = 3\n'
    wanted = "[broker]\nurls = []\n# mine\nheartbeat = 3\n"
    assert with_keys(text, {"broker.urls": []}) == wanted
