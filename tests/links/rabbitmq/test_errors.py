"""links.rabbitmq.errors: what the broker says, in our words."""

from __future__ import annotations

import pytest

from rtmpump.links.rabbitmq.errors import closed_by_broker

# The texts of RabbitMQ 3.10 and 4.1.
TIMED_OUT = (
    "PRECONDITION_FAILED - delivery acknowledgement on channel 1 timed out. Timeout value used: "
    "1800000 ms. This timeout value can be configured, see consumers doc guide to learn more"
)
OTHER_ARGUMENT = (
    "PRECONDITION_FAILED - inequivalent arg 'x-queue-type' for queue 'q' in vhost '/': received "
    "'quorum' but current is 'classic'"
)
NO_TURNS = (
    "PRECONDITION_FAILED - inequivalent arg 'x-single-active-consumer' for queue 'rtm.outbound' in "
    "vhost '/': received 'true' but current is none"
)
TOO_LARGE = "PRECONDITION_FAILED - message size 200 is larger than configured max size 100"
UNKNOWN_TAG = "PRECONDITION_FAILED - unknown delivery tag 7"


@pytest.mark.parametrize(
    ("text", "reason", "fix", "at_once"),
    [
        (TIMED_OUT, "ack_timeout", "raise RabbitMQ's consumer_timeout", True),
        (OTHER_ARGUMENT, "precondition_failed", "delete it or make it alike", False),
        (NO_TURNS, "precondition_failed", "empty it, then delete it", False),
        (TOO_LARGE, "content_too_large", "", False),
        (UNKNOWN_TAG, "precondition_failed", "", False),
    ],
)
def test_one_code_has_many_meanings(text: str, reason: str, fix: str, at_once: bool) -> None:
    """Each has its own word and its own fix; only an argument is a matter of deleting a queue."""
    error = closed_by_broker("broker_commands", 406, text)
    assert (error.reason, error.at_once) == (reason, at_once)
    assert error.detail.startswith(text)
    assert fix in error.detail
    assert ("delete it" in error.detail) is (text in (OTHER_ARGUMENT, NO_TURNS))
