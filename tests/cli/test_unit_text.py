"""Units and environment files are read as systemd reads them."""

from __future__ import annotations

import pytest

from rtmpump.cli.unit_text import Settings, expanded, unescaped, variables, words
from rtmpump.errors import RtmpumpError

pytestmark = pytest.mark.quick


def test_comments_do_not_continue_and_do_not_end_what_continues() -> None:
    """systemd.syntax(7): a comment block inside of a continued line is left out."""
    text = (
        "[Service]\nExecStart=/x run \\\n# why \\\n; and why\n  -c f\n# a comment \\\nUser=me\n"
        "Group=a\\\\\n[Other]\nUser=you\n"
    )
    settings = Settings("rtmpump@acme.service", text, "/creds")
    assert words(settings.last("ExecStart")) == ["/x", "run", "-c", "f"]
    assert (settings.last("User"), settings.last("Group")) == ("me", "a\\\\")


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("a  'b c' d\"e f\"g", ["a", "b c", "de fg"]),
        (r"\x41\n\s '' \"", ["A\n ", "", '"']),
        ('A=["x",y]', ["A=[x,y]"]),
    ],
)
def test_words(text: str, wanted: list[str]) -> None:
    """Quotes keep blanks, C escapes count."""
    assert words(text) == wanted


def test_a_quote_without_an_end_is_named_and_no_value_shown() -> None:
    """To systemd it is a warning in the journal, and the line is left out."""
    settings = Settings("x.service", "[Service]\nEnvironment=PASSWORD=it's\n", "")
    with pytest.raises(RtmpumpError) as caught:
        settings.words("Environment")
    assert str(caught.value) == "--unit x.service: its Environment=: a quote (') has no end"


@pytest.mark.parametrize(
    ("command", "wanted"),
    [
        ("/x run -c ${DIR}/c.toml", ["/x", "run", "-c", "/srv/c.toml"]),
        ("-/x $OPTIONS run $NONE $$x", ["/x", "-v", "-w", "run", "$x"]),
        ("@/x name run", ["/x", "run"]),
        (":/x run ${DIR}", ["/x", "run", "${DIR}"]),
    ],
)
def test_variables_of_a_command(command: str, wanted: list[str]) -> None:
    """systemd.service(5): in a word with braces, as words without."""
    assert expanded(words(command), {"DIR": "/srv", "OPTIONS": "-v -w"}) == wanted


def test_environment_files() -> None:
    """systemd.exec(5): blanks, `#` and quotes in a value count; a comment has its own line."""
    text = (
        "# a comment\n ; another\nA=one two # three  \nB='it''s'\nC=it's\nD=[\"a\", \"b\"]\n"
        'E="a\\"b\\n\\\n"\nF=x\\\ny\nnothing\n1G=no\nH = " two\nlines"\nI='
    )
    assert variables(text) == {
        **{"A": "one two # three", "B": "its", "C": "it's", "D": '["a", "b"]'},
        **{"E": 'a"b\\n', "F": "xy", "H": " two\nlines", "I": ""},
    }


def test_the_value_of_a_credential() -> None:
    """The escapes of C are carried out."""
    assert unescaped(r"xoxb\x2d1\n") == "xoxb-1\n"
