"""The spool: every accepted event on disk, in order, until the broker has confirmed it.

- `spool` is the queue as the program sees it: turns, confirms, and what happens when it is full.
- `cursor` reads it in order, and can go back.
- `store` holds the rows: one transaction for each change.
- `file` knows the file: its tables, its checksums, and what SQLite's errors mean.
- `lock` is the lock beside the file: one daemon, or several readers.
- `repair` exchanges a damaged file for a new one; `read_only` reads without changing anything.
- `preflight` says before a start whether it can be used.
"""

from rtmpump.spool.cursor import Cursor
from rtmpump.spool.file import Row
from rtmpump.spool.origins import Origin
from rtmpump.spool.repair import Report
from rtmpump.spool.spool import Appended, Spool
from rtmpump.spool.store import Dropped, Peek, Usage

__all__ = ["Appended", "Cursor", "Dropped", "Origin", "Peek", "Report", "Row", "Spool", "Usage"]
