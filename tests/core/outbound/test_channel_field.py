"""core.outbound.channel_field: ids, names, and what only looks like a channel."""

from __future__ import annotations

import pytest

from rtmpump.core.outbound.channel_field import read_channel
from rtmpump.errors import CommandRejected


def rejection(channel: str) -> CommandRejected:
    """The error with which this channel is refused."""
    with pytest.raises(CommandRejected) as caught:
        read_channel(channel)
    return caught.value


@pytest.mark.parametrize(
    ("channel", "hint"),
    [
        ("U024BE7LH", "open a conversation first"),
        ("W024BE7LH", "open a conversation first"),
        ("UABCDEFGH", "open a conversation first"),
        ("@alice", "open a conversation first"),
        ("<@U024BE7LH>", "open a conversation first"),
        ("<@U024BE7LH|alice>", "open a conversation first"),
        ("General", 'names are lower case; "general"?'),
        ("#General", 'names are lower case; "general"?'),
        ("GENERAL", 'names are lower case; "general"?'),
        ("CHANNELS", 'names are lower case; "channels"?'),
        ("DEV", 'names are lower case; "dev"?'),
        ("WEB", 'names are lower case; "web"?'),
        ("C", 'names are lower case; "c"?'),
        ("<#GENERAL>", 'names are lower case; "general"?'),
        ("#C024BE91L", 'send an id without "#"'),
        ("#@alice", "open a conversation first"),
        ("<!channel>", "neither < nor >"),
        ("<#u1>", "neither < nor >"),
        ("a\x00b", "names have no spaces"),
        ("a\u3000b", "names have no spaces"),
        ("my channel", "names have no spaces"),
        (" general", "names have no spaces"),
        ("C024BE91L\n", "names have no spaces"),
        ("https://x.slack.com/archives/C024BE91L/p1355517523000005", 'in it, "C024BE91L"'),
    ],
)
def test_what_only_looks_like_a_channel_gets_a_hint(channel: str, hint: str) -> None:
    """No channel can have such a name."""
    error = rejection(channel)
    assert (error.code, error.field) == ("invalid_command", "channel")
    assert error.message.startswith('field "channel" must be an id like "C024BE91L" or a name')
    assert hint in error.message
    assert f'found "{channel}"' in error.message or not channel.isprintable()
    assert error.message.isprintable()


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ("<#C024BE91L|general>", "C024BE91L"),
        ("<#C024BE91L|>", "C024BE91L"),
        ("<#C024BE91L>", "C024BE91L"),
        ("<#C1|x>", "C1"),
        ("cafe\u0301", "caf\u00e9"),
        ("#cafe\u0301", "#caf\u00e9"),
        ("\u00fcber-uns", "\u00fcber-uns"),
        ("CHANGELOG", "CHANGELOG"),
        ("u024be7lh", "u024be7lh"),
        ("w1", "w1"),
        ("##odd", "##odd"),
        ("a@b", "a@b"),
    ],
)
def test_how_a_channel_is_read(given: str, read: str) -> None:
    """As Slack writes it in a text it is an id; a name has its accents composed."""
    assert read_channel(given) == read


def test_a_long_name_is_counted_composed() -> None:
    """80 letters with their accents beside them are 80 characters."""
    assert read_channel("e\u0301" * 80) == "\u00e9" * 80
    assert "found 81" in rejection("e\u0301" * 81).message
