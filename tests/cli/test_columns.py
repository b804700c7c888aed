"""Facts about texts that are cut and filled to the columns of a terminal."""

from __future__ import annotations

import pytest

from rtmpump.cli.columns import cut, filled, width

pytestmark = pytest.mark.quick


@pytest.mark.parametrize(
    ("text", "columns", "shown"),
    [
        ("", 3, ""),
        ("abc", 3, "abc"),
        ("abcd", 3, "ab…"),
        ("日本", 4, "日本"),
        ("日本語", 4, "日…"),
        ("日本語", 5, "日本…"),
        ("e\u0301" * 3, 3, "e\u0301" * 3),
        ("e\u0301" * 4, 3, "e\u0301" * 2 + "…"),
        ("abc", 1, "…"),
    ],
)
def test_a_text_is_cut_only_where_it_does_not_fit(text: str, columns: int, shown: str) -> None:
    """Wide characters take two columns, accents of their own none."""
    assert cut(text, columns) == shown
    assert width(shown) <= columns


def test_a_text_is_filled_by_what_it_takes_on_the_screen() -> None:
    """So what follows stands in one column; a text that is too long stays as it is."""
    assert [filled("日本", 6), filled("ab", 6), filled("abc", 2)] == ["日本  ", "ab    ", "abc"]
