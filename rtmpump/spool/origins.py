"""Where the events of a spool came from: each origin is in the file twice.

Team and epoch make the ids of events, and the source says how to read them. So each stands in two
tables, on pages that are no neighbours: damage to a file mostly takes one page.

Functions that write do so in the open transaction.
"""

from __future__ import annotations

import sqlite3
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NamedTuple

from rtmpump.errors import SpoolCorrupt

SOURCED: Final = 2
"""The format of a file with an origin that has a source; others are of format 1."""
_NAMES: Final = ("origins", "origins_again")
TABLES: Final = tuple(
    f"CREATE TABLE {name} (id INTEGER PRIMARY KEY, team TEXT, bot TEXT, epoch TEXT, crc INTEGER)"
    for name in _NAMES
)
_SOURCE_MARK: Final = "/"


class Origin(NamedTuple):
    """Where an event came from: team id, own user id, and the epoch that its `seq` belongs to.

    `source` says how to read the body; "" means a frame of RTM.
    """

    team: str
    bot: str
    epoch: str
    source: str = ""


def row_crc(*values: object) -> int:
    """Return the CRC-32 of the few values of a state or origin row."""
    return zlib.crc32(repr(values).encode())


def check_origins(db: sqlite3.Connection, path: Path) -> dict[int, Origin]:
    """Return the origins by id.

    Raises:
        SpoolCorrupt: one is missing in one of the two tables, or is damaged there.
    """
    first, second = (_rows(db, table) for table in _NAMES)
    found = _sound(first)
    if first != second or len(found) != len(first):
        raise SpoolCorrupt(str(path), "the checksum of an origin is wrong, or it is missing")
    return found


def read_origins(db: sqlite3.Connection) -> dict[int, Origin]:
    """Return the origins by id as far as one of the two tables has them, damaged or not."""
    found: dict[int, Origin] = {}
    for table in _NAMES:
        with suppress(sqlite3.DatabaseError):
            found |= _sound(_rows(db, table))
    return found


def _rows(db: sqlite3.Connection, table: str) -> list[tuple[Any, ...]]:
    return db.execute(f"SELECT id, team, bot, epoch, crc FROM {table}").fetchall()  # noqa: S608


def _sound(rows: list[tuple[Any, ...]]) -> dict[int, Origin]:
    return {row[0]: _origin(*row[1:4]) for row in rows if row_crc(*row[:4]) == row[4]}


def _origin(team: str, bot: str, epoch: str) -> Origin:
    epoch, _, source = epoch.partition(_SOURCE_MARK)
    return Origin(team, bot, epoch, source)


def write_origin(db: sqlite3.Connection, origin_id: int, origin: Origin) -> None:
    """Add an origin, in the open transaction."""
    epoch = origin.epoch
    if origin.source:
        # An older version would take the whole body for the event.
        db.execute(f"PRAGMA user_version={SOURCED}")
        epoch = f"{epoch}{_SOURCE_MARK}{origin.source}"
    values = (origin_id, origin.team, origin.bot, epoch)
    for table in _NAMES:
        insert = f"INSERT INTO {table} (id, team, bot, epoch, crc) VALUES (?, ?, ?, ?, ?)"  # noqa: S608
        db.execute(insert, (*values, row_crc(*values)))


def delete_origins(db: sqlite3.Connection) -> None:
    """Delete all origins, in the open transaction."""
    for table in _NAMES:
        db.execute(f"DELETE FROM {table}")  # noqa: S608
