"""The gaps that are still to be filled, in a small file beside the spool.

Laws:

- A gap is on disk before the event that announces it is, and leaves when the event that closes it
  is in the spool. So a pump that is killed in the middle fills it at its next start; what it
  fetches again has the same message ids.
- The file is replaced as a whole, by a rename. A file that can't be read is set aside and logged:
  its gaps stay unfilled, and nothing else happens.
- A disk that fails ends nothing: that is logged, and the gaps are known until the process ends.
- At most `GAPS_MAX` gaps are kept; past that the two oldest become one that covers both.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Final

import msgspec

from rtmpump.core.missed_messages import OpenGap
from rtmpump.spool import Report
from rtmpump.spool.file import beside, sync_path

GAPS_MAX: Final = 64


class GapFile:
    """Any thread may call any method; an OpenGap's fields belong to the pump that fills it."""

    def __init__(self, spool: Path, report: Report) -> None:
        """Read the file beside the spool, if there is one.

        `report` is called with the name and the fields of a log event.
        """
        self._path = beside(Path(os.path.realpath(spool)), "-gaps")
        self._report = report
        self._lock = threading.Lock()
        self._under_way: OpenGap | None = None
        self._gaps = self._read()

    def add(self, gap: OpenGap) -> None:
        """Keep a gap; it replaces those that it covers and that were not begun.

        Gaps of another team are dropped: the token of today can't read what was said there.
        """
        with self._lock:
            ours = [one for one in self._gaps if one.team == gap.team]
            if len(ours) < len(self._gaps):
                self._report("gaps.of_another_team", {"count": len(self._gaps) - len(ours)})
            self._gaps = [one for one in ours if self._is_begun(one) or not gap.covers(one)]
            self._gaps.append(gap)
            if len(self._gaps) > GAPS_MAX:
                self._join_oldest()
            self._write()

    def first(self) -> OpenGap | None:
        """Return the oldest gap."""
        with self._lock:
            return self._gaps[0] if self._gaps else None

    def begin(self, gap: OpenGap) -> None:
        """Note that a gap is being filled: from now on no other replaces it."""
        with self._lock:
            self._under_way = gap

    def save(self) -> None:
        """Write to disk how far the gaps are filled."""
        with self._lock:
            self._write()

    def close(self, gap: OpenGap) -> None:
        """Drop a gap that is filled as far as it can be."""
        with self._lock:
            self._gaps = [one for one in self._gaps if one is not gap]
            self._write()

    def covers(self, from_ms: int, to_ms: int) -> bool:
        """Return whether a gap that is still to be filled begins before this one and ends after."""
        return any(one.from_ms <= from_ms and to_ms <= one.to_ms for one in self._gaps)

    @property
    def present(self) -> OpenGap | None:
        """The oldest gap, as `first` gives it, without a wait for a disk."""
        gaps = self._gaps
        return gaps[0] if gaps else None

    def __len__(self) -> int:
        return len(self._gaps)

    def _is_begun(self, gap: OpenGap) -> bool:
        # Slack may not have answered yet, for hours.
        return gap.is_begun or gap is self._under_way

    def _join_oldest(self) -> None:
        # The very first may be under way.
        one, other = self._gaps[1:3]
        from_ms, to_ms = min(one.from_ms, other.from_ms), max(one.to_ms, other.to_ms)
        self._gaps[1:3] = [OpenGap(from_ms, to_ms, other.team, other.bot)]

    def _read(self) -> list[OpenGap]:
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=list[OpenGap])
        except FileNotFoundError:
            return []
        except OSError as error:
            self._report("gaps.unreadable", {"file": str(self._path), "problem": error.strerror})
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            aside = beside(self._path, ".corrupt")
            os.replace(self._path, aside)
            self._report("gaps.set_aside", {"file": str(aside), "problem": str(error)})
        return []

    def _write(self) -> None:
        draft = beside(self._path, ".new")
        try:
            draft.touch(0o600)
            draft.write_bytes(msgspec.json.encode(self._gaps))
            sync_path(draft)
            os.replace(draft, self._path)
            sync_path(self._path.parent)
        except OSError as error:
            self._report("gaps.not_saved", {"file": str(self._path), "problem": error.strerror})
