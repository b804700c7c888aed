"""Facts about what a new process takes for known."""

from __future__ import annotations

from pathlib import Path

import pytest

from rtmpump.daemon.wiring import newest_accepted
from rtmpump.errors import SpoolFailed
from rtmpump.spool import Spool
from tests.support.spool import START_MS, opened

pytestmark = pytest.mark.quick


def test_only_what_no_power_cut_can_take_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A repeat of it is acknowledged at once; so nothing is known while the disk fails."""
    spool = opened(tmp_path / "spool.db", sync="full")
    for number in range(5):
        source = "socket" if number else ""
        items = [(START_MS + number, b"%d" % number)]
        spool.append(items, team="T1", bot="U1", source=source)
    assert list(newest_accepted(spool, 3)) == [b"2", b"3", b"4"]
    assert list(newest_accepted(spool, 100)) == [b"1", b"2", b"3", b"4"]

    def fail(_self: Spool) -> None:
        raise SpoolFailed("spool.db", "Input/output error")

    with monkeypatch.context() as disk:
        disk.setattr(Spool, "sync", fail)
        assert list(newest_accepted(spool, 100)) == []
    spool.close()
