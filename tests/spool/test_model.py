"""The spool against a plain list: any run of appends, reads, confirms, restarts and crashes."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from rtmpump.spool import Origin
from tests.support.spool import image, opened

pytestmark = pytest.mark.slow

bodies = st.one_of(st.binary(max_size=40), st.integers(0, 9000).map(lambda n: b"\xff" * n))
batches = st.lists(st.tuples(st.integers(0, 1 << 45), bodies), max_size=12)


class SpoolMachine(RuleBasedStateMachine):
    """`events` is all that was ever accepted; `floor` is what is surely gone from the disk."""

    @initialize()
    def begin(self) -> None:
        """Make a new spool."""
        self.folder = Path(tempfile.mkdtemp())
        self.path = self.folder / "spool.db"
        self.spool = opened(self.path)
        self.epoch = self.spool.epoch
        self.events: list[tuple[int, int, bytes, Origin]] = []
        self.confirmed = self.floor = self.crashes = 0

    def teardown(self) -> None:
        """Clean up."""
        self.spool.close()
        shutil.rmtree(self.folder)

    def _begin_epoch(self) -> None:
        """Each start has an epoch of its own."""
        assert self.spool.epoch != self.epoch
        self.epoch = self.spool.epoch

    def _accept(self, batch: list[tuple[int, bytes]], team: str) -> None:
        origin = Origin(team, f"U-{team}", self.epoch)
        appended = self.spool.append(batch, team=team, bot=origin.bot)
        for received_ms, body in batch:
            self.events.append((len(self.events) + 1, received_ms, body, origin))
        assert appended == (len(self.events), None)

    @rule(batch=batches, team=st.sampled_from(["T1", "T2", "Tö"]))
    def append(self, batch: list[tuple[int, bytes]], team: str) -> None:
        """Accept a batch."""
        self._accept(batch, team)

    @rule(count=st.integers(1000, 3000))
    def append_many(self, count: int) -> None:
        """Accept so many that deletes are cut into chunks."""
        self._accept([(count, b"many")] * count, "T1")

    @rule(back=st.integers(0, 50), limit=st.integers(0, 30), size=st.integers(0, 20_000))
    def read(self, back: int, limit: int, size: int) -> None:
        """Read anywhere: what waits comes in order, within the limits."""
        after = max(self.confirmed - 10, len(self.events) - back, 0)
        found = self.spool.read(after, limit, size)
        waiting = self.events[max(after, self.confirmed) :]
        assert [tuple(row) for row in found] == waiting[: len(found)]
        assert len(found) >= min(1, limit, len(waiting))
        assert len(found) < 2 or sum(len(row.body) for row in found) <= size
        assert len(found) <= limit

    @rule(part=st.floats(0, 1))
    def confirm(self, part: float) -> None:
        """Confirm some of what waits."""
        upto = self.confirmed + int(part * (len(self.events) - self.confirmed))
        self.spool.confirm(upto)
        self.confirmed = upto

    @rule()
    def flush(self) -> None:
        """After a flush no crash brings the confirmed back."""
        assert self.spool.flush()
        self.floor = self.confirmed

    @rule()
    def reopen(self) -> None:
        """Stop and start."""
        self.spool.close()
        self.floor = self.confirmed
        self.spool = opened(self.path)
        self._begin_epoch()

    @rule()
    def crash(self) -> None:
        """Go on with the files as they are now; confirmed events may be back."""
        self.crashes += 1
        copy = image(self.path, self.folder / str(self.crashes))
        self.spool.close()
        self.path, self.spool = copy, opened(copy)
        self._begin_epoch()
        back = self.spool.usage().first_seq - 1
        assert self.floor <= back <= self.confirmed
        self.confirmed = self.floor = back

    @rule()
    def verify(self) -> None:
        """Check that the file is sound at any time."""
        assert self.spool.verify() == []

    @invariant()
    def agrees(self) -> None:
        """All that can be measured is as in the list."""
        waiting = self.events[self.confirmed :]
        measure = self.spool.usage()
        assert measure.events == len(waiting)
        assert (measure.first_seq, measure.last_seq) == (self.confirmed + 1, len(self.events))
        assert measure.oldest_received_ms == (waiting[0][1] if waiting else None)
        assert self.spool.watermark_ms == (self.events[-1][1] if self.events else None)
        assert self.spool.epoch == self.epoch


SpoolMachine.TestCase.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
TestSpoolModel = SpoolMachine.TestCase
