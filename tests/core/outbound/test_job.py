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


class Given(NamedTuple):
    """The properties of a delivery."""

    expiration: object


def test_an_expiration_counts_from_the_delivery() -> None:
    """RabbitMQ counts up to there; none is none."""
    one = job(named("a"), received_at=100.0, properties=Given("1500"))
    assert expiry(one) == 101.5
    one.properties = Given(None)
    assert expiry(one) is None


@pytest.mark.parametrize("given", ["soon", "-1", "1.5", "", object()])
def test_an_expiration_that_is_no_number_is_rejected(given: object) -> None:
    """The reason names the property."""
    with pytest.raises(CommandRejected, match="expiration"):
        expiry(job(named("a"), properties=Given(given)))
