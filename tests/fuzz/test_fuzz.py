"""Facts about strange input, in short: raw bytes, spoiled good input, and a fuzz that can fail."""

from __future__ import annotations

import random
import signal
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz import __main__ as fuzz
from tests.fuzz import targets


@given(st.binary(max_size=300))
@settings(max_examples=300, deadline=None)
def test_any_bytes_as_frame_command_or_headers(data: bytes) -> None:
    """Each has its answer."""
    targets.a_frame(data)
    targets.a_command(data)
    targets.some_headers(data)


@given(data=st.binary(max_size=300) | st.text(max_size=300).map(str.encode))
@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_bytes_as_config(data: bytes, tmp_path: Path) -> None:
    """A config, or one line that says what is wrong."""
    targets.a_config(data, tmp_path)


def test_spoiled_good_input() -> None:
    """What `make fuzz` does, for a second or two; the seed is printed."""
    assert fuzz.main(["--inputs", "15000"]) == 0


def test_a_crash_is_found() -> None:
    """With the input that made it."""

    def crashes(data: bytes) -> None:
        if b"\xff" in data:
            raise IndexError

    with pytest.raises(IndexError):
        fuzz._feed("frame", crashes, 5_000, random.Random(1))


def test_growth_is_found() -> None:
    """Of more than 16 MiB, whatever its cause."""
    kept: list[bytes] = []
    assert fuzz._feed("frame", lambda data: kept.append(data * 100), 5_000, random.Random(1)) == 1


def test_a_hang_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each input has a second, here less."""
    monkeypatch.setattr(fuzz, "_SECOND", 0.05)
    signal.signal(signal.SIGALRM, fuzz._hangs)
    with pytest.raises(fuzz.Hangs):
        fuzz._feed("frame", lambda _data: time.sleep(30), 1, random.Random(1))
