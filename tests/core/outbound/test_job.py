"""Facts about jobs."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from rtmpump.core.outbound.commands import Message
from rtmpump.core.outbound.job import Fingerprint, Job, expiry, fingerprint
from rtmpump.errors import CommandRejected


def job(known_by: Fingerprint, **given: object) -> Job:
    """Return a job with this fingerprint."""
    made = Job(1, known_by, None, b"body", 0.0)
    for name, value in given.items():
        setattr(made, name, value)
    return made


def named(name: str) -> Fingerprint:
    """Return the fingerprint of a message of this id."""
    return fingerprint(b"body", name, None, None)


def test_what_can_not_be_read_has_a_kind_of_its_own() -> None:
    """It is counted, too."""
    assert job(named("a"), command=Message("C1", "x")).kind == "message"
    assert job(named("a")).kind == "invalid"


def test_a_correlation_id_alone_is_no_name() -> None:
    """It may be a constant; who waits for an answer has one of its own."""
    assert fingerprint(b"", "m", None, None).is_named
    assert fingerprint(b"", None, "c", "q").is_named
    assert not fingerprint(b"", None, "c", None).is_named
    assert not fingerprint(b"", None, None, "q").is_named


NOW = 1_700_000_000.25


class Given(NamedTuple):
    """The properties of a delivery."""

    expiration: object
    timestamp: object = None


def expires_in(given: Given) -> float | None:
    """In how many seconds after its delivery a command expires."""
    at = expiry(job(named("a"), received_at=100.0, properties=given), NOW)
    return None if at is None else at - 100.0


def test_an_expiration_counts_from_the_delivery() -> None:
    """Where nothing says how old the command is; none is none."""
    assert expires_in(Given("1500")) == 1.5
    assert expires_in(Given(None, 1_600_000_000)) is None


def test_an_expiration_counts_from_the_timestamp() -> None:
    """From the end of its second: a command of half a second lives half a second at least."""
    assert expires_in(Given("6000", 1_699_999_995)) == pytest.approx(6.0 - 4.25)
    assert expires_in(Given("500", 1_700_000_000)) == 0.5
    assert expires_in(Given("500", 1_699_999_999)) == pytest.approx(0.25)
    assert expires_in(Given("500", 1_699_999_000)) == pytest.approx(0.5 - 999.25)


@pytest.mark.parametrize(
    "timestamp",
    [1_700_000_001, 1_700_000_000_250, 1_699_913_600, 0, -5, 1_699_999_000.5, "1699999000", None],
)
def test_a_timestamp_that_can_not_be_right_counts_for_nothing(timestamp: object) -> None:
    """In the future, in milliseconds, over a day old, or no whole number of seconds."""
    assert expires_in(Given("1500", timestamp)) == 1.5


def test_a_timestamp_of_a_day_ago_counts() -> None:
    """It is the oldest one."""
    assert expires_in(Given("86400000", 1_699_913_601)) == pytest.approx(1.75)


@pytest.mark.parametrize("given", ["soon", "-1", "1.5", "", object()])
def test_an_expiration_that_is_no_number_is_rejected(given: object) -> None:
    """The reason names the property."""
    with pytest.raises(CommandRejected, match="expiration"):
        expires_in(Given(given))
