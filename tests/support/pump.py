"""The pump as a real process, with its config and its log."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from rtmpump.sandbox.slack.workspace import Workspace
from tests.support.paths import PYTHONPATH
from tests.support.programs import OFTEN
from tests.support.waiting import SECONDS

LINKS = ("slack", "broker_events", "broker_commands")
_DEFAULTS: dict[str, dict[str, object]] = {
    "retry": {"initial": 0.05, "max": 2},
    "http": {"listen": ""},
    # At debug most is said, and so a token would be.
    "log": {"format": "json", "level": "debug"},
}


# A stop waits 15 s for a broker that is away. For tests of something else it waits 6 s.
SHORT_STOP = (
    "-c",
    "from rtmpump import cli; from rtmpump.daemon import supervisor;"
    "supervisor.STOP_DEADLINE = 8.0;"
    "cli.main()",
)


class PumpProcess:
    """`rtmpump run` as a process, as a service manager would start it.

    Keywords are sections of the config and win over the defaults of the tests: `[http]` off, JSON
    log, fast retries. `log_lines` are of the last start, `output` of all. Never survives `close`,
    which also fails if the token was ever printed. `program` is what Python is given to run.
    """

    command = "run"

    def __init__(
        self,
        folder: Path,
        workspace: Workspace | None,
        broker_url: str,
        *,
        env: Mapping[str, str] | None = None,
        program: Sequence[str] = OFTEN,
        **sections: Any,
    ) -> None:
        self.folder = folder
        self._program = program
        self.spool = folder / "spool.db"
        self._number = len(list(folder.glob(f"{self.command}-*.toml")))
        self.config = folder / f"{self.command}-{self._number}.toml"
        self._env = dict(env or {})
        self._outputs: list[Path] = []
        self._process: subprocess.Popen[bytes] | None = None
        self._read_upto = 0
        self._lines: list[dict[str, Any]] = []
        ours: dict[str, dict[str, object]] = {
            "broker": {"url": broker_url} if broker_url else {},
            "spool": {"path": str(self.spool)},
        }
        if workspace is not None:
            ours["slack"] = {"token": workspace.token, "api_url": workspace.api_url}
        merged = _merged(_DEFAULTS, ours, sections)
        slack = merged.get("slack", {})
        tokens = (str(slack.get(key, "")) for key in ("token", "app_token"))
        self._secrets = [token for token in tokens if token]
        self.config.touch(mode=0o600)
        self.config.write_text(_toml(merged))
        self.start()

    def start(self) -> PumpProcess:
        """Starts it again, with the same config."""
        assert self._process is None or not self.running
        self._outputs.append(self.config.with_suffix(f".{len(self._outputs)}.log"))
        self._read_upto, self._lines = 0, []
        with self._outputs[-1].open("wb") as file:
            self._process = subprocess.Popen(
                [sys.executable, *self._program, self.command, "-c", str(self.config)],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                env=_clean_environment() | {"PYTHONPATH": PYTHONPATH} | self._env,
                start_new_session=True,
            )
        return self

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The process that was started last."""
        assert self._process is not None
        return self._process

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self.process.poll() is None

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal."""
        self.process.send_signal(number)

    def kill(self) -> None:
        """SIGKILL, and waits for the end."""
        self.process.kill()
        self.process.wait(SECONDS)

    def terminate(self) -> None:
        """SIGTERM; does not wait."""
        self.process.terminate()

    def end_in_order(self, timeout: float) -> None:
        """SIGTERM, and it ends with 0; or of the signal, if it was too new to heed any."""
        is_new = not self.log_text()
        self.terminate()
        code = self.wait(timeout)
        ends = (0, -signal.SIGTERM) if is_new else (0,)
        assert code in ends, f"it ended with {code}\n{self.log_text()[-5000:]}"

    def wait(self, timeout: float = SECONDS) -> int:
        """The exit code, once it has ended."""
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still runs after {timeout:.0f} s\n{self.output()}") from None

    def output(self) -> str:
        """All that it wrote, of every start."""
        return "".join(file.read_text(errors="replace") for file in self._outputs)

    def log_text(self) -> str:
        """All that it wrote since it was last started."""
        return self._outputs[-1].read_text(errors="replace")

    def log_lines(self) -> list[dict[str, Any]]:
        """Its log since it was last started; lines that are no JSON are left out."""
        # Read on from where the last call ended: this is called again and again.
        with self._outputs[-1].open("rb") as file:
            file.seek(self._read_upto)
            whole, newline, _ = file.read().rpartition(b"\n")
        self._read_upto += len(whole + newline)
        self._lines += _json_lines(whole.decode(errors="replace"))
        return list(self._lines)

    def logged(self, event: str, **fields: object) -> list[dict[str, Any]]:
        """The log lines of this event with these fields."""
        wanted = {"event": event, **fields}.items()
        return [line for line in self.log_lines() if wanted <= _hashable(line).items()]

    def wait_log(self, event: str, count: int = 1, **fields: object) -> dict[str, Any]:
        """Waits for the `count`th such line, and returns it; fails if the pump ends before."""

        def is_there() -> bool:
            ended = not self.running
            if len(self.logged(event, **fields)) >= count:
                return True
            assert not ended, f"ended without {event}\n{self.output()}"
            return False

        deadline = time.monotonic() + SECONDS
        while not is_there():
            assert time.monotonic() < deadline, f"no {event} {fields}\n{self.output()}"
            time.sleep(0.02)
        return self.logged(event, **fields)[count - 1]

    def wait_ready(self, *links: str) -> None:
        """Waits until these links (all, if none is named) were up since the last start."""
        for link in links or LINKS:
            self.wait_log(f"{link}.connected")

    def close(self) -> None:
        """Kills it if it runs, and looks for the token in all that it said."""
        if self.running:
            self.kill()
        said = self.output()
        for secret in self._secrets:
            assert secret not in said, "the token is in the output"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _clean_environment() -> dict[str, str]:
    """Ours, without what would configure a pump."""
    theirs = ("RTMPUMP_", "SLACK_", "CREDENTIALS_DIRECTORY", "STATE_DIRECTORY", "NOTIFY_SOCKET")
    return {key: value for key, value in os.environ.items() if not key.startswith(theirs)}


def _merged(*layers: Mapping[str, Mapping[str, object]]) -> dict[str, dict[str, object]]:
    merged: dict[str, dict[str, object]] = {}
    for layer in layers:
        for section, keys in layer.items():
            merged.setdefault(section, {}).update(keys)
    return merged


def _toml(sections: Mapping[str, Mapping[str, object]]) -> str:
    """Strings, numbers, booleans and lists look the same in TOML and in JSON."""
    lines: list[str] = []
    for section, keys in sections.items():
        lines.append(f"[{section}]")
        lines += [f"{key} = {json.dumps(value)}" for key, value in keys.items()]
    return "\n".join(lines) + "\n"


def _json_lines(text: str) -> Iterable[dict[str, Any]]:
    for line in text.splitlines():
        try:
            fields = json.loads(line)
        except ValueError:
            continue
        if isinstance(fields, dict):
            yield fields


def _hashable(line: Mapping[str, Any]) -> dict[str, object]:
    return {key: value for key, value in line.items() if not isinstance(value, list | dict)}
