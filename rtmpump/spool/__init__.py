"""The spool: every accepted event on disk, in order, until the broker has confirmed it.

- `spool` is the queue as the rest of the program sees it: turns, confirms, what to do when full.
- `store` holds the rows: one transaction for each change.
- `file` knows the file: its lock, its tables, its checksums, and what SQLite's errors mean.
- `repair` exchanges a damaged file for a new one; `read_only` reads without touching.
"""

from rtmpump.spool.file import Origin, Row
from rtmpump.spool.spool import Appended, Dropped, Measure, Peek, Spool, Told

__all__ = ["Appended", "Dropped", "Measure", "Origin", "Peek", "Row", "Spool", "Told"]
