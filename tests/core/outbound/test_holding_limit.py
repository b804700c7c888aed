"""Facts about how much the pump holds of what others send."""

from __future__ import annotations

import json
import random
from collections import deque

import pytest

from rtmpump.core.outbound.command_parsing import parse
from rtmpump.core.outbound.holding_limit import HoldingLimit, weight
from rtmpump.core.outbound.job import Fingerprint, fingerprint

pytestmark = pytest.mark.quick


def known_by(number: int) -> Fingerprint:
    """Return the fingerprint of a message."""
    return fingerprint(str(number).encode(), None, None, None)


def take(limit: HoldingLimit, *numbers: int, size: int = 40) -> list[int]:
    """Deliver these messages, each by its number as tag; return those that are taken."""
    return [number for number in numbers if limit.take(number, known_by(number), size)]


def test_what_is_over_the_limit_is_postponed_and_so_is_all_behind_it() -> None:
    """Also what would fit: it must not overtake."""
    limit = HoldingLimit(100)
    assert take(limit, 1, 2, 3) == [1, 2]
    assert take(limit, 4, size=1) == []
    assert limit.held == 80
    assert limit.postponed == 2


def test_one_is_always_taken() -> None:
    """However large it is, and nothing is behind it then."""
    limit = HoldingLimit(100)
    assert take(limit, 1, size=500) == [1]
    assert take(limit, 2, size=1) == []
    limit.less(500)
    assert limit.due() == [2]


def test_what_is_postponed_goes_back_when_half_is_free() -> None:
    """Not for each that is acked: then most would come in vain again and again."""
    limit = HoldingLimit(100)
    take(limit, 1, 2, 3, 4)
    assert limit.due() == []
    limit.less(40)
    assert limit.due() == [3, 4]
    assert limit.due() == []
    assert limit.postponed == 2


def test_it_comes_again_in_order_and_is_taken() -> None:
    """With another tag, as far as there is room."""
    limit = HoldingLimit(100)
    take(limit, 1, 2, 3, 4)
    limit.less(80)
    assert limit.due() == [3, 4]
    assert limit.take(5, known_by(3), 40)
    assert limit.take(6, known_by(4), 40)
    assert limit.postponed == 0


def test_what_was_on_its_way_goes_back_behind_the_others() -> None:
    """It comes before them, and is newer than they are."""
    limit = HoldingLimit(100)
    take(limit, 1, 2, 3)
    limit.less(80)
    assert limit.due() == [3]
    assert take(limit, 4) == []
    assert limit.due() == [4]
    assert limit.take(5, known_by(3), 40)
    assert limit.take(6, known_by(4), 40)


def test_few_go_back_at_once() -> None:
    """The next ones follow when these have come."""
    limit = HoldingLimit(100)
    take(limit, *range(102), size=50)
    limit.less(100)
    first = limit.due()
    assert first == list(range(2, 32))
    assert limit.due() == []
    assert limit.take(200, known_by(2), 50)
    assert limit.due() == [32]


def test_what_does_not_come_again_is_known_to_be_gone_by_the_next_one() -> None:
    """It may have expired in the queue."""
    limit = HoldingLimit(100)
    take(limit, 1, 2, 3, 4)
    limit.less(80)
    assert limit.due() == [3, 4]
    assert limit.take(5, known_by(4), 40)
    assert limit.postponed == 0
    assert take(limit, 6) == [6]


def test_what_does_not_come_at_all_is_waited_for_no_longer_than_two_seconds() -> None:
    """Then the next ones are taken as they come."""
    limit = HoldingLimit(100)
    take(limit, 1, 2, 3)
    limit.less(80)
    assert limit.due() == [3]
    limit.second_passed()
    assert limit.postponed == 1
    limit.second_passed()
    assert limit.postponed == 0
    assert take(limit, 4) == [4]


def test_the_end_of_the_connection_forgets_all() -> None:
    """RabbitMQ delivers everything again."""
    limit = HoldingLimit(100)
    take(limit, 1, 2, 3, 4)
    limit.connection_ended()
    assert limit.held == limit.postponed == 0
    assert take(limit, 3) == [3]


@pytest.mark.parametrize("seed", range(30))
def test_order_holds_whatever_comes_between(seed: int) -> None:
    """Against a queue that puts back as RabbitMQ does, with deliveries that are on their way."""
    dice = random.Random(seed)
    limit, queue, returns = HoldingLimit(100), deque(range(200)), deque[int]()
    wire: deque[tuple[int, int]] = deque()
    out: dict[int, int] = {}
    held: deque[tuple[int, int]] = deque()
    went: list[int] = []
    tag = 0
    for _ in range(100_000):
        if len(went) == 200:
            break
        step = dice.random()
        if step < 0.4 and (returns or queue) and len(out) < 20:
            number = returns.popleft() if returns else queue.popleft()
            tag += 1
            out[tag] = number
            wire.append((tag, number))
        elif step < 0.8 and wire:
            got, number = wire.popleft()
            if limit.take(got, known_by(number), 10 + number % 30):
                held.append((got, number))
        elif held:
            done, number = held.popleft()
            went.append(number)
            del out[done]
            limit.less(10 + number % 30)
        for back in limit.due():
            returns.append(out.pop(back))
        assert limit.held <= 100
    assert went == list(range(200))
    assert limit.held == limit.postponed == 0


@pytest.mark.parametrize(
    "fields",
    [
        {"channel": "C1", "text": "\N{PILE OF POO}" * 1_000},
        {"type": "presence_sub", "ids": [f"U{number}" for number in range(400)]},
        {"type": "api", "method": "x.y", "arguments": {f"a{n}": "b" for n in range(500)}},
    ],
)
def test_a_command_weighs_what_python_makes_of_it(fields: dict[str, object]) -> None:
    """Which can be many times its body."""
    body = json.dumps(fields, ensure_ascii=False).encode()
    assert weight(parse(body)) >= len(body)
