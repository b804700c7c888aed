"""Facts about topics, as RabbitMQ's own pages have them."""

from __future__ import annotations

import pytest

from rtmpump.core.topics import fits


@pytest.mark.parametrize(
    ("pattern", "keys", "others"),
    [
        ("#", "a a.b a.b.c", ""),
        ("a.#", "a a.b a.b.c", "b ab b.a"),
        ("*", "a b", "a.b"),
        ("#.b", "b a.b a.a.b", "a b.a"),
        ("a.*.c", "a.b.c", "a.c a.b.b.c"),
        ("#.b.#", "b a.b b.a a.b.c", "a"),
        ("a.#.*", "a.b a.b.c", "a"),
    ],
)
def test_a_topic_fits_as_it_does_in_rabbitmq(pattern: str, keys: str, others: str) -> None:
    """Source: https://www.rabbitmq.com/tutorials/tutorial-five-python."""
    assert [key for key in (keys + " " + others).split() if fits(pattern, key)] == keys.split()
