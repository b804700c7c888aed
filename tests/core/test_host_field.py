"""Which `Host` names us: this machine, what we listen on, and nothing that DNS could point here."""

from __future__ import annotations

import pytest

from rtmpump.core.host_field import is_ours

NAMES = ("Pump.Example", "0.0.0.0")  # noqa: S104 - as it stands in a configuration
OURS = [
    "localhost",
    "LOCALHOST:1",
    "127.9.9.9:80",
    "[::1]:9464",
    "[::ffff:127.0.0.1]",
    "10.0.0.7",
    "10.0.0.7:9465",
    "pump.example:443",
    "0.0.0.0:9465",
]
NOT_OURS = [
    "",
    "evil.example",
    "localhost.evil.example",
    "pump.example.evil",
    "10.0.0.8",
    "a@localhost",
    "localhost:x",
    "localhost:999999",
    "[::2]",
    "[localhost]",
]


@pytest.mark.parametrize("field", OURS)
def test_ours(field: str) -> None:
    """Addresses of loopback, the one that the connection came in on, and the names given."""
    assert is_ours(field, NAMES, "10.0.0.7")
    assert is_ours(field, NAMES, "::ffff:10.0.0.7")


@pytest.mark.parametrize("field", NOT_OURS)
def test_not_ours(field: str) -> None:
    """Anything else, and what is no host at all; no name is ours that was left empty."""
    assert not is_ours(field, NAMES, "10.0.0.7")
    assert not is_ours(field, ("",), "")
