"""Facts about `rtmpump spool`: of a running daemon, of a stopped one, of damaged files."""

from __future__ import annotations

import base64
import json
import os
import signal
import socket
import stat
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from rtmpump.sandbox.slack.workspace import Workspace
from tests.support.cli import Running, rtmpump
from tests.support.pump import SHORT_STOP, PumpProcess
from tests.support.spool import PAGE, body, child, leaves, line, made, opened, put, scribble
from tests.support.waiting import SECONDS, wait_until

NOBODY = "amqp://guest:guest@127.0.0.1:1/%2F"
KILLED = """
import sys, os
from pathlib import Path
from tests.support.spool import opened, put
put(opened(Path(sys.argv[1])), 700)
print("put", flush=True)
sys.stdin.read()
"""


def files(folder: Path) -> dict[str, tuple[Any, ...]]:
    """Every file with its content, owner, mode and time of change."""
    return {
        file.name: (
            (info := file.stat()).st_uid,
            info.st_gid,
            info.st_mode,
            info.st_mtime_ns,
            file.read_bytes() if stat.S_ISREG(info.st_mode) else b"",
        )
        for file in folder.iterdir()
    }


def ask(path: Path, what: str, *args: str) -> Any:
    """Run `rtmpump spool WHAT --path` in another folder than that of the spool."""
    return rtmpump(path.parent.parent, "spool", what, "--path", str(path), *args)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the spool is, and nothing else."""
    (tmp_path / "state").mkdir()
    return tmp_path / "state"


@pytest.fixture
def killed(folder: Path) -> Path:
    """Make a spool whose daemon was killed: 700 events are only in its write-ahead log."""
    path = folder / "spool.db"
    with child(KILLED, path) as process:
        assert line(process) == "put"
    assert path.stat().st_size == PAGE
    return path


def test_a_stopped_spool_is_looked_at_and_not_touched(killed: Path) -> None:
    """All three read what the log holds, and change no file, not even its time."""
    before = files(killed.parent)
    facts = json.loads(ask(killed, "info", "--json").stdout)
    assert (facts["events"], facts["first_seq"], facts["last_seq"]) == (700, 1, 700)
    assert (facts["running"], facts["path"], facts["set_aside"]) == (False, str(killed), [])
    sound = ask(killed, "verify")
    assert (sound.returncode, sound.stdout) == (0, f"{killed} is sound\n")
    exported = ask(killed, "export").stdout.splitlines()
    assert [json.loads(text)["seq"] for text in exported] == list(range(1, 701))
    assert files(killed.parent) == before


@pytest.mark.skipif(os.getuid() != 0, reason="only root may look at what is another's")
def test_root_leaves_the_spool_of_another_user_to_it(killed: Path) -> None:
    """As with systemd's DynamicUser: no file becomes root's, so the daemon can start again."""
    for file in killed.parent.iterdir():
        os.chown(file, 65534, 65534)
    killed.with_name("spool.db.lock").unlink()
    before = files(killed.parent)
    for what in ("info", "verify", "export"):
        assert ask(killed, what).returncode == 0
    assert files(killed.parent) == before


def test_info_is_for_people(folder: Path) -> None:
    """How many, how large, since when; and what was set aside beside it."""
    path = folder / "spool.db"
    epoch = made(path, 1200, confirmed=200)
    (folder / "spool.db.corrupt-20260101T000000Z").write_bytes(b"x")
    (folder / "spool.db.corrupt-20260101T000000Z-wal").write_bytes(b"x")
    done = ask(path, "info")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0] == f"spool {path} (stopped)"
    assert lines[1].startswith("  events  1,000 waiting, the oldest came ")
    assert lines[2].endswith(" KiB of the 1018.0 MiB that events may take (0.0%)")
    assert lines[3:] == [
        "  seq     first 201, last 1200",
        f"  epoch   {epoch}",
        f"  a damaged spool was set aside: {path}.corrupt-20260101T000000Z",
    ]


def test_export_tells_each_event_as_consumers_get_it(folder: Path) -> None:
    """With routing key and message id; what is no UTF-8 comes in base64."""
    path = folder / "spool.db"
    spool = opened(path)
    message = '{"type":"message","channel":"C1","ts":"1.000001","text":"h\\u00e9 ☃"}'
    spool.append([(1700, message.encode()), (1701, b"\xff\x00")], team="T1", bot="U1")
    spool.close()
    first, second = map(json.loads, ask(path, "export").stdout.splitlines())
    assert first == {
        "seq": 1,
        "received_at": 1700,
        "team": "T1",
        "bot": "U1",
        "message_id": "m:T1:C1:1.000001:",
        "routing_key": "message",
        "body": message,
    }
    assert base64.b64decode(second["body"]) == b"\xff\x00"
    assert (second["base64"], second["routing_key"]) == (True, "unknown")
    assert second["message_id"] == f"s:{spool.epoch}:2"


def test_export_to_a_file_keeps_it_private(folder: Path) -> None:
    """It holds what people wrote."""
    made(folder / "spool.db", 3)
    target = folder.parent / "out.jsonl"
    done = ask(folder / "spool.db", "export", "-o", str(target))
    assert (done.stdout, done.stderr) == ("", f"exported 3 events to {target}\n")
    assert len(target.read_text().splitlines()) == 3
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    refused = ask(folder / "spool.db", "export", "-o", "/nowhere/x")
    assert refused.returncode == 1
    assert refused.stderr == "rtmpump: can't write /nowhere/x: No such file or directory\n"


@pytest.mark.parametrize("what", ["info", "verify", "export"])
def test_a_spool_that_is_not_there_is_not_made(folder: Path, what: str) -> None:
    """One line with the place where systemd has it."""
    done = ask(folder / "spool.db", what)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"rtmpump: spool {folder}/spool.db: there is no such file; "
        "give its place with --path; under systemd it is /var/lib/rtmpump/spool.db\n"
    )
    assert list(folder.iterdir()) == []


def test_the_spool_is_that_of_the_configuration(folder: Path) -> None:
    """Without --path."""
    made(folder / "spool.db", 3)
    file = folder.parent / "own.toml"
    file.write_text(f'[spool]\npath = "{folder}/spool.db"\nmax_bytes = "16MiB"\n')
    done = rtmpump(folder.parent, "spool", "info", "--json", "-c", str(file))
    assert json.loads(done.stdout)["max_bytes"] == 16 << 20


def test_a_flipped_byte_is_found_and_the_rest_exported(folder: Path) -> None:
    """SQLite doesn't see it, the checksum does."""
    path = folder / "spool.db"
    made(path, 100)
    at = path.read_bytes().index(body(42, 0))
    scribble(path, at, b"X")
    before = files(folder)
    done = ask(path, "verify", "--json")
    facts = json.loads(done.stdout)
    assert (done.returncode, facts["ok"]) == (1, False)
    assert facts["problems"] == ["the checksum of event 42 is wrong"]
    exported = ask(path, "export")
    assert exported.returncode == 1
    assert len(exported.stdout.splitlines()) == 99
    assert "not all of it could be read" in exported.stderr
    assert files(folder) == before


@pytest.mark.parametrize("kind", ["page", "junk", "log only"])
def test_a_damaged_spool_is_told_in_one_line_and_left(folder: Path, kind: str) -> None:
    """The command info reports it; verify prints each problem on a line; nothing is repaired."""
    path = folder / "spool.db"
    if kind == "page":
        made(path, 1000)
        scribble(path, leaves(path, 500, 500)[0] * PAGE, b"\xff" * PAGE)
    elif kind == "junk":
        path.write_bytes(b"no spool" * 2000)
    else:
        path.touch()
        path.with_name("spool.db-wal").write_bytes(b"x" * 5000)
    before = files(folder)
    info = ask(path, "info")
    assert (info.returncode, info.stdout) == (1, "")
    assert info.stderr.startswith(f"rtmpump: spool {path}: it is damaged: ")
    assert "next start of the daemon saves what can be read" in info.stderr
    assert info.stderr.count("\n") == 1
    verify = ask(path, "verify")
    assert verify.returncode == 1
    assert verify.stdout.strip()
    assert "\\n" not in verify.stdout
    assert files(folder) == before


def test_a_repair_that_was_cut_off_is_not_completed(folder: Path) -> None:
    """What it salvaged is shown, and the next start finds all as it was."""
    made(folder / "spool.db.salvaged", 5)
    for leftover in folder.glob("*.lock"):
        leftover.unlink()
    (folder / "spool.db").write_bytes(b"damaged")
    before = files(folder)
    facts = json.loads(ask(folder / "spool.db", "info", "--json").stdout)
    assert facts["events"] == 5
    assert files(folder) == before


# Of a running daemon. Its broker is away, so that what comes stays in the spool.


@pytest.fixture
def pump(tmp_path: Path, workspace: Workspace) -> Any:
    """Run a pump whose spool holds at least 501 events: hello, ours, and its own."""
    with PumpProcess(tmp_path, workspace, NOBODY, program=SHORT_STOP) as pump:
        pump.wait_ready("slack")
        for number in range(500):
            text = {"type": "message", "channel": "C1", "text": f"☃{number}", "ts": f"{number}.1"}
            workspace.emit(text)
        wait_until(lambda: asked(pump)["events"] >= 502)
        yield pump


def asked(pump: PumpProcess) -> Any:
    """Return what `spool info --json` prints."""
    done = rtmpump(pump.folder, "spool", "info", "--json", "-c", str(pump.config))
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)


def test_a_running_daemon_answers_for_its_spool(pump: PumpProcess) -> None:
    """It alone may open the file; who asks gets the same as from a stopped one."""
    facts = asked(pump)
    assert (facts["running"], facts["path"]) == (True, str(pump.spool))
    args = ("-c", str(pump.config))
    assert rtmpump(pump.folder, "spool", "info", *args).stdout.startswith(
        f"spool {pump.spool} (of a running daemon)\n"
    )
    assert rtmpump(pump.folder, "spool", "verify", *args).stdout == f"{pump.spool} is sound\n"
    events = rtmpump(pump.folder, "spool", "export", *args).stdout.splitlines()
    texts = [json.loads(json.loads(text)["body"]).get("text") for text in events]
    assert [text for text in texts if text] == [f"☃{number}" for number in range(500)]
    pump.kill()
    again = rtmpump(pump.folder, "spool", "export", *args).stdout.splitlines()
    assert again[: len(events)] == events


def test_the_socket_is_private_and_goes_with_the_daemon(pump: PumpProcess) -> None:
    """A killed daemon leaves it; the next one takes its place."""
    path = pump.folder / "spool.db.sock"
    assert stat.S_IMODE(path.lstat().st_mode) == 0o600
    pump.kill()
    stale = path.lstat()
    assert (
        json.loads(rtmpump(pump.folder, "spool", "info", "--json", "-c", str(pump.config)).stdout)[
            "running"
        ]
        is False
    )
    assert path.lstat() == stale
    pump.start().wait_ready("slack")
    assert asked(pump)["running"] is True
    pump.terminate()
    assert pump.wait() == 0
    assert not path.exists()


def test_a_daemon_that_hangs_is_told(pump: PumpProcess) -> None:
    """It holds the spool, so it can't be read: exit code 69, and what to do."""
    pump.signal(signal.SIGSTOP)
    try:
        with Running(pump.folder, "spool", "info", "-c", str(pump.config)) as info:
            assert info.wait() == 69
    finally:
        pump.signal(signal.SIGCONT)
    (error,) = info.errors
    assert error.startswith(f"rtmpump: the daemon of {pump.spool} is not reachable: no answer")
    assert "it is starting, stopping or hanging" in error


def test_a_held_spool_without_a_socket_is_told(folder: Path) -> None:
    """As of a daemon that is just starting."""
    spool = opened(folder / "spool.db")
    try:
        done = ask(folder / "spool.db", "verify")
    finally:
        spool.close()
    assert done.returncode == 69
    assert (
        "it holds the spool and does not answer; it is starting, stopping or hanging" in done.stderr
    )
    assert done.stderr.count("\n") == 1


def test_a_reader_that_stands_still_holds_up_neither_events_nor_the_stop(
    tmp_path: Path, workspace: Workspace
) -> None:
    """Four who ask and read nothing: the spool takes events, and the daemon ends in order."""
    spool = opened(tmp_path / "spool.db")
    put(spool, 1000, size=4000)
    spool.close()
    askers = [socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) for _ in range(5)]
    with ExitStack() as stack:
        for asker in askers:
            stack.enter_context(asker)
        pump = stack.enter_context(PumpProcess(tmp_path, workspace, NOBODY, program=SHORT_STOP))
        pump.wait_ready("slack")
        for asker in askers:
            asker.settimeout(SECONDS)
            asker.connect(str(tmp_path / "spool.db.sock"))
            asker.sendall(b"export\n")
        # More than a socket holds waits for each of four; for the fifth there is no place.
        assert json.loads(askers[4].recv(1000)) == {"end": "too many ask at once; try again soon"}
        workspace.emit({"type": "message", "channel": "C1", "text": "later", "ts": "1.000001"})
        pump.terminate()
        assert pump.wait() == 0
    done = rtmpump(pump.folder, "spool", "export", "-c", str(pump.config))
    assert len(done.stdout.splitlines()) > 1000


def test_a_place_with_a_long_name_has_a_socket_too(tmp_path: Path, workspace: Workspace) -> None:
    """Beyond the 107 bytes that a socket's address may have."""
    folder = tmp_path / ("d" * 100) / ("e" * 100)
    folder.mkdir(parents=True)
    spool = {"path": str(folder / "spool.db")}
    with PumpProcess(tmp_path, workspace, NOBODY, program=SHORT_STOP, spool=spool) as pump:
        pump.wait_ready("slack")
        assert asked(pump)["path"] == str(folder / "spool.db")
        pump.terminate()
        assert pump.wait() == 0
    assert not list(folder.glob("*.sock"))


def test_what_is_no_socket_is_not_replaced(tmp_path: Path, workspace: Workspace) -> None:
    """The daemon reports it and works without; a client hears that it does not answer."""
    (tmp_path / "spool.db.sock").write_text("mine")
    with PumpProcess(tmp_path, workspace, NOBODY, program=SHORT_STOP) as pump:
        pump.wait_ready("slack")
        assert pump.wait_log("spool.no_socket")["problem"] == "Address already in use"
        done = rtmpump(tmp_path, "spool", "info", "-c", str(pump.config))
    assert done.returncode == 69
    assert (tmp_path / "spool.db.sock").read_text() == "mine"


def test_a_running_daemon_tells_of_a_damaged_event(tmp_path: Path, workspace: Workspace) -> None:
    """The command `verify` exits with 1 and names it; the daemon goes on."""
    spool = opened(tmp_path / "spool.db")
    put(spool, 500)
    spool.close()
    at = (tmp_path / "spool.db").read_bytes().index(body(300, 0))
    scribble(tmp_path / "spool.db", at, b"X")
    with PumpProcess(tmp_path, workspace, NOBODY, program=SHORT_STOP) as pump:
        pump.wait_ready("slack")
        done = rtmpump(tmp_path, "spool", "verify", "-c", str(pump.config))
        exported = rtmpump(tmp_path, "spool", "export", "-c", str(pump.config))
        assert asked(pump)["first_seq"] == 1
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout == "event 300 is damaged: its checksum is wrong\n"
    assert exported.returncode == 1
    assert len(exported.stdout.splitlines()) >= 500
    assert '"seq":300,' not in exported.stdout
