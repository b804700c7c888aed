"""The numbered events: each can be made again from its number alone, to the byte."""

from __future__ import annotations

import json
import random
import re
from hashlib import blake2b
from typing import Final

_NUMBER: Final = re.compile(rb'"n": ?([0-9]{1,12})[,}]')
_FIRST_SECOND: Final = 1_700_000_000
_LARGE: Final = 200_000


def body(number: int) -> bytes:
    """Some have an identity of their own, some share channel and user; few are large."""
    chance = random.Random(number)
    size = int(chance.expovariate(1 / 150)) if number % 5_000 else _LARGE
    padding = "x" * min(size, _LARGE)
    event: dict[str, object] = {"type": "user_typing", "channel": "C0GENERAL", "user": "U0ALICE"}
    if number % 4 == 0:
        ts = f"{_FIRST_SECOND + number // 1_000_000}.{number % 1_000_000:06d}"
        event = {"type": "message", "channel": "C0RANDOM", "user": "U0ALICE", "ts": ts}
    return json.dumps(event | {"n": number, "text": padding}).encode()


def number_of(data: bytes) -> int | None:
    """The number of an event of ours; None for others. ValueError if it isn't as it was sent."""
    found = _NUMBER.search(data[:200])
    if found is None:
        return None
    number = int(found[1])
    if body(number) != data:
        raise ValueError(f"event {number} is not as it was sent: {data[:200]!r}")
    return number


def hashed(message_id: str) -> int:
    """A number for a message id, never 0."""
    return int.from_bytes(blake2b(message_id.encode(), digest_size=8).digest(), "big") or 1
