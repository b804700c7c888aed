"""Facts about `rtmpump` as a person meets it: help, exit codes, run, check, topology."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from rtmpump.sandbox.slack.workspace import Workspace
from tests.conftest import StartPump
from tests.support.broker import Broker
from tests.support.cli import Running, config_file, environment, rtmpump
from tests.support.paths import ROOT
from tests.support.waiting import SECONDS

NOBODY = "amqp://guest:pass-word@127.0.0.1:1/%2F"


def test_help_tells_each_command_without_importing_what_is_heavy(tmp_path: Path) -> None:
    """`--help` is quick since none of the libraries are loaded for it."""
    program = (
        "import sys\n"
        "from rtmpump.cli import main\n"
        "main(['--help'], standalone_mode=False)\n"
        "print(*sorted(sys.modules))\n"
    )
    # Coverage, where it measures, imports sqlite3 for itself.
    env = {key: of for key, of in environment().items() if not key.startswith("COVERAGE_")}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=env,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=True,
    )
    text, _, modules = done.stdout.rstrip().rpartition("\n")
    for name in ("run", "check", "demo", "tail", "send", "status", "spool", "dead", "topology"):
        assert f"\n  {name} " in text
    heavy = {"pika", "slack_sdk", "websocket", "msgspec", "structlog", "tenacity", "sqlite3"}
    assert not heavy & set(modules.split())


@pytest.mark.parametrize(
    ("typed", "hint"),
    [
        ("stauts", "Did you mean `rtmpump status`?"),
        ("chek", "Did you mean `rtmpump check`?"),
        (
            "xyzzy",
            "There are run, init, manifest, check, demo, tail, send, status, spool, dead,"
            " gateway, topology.",
        ),
    ],
)
def test_a_command_that_does_not_exist_is_told_the_nearest_one(
    tmp_path: Path, typed: str, hint: str
) -> None:
    """Or all of them."""
    done = rtmpump(tmp_path, typed)
    assert done.returncode == 2
    assert done.stderr.endswith(f"No such command '{typed}'. {hint}\n")


@pytest.mark.parametrize("after", [[], ["-c", "/of/the/command"]])
def test_the_configuration_may_be_named_before_the_command(
    tmp_path: Path, after: list[str]
) -> None:
    """That after it counts, if both are there."""
    done = rtmpump(tmp_path, "-c", "/before/it", "check", *after)
    named = after[-1] if after else "/before/it"
    assert (done.returncode, done.stderr) == (78, f"rtmpump: --config: no such file: {named}\n")


@pytest.mark.parametrize("name", ["run", "check", "tail", "send", "status", "topology"])
def test_each_command_has_help_and_a_config_option(tmp_path: Path, name: str) -> None:
    """`rtmpump NAME --help` exits with 0 and shows --config."""
    done = rtmpump(tmp_path, name, "--help")
    assert done.returncode == 0
    assert "-c, --config FILE" in done.stdout


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
@pytest.mark.parametrize(
    ("words", "proposed"),
    [
        ("rtmpump s", {"send", "status", "spool"}),
        ("rtmpump spool ", {"info", "verify", "export"}),
        ("rtmpump dead r", {"retry"}),
        ("rtmpump dead drop --", {"--config", "--id", "--all", "--json", "--yes", "--help"}),
    ],
)
def test_a_shell_is_told_the_commands(
    tmp_path: Path, shell: str, words: str, proposed: set[str]
) -> None:
    """Completion finds commands, those of a group, and options; a name it doesn't know is none."""
    last = words.rpartition(" ")[2]
    count = last if shell == "fish" else str(len(words.split(" ")) - 1)
    env = {"_RTMPUMP_COMPLETE": f"{shell}_complete", "COMP_WORDS": words, "COMP_CWORD": count}
    program = "from rtmpump.cli import main; main(prog_name='rtmpump')"
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env=environment(env),
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert proposed <= set(re.split(r"[\n,\t]", done.stdout))
    assert "topology" not in done.stdout


def test_bash_completes_with_the_line_of_the_documentation(tmp_path: Path) -> None:
    """The line of docs/operate.md defines a completion that proposes the commands."""
    (tmp_path / "rtmpump").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m rtmpump "$@"\n')
    (tmp_path / "rtmpump").chmod(0o700)
    page = (ROOT / "docs" / "operate.md").read_text()
    line = next(line for line in page.splitlines() if "_RTMPUMP_COMPLETE=bash_source" in line)
    script = f"{line.partition('#')[0]}\n" + (
        "COMP_WORDS=(rtmpump st) COMP_CWORD=1; _rtmpump_completion rtmpump; "
        'complete -p rtmpump; echo "${COMPREPLY[@]}"'
    )
    done = subprocess.run(
        ["bash", "--norc", "-c", script],
        env=environment({"PATH": f"{tmp_path}:{os.environ['PATH']}"}),
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.stderr == ""
    assert done.stdout.splitlines()[-1] == "status"


@pytest.mark.parametrize("args", [("nonsense",), ("check", "--nonsense"), ("send", "general")])
def test_wrong_usage_is_2(tmp_path: Path, args: tuple[str, ...]) -> None:
    """An unknown command, an unknown option and a missing argument are wrong usage."""
    done = rtmpump(tmp_path, *args)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Error: " in done.stderr


@pytest.mark.parametrize("name", ["run", "check"])
def test_a_wrong_config_is_78_and_one_line_for_each_mistake(tmp_path: Path, name: str) -> None:
    """Each names file, line, key and the nearest right name."""
    file = tmp_path / "bad.toml"
    file.write_text('[slack]\npingg_interval = 3\n[log]\nlevel = "loud"\n')
    done = rtmpump(tmp_path, name, "-c", str(file), env={"SLACK_API_TOKEN": "xoxb-1"})
    assert done.returncode == 78
    first, second = done.stderr.splitlines()
    assert first.startswith(f"rtmpump: {file}:2: slack.pingg_interval: unknown key")
    assert "slack.ping_interval" in first
    assert second.startswith(f"rtmpump: {file}:4: log.level: must be ")


def test_a_traceback_shows_at_level_debug_only(tmp_path: Path) -> None:
    """RTMPUMP_LOG_LEVEL=debug adds it before the one line."""
    done = rtmpump(tmp_path, "run", env={"RTMPUMP_LOG_LEVEL": "debug"})
    assert done.returncode == 78
    assert done.stderr.startswith("Traceback")
    assert done.stderr.splitlines()[-1].startswith("rtmpump: slack.token: there is no Slack token")


def test_the_option_wins_over_the_variable_and_that_over_the_folder(tmp_path: Path) -> None:
    """The file is that of --config, $RTMPUMP_CONFIG or ./config.toml, in this order."""
    files = [tmp_path / "a.toml", tmp_path / "b.toml", tmp_path / "config.toml"]
    for file in files:
        file.write_text(f'[events]\nexchange = "from.{file.stem}"\n')
    env = {"RTMPUMP_CONFIG": str(files[1])}
    assert "from.a" in rtmpump(tmp_path, "topology", "-c", str(files[0]), env=env).stdout
    assert "from.b" in rtmpump(tmp_path, "topology", env=env).stdout
    assert "from.config" in rtmpump(tmp_path, "topology").stdout


def test_a_missing_file_is_78(tmp_path: Path) -> None:
    """A file that is named must exist."""
    done = rtmpump(tmp_path, "topology", "--config", "nowhere.toml")
    assert done.returncode == 78
    assert "no such file: nowhere.toml" in done.stderr


def test_topology_needs_no_token_and_json_is_a_definitions_file(tmp_path: Path) -> None:
    """Both forms name the same exchanges and queues."""
    text = rtmpump(tmp_path, "topology")
    definitions = json.loads(rtmpump(tmp_path, "topology", "--json").stdout)
    assert text.returncode == 0
    assert {"exchanges", "queues", "bindings"} == set(definitions)
    for queue in definitions["queues"]:
        assert f"queue {queue['name']} " in text.stdout


def test_a_reader_that_went_away_is_no_noise(tmp_path: Path) -> None:
    """`rtmpump topology --json | head -0` prints no traceback."""
    read_end, write_end = os.pipe()
    os.close(read_end)
    done = subprocess.run(
        [sys.executable, "-m", "rtmpump", "topology", "--json"],
        cwd=tmp_path,
        env=environment(),
        stdout=write_end,
        stderr=subprocess.PIPE,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    os.close(write_end)
    assert done.stderr == ""


def test_run_pumps_until_sigterm_and_ends_with_0(
    start_pump: StartPump, workspace: Workspace, broker: Broker
) -> None:
    """The daemon is `rtmpump run`."""
    pump = start_pump()
    queue = broker.queue(("rtm.events", "message"))
    workspace.emit({"type": "message", "channel": "C1", "text": "hi", "ts": "1.000001"})
    assert broker.get(queue).json["text"] == "hi"
    pump.terminate()
    assert pump.wait() == 0


def test_run_ends_with_0_at_ctrl_c(start_pump: StartPump) -> None:
    """SIGINT is as SIGTERM."""
    pump = start_pump()
    pump.signal(signal.SIGINT)
    assert pump.wait() == 0


def test_run_ends_with_78_where_slack_refuses_the_token(
    tmp_path: Path, workspace: Workspace, broker_url: str
) -> None:
    """So the service manager does not start it again."""
    file = config_file(tmp_path, broker_url, token="xoxb-wrong", api_url=workspace.api_url)
    env = {"RTMPUMP_HTTP_LISTEN": ""}
    with Running(tmp_path, "run", "-c", str(file), env=env) as run:
        assert run.wait() == 78
    assert not any("xoxb-wrong" in line for line in run.errors)


def test_run_says_in_one_line_that_the_spool_is_taken(
    start_pump: StartPump, tmp_path: Path
) -> None:
    """A second daemon on the same spool ends with 1."""
    pump = start_pump()
    done = rtmpump(tmp_path, "run", "-c", str(pump.config))
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(f"rtmpump: spool {pump.spool}: ")
    assert pump.running
