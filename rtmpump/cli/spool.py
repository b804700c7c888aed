"""`spool info|verify|export`: the events on the disk; a running daemon is asked for them.

Only one process may have the spool open. So the command asks the daemon's socket first. If there is
none, it reads the file itself, and changes nothing in it.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Final

import click

from rtmpump.cli.common import (
    ago,
    amount,
    config_option,
    load,
    one_line,
    print_json,
    size,
    start_log,
)
from rtmpump.config import Config
from rtmpump.daemon.control_socket import addressed, socket_path
from rtmpump.daemon.spool_report import ANSWERS, STILL_AT_WORK
from rtmpump.errors import (
    EXIT_DONE,
    EXIT_FAILED,
    RtmpumpError,
    ServiceUnreachable,
    SpoolCorrupt,
    SpoolError,
    SpoolLocked,
)
from rtmpump.spool import Spool
from rtmpump.spool.read_only import find_all_problems

_SECONDS: Final = 10.0
_END: Final = b'{"end":'
_HUNG: Final = "it is starting, stopping or hanging: see `rtmpump status` and its log"
_SAVED: Final = "the next start of the daemon saves what can be read, and sets this file aside"
_UNIT: Final = "give its place with --path; under systemd it is /var/lib/rtmpump/spool.db"

_path_option = click.option(
    "--path",
    "given",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="The spool; else spool.path of the configuration.",
)


@click.group()
def spool() -> None:
    """Look at the spool: the events that RabbitMQ has not confirmed yet.

    A running daemon is asked; of a stopped one the file is read. Nothing is changed, not even in a
    damaged file.
    """


@spool.command()
@config_option
@_path_option
@click.option("--json", "as_json", is_flag=True, help="One JSON object, for machines.")
def info(config_file: str | None, given: Path | None, as_json: bool) -> None:
    """Show how full the spool is, and since when."""
    path, config = _which(config_file, given)
    asked = _ask(path, "info")
    is_running = asked is not None
    (line,) = asked if asked is not None else _look(path, config, "info")
    facts = {**json.loads(line), "running": is_running}
    if as_json:
        print_json(facts)
    else:
        click.echo("\n".join(one_line(line) for line in _in_words(facts)))


@spool.command()
@config_option
@_path_option
@click.option("--json", "as_json", is_flag=True, help="One JSON object, for machines.")
def verify(config_file: str | None, given: Path | None, as_json: bool) -> None:
    """Read the whole spool and show what is wrong; exit with 0 if it is sound, else with 1.

    A running daemon reads each event and its checksum, a few at a time, so that its work goes on.
    The structure of the file is checked at each start of the daemon, and here when it is stopped.
    """
    path, _ = _which(config_file, given)
    asked = _ask(path, "verify")
    if asked is None:
        with _with_fixes(path):
            problems = find_all_problems(path)
    else:
        problems = [json.loads(line) for line in asked]
    if as_json:
        print_json({"path": str(path), "ok": not problems, "problems": problems})
    else:
        click.echo("\n".join(one_line(line) for line in problems) or f"{path} is sound")
    sys.exit(EXIT_FAILED if problems else EXIT_DONE)


@spool.command()
@config_option
@_path_option
@click.option("-o", "--output", metavar="FILE", help="Write there and not to standard output.")
def export(config_file: str | None, given: Path | None, output: str | None) -> None:
    """Print the waiting events, one JSON object a line; they stay in the spool.

    Fields: seq, received_at (milliseconds), team, bot, message_id, routing_key, and body: a
    string, with "base64": true if it is not UTF-8.
    """
    path, config = _which(config_file, given)
    asked = _ask(path, "export")
    lines = asked if asked is not None else _look(path, config, "export")
    with _opened(output) as file:
        count = 0
        for chunk in lines:
            file.write(chunk)
            count += chunk.count(b"\n")
    if output:
        click.echo(f"exported {amount(count, 'event')} to {one_line(output)}", err=True)


def _which(config_file: str | None, given: Path | None) -> tuple[Path, Config]:
    config = load(config_file, need_token=False).config
    start_log(config)
    return Path(os.path.realpath(given or config.spool.path)), config


def _look(path: Path, config: Config, question: str) -> Iterator[bytes]:
    """Answer the question from the spool of a stopped daemon."""
    with _with_fixes(path):
        spool = Spool.open_read_only(path, max_bytes=config.spool.max_bytes)
    try:
        yield from ANSWERS[question](spool)
    finally:
        spool.close()


@contextmanager
def _with_fixes(path: Path) -> Iterator[None]:
    """Add what to do if the spool is locked, damaged or missing."""
    try:
        yield
    except SpoolLocked as error:
        detail = "it holds the spool and does not answer"
        raise ServiceUnreachable(f"the daemon of {path}", detail, _HUNG) from error
    except SpoolCorrupt as error:
        problem = f"it is damaged: {error.problem.splitlines()[-1]}"
        raise SpoolError(error.path, problem, _SAVED) from error
    except SpoolError as error:
        if _is_missing(path):
            raise SpoolError(error.path, error.problem, _UNIT) from error
        raise


def _is_missing(path: Path) -> bool:
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        pass
    return False


def _ask(path: Path, question: str) -> Iterator[bytes] | None:
    """Ask the daemon that has this spool open; return None if none listens."""
    asker = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    asker.settimeout(_SECONDS)
    try:
        with addressed(socket_path(path)) as address:
            asker.connect(address)
    except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError):
        asker.close()
        return None
    except OSError as error:
        asker.close()
        problem = error.strerror or str(error)
        detail = f"{socket_path(path)}: {problem}"
        raise ServiceUnreachable("the daemon", detail, "ask as its user or as root") from error
    return _answer(asker, path, question)


def _answer(asker: socket.socket, path: Path, question: str) -> Iterator[bytes]:
    daemon = f"the daemon of {path}"
    try:
        with asker, asker.makefile("rb") as lines:
            asker.sendall(question.encode() + b"\n")
            for line in lines:
                if line.startswith(_END):
                    _end_well(json.loads(line)["end"])
                    return
                if line != STILL_AT_WORK:
                    yield line
    except TimeoutError as error:
        raise ServiceUnreachable(daemon, f"no answer within {_SECONDS:g} s", _HUNG) from error
    except OSError as error:
        raise ServiceUnreachable(daemon, error.strerror or str(error), _HUNG) from error
    raise ServiceUnreachable(daemon, "it stopped before the end", _HUNG)


def _end_well(problem: str) -> None:
    if problem:
        raise RtmpumpError(problem)


@contextmanager
def _opened(output: str | None) -> Iterator[BinaryIO]:
    if output is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    try:
        with open(output, "wb", opener=_open_private) as file:
            yield file
    except OSError as error:
        raise RtmpumpError(f"can't write {output}: {error.strerror or error}") from error


def _open_private(name: str, flags: int) -> int:
    """Open a file for its owner only: it holds the text of messages, as the spool does."""
    return os.open(name, flags, 0o600)


def _in_words(facts: dict[str, Any]) -> Iterator[str]:
    yield f"spool {facts['path']} ({'of a running daemon' if facts['running'] else 'stopped'})"
    oldest = facts["oldest_seconds"]
    since = "" if oldest is None else f", the oldest came {ago(oldest)}"
    yield f"  events  {facts['events']:,} waiting{since}"
    room = facts["events_max_bytes"]
    share = 1.0 if facts["is_full"] else min(facts["bytes"] / room, 1.0)
    what = f"{size(facts['bytes'])} of the {size(room)} that events may take ({share:.1%})"
    yield f"  size    {what}{', and it refuses more' if facts['is_full'] else ''}"
    first = "" if facts["first_seq"] is None else f"first {facts['first_seq']}, "
    yield f"  seq     {first}last {facts['last_seq']}"
    yield f"  epoch   {facts['epoch']}"
    for name in facts["set_aside"]:
        yield f"  a damaged spool was set aside: {name}"
