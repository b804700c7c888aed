"""What tests of the whole need: the pump as a real process, and a client of the broker."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

import pika
import pika.exceptions
from pika.adapters.blocking_connection import BlockingChannel

from rtmpump.sandbox.slack.workspace import Workspace
from tests.support.paths import PYTHONPATH
from tests.support.programs import OFTEN

SECONDS = 100.0
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


def wait_until(
    true: Callable[[], object], seconds: float = SECONDS, what: str | Callable[[], str] = ""
) -> None:
    """Returns when `true()` is; fails after `seconds`, and says then what was waited for."""
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            told = what if isinstance(what, str) else what()
            raise AssertionError(f"waited {seconds:.0f} s in vain {told}")
        time.sleep(0.02)


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


class Message(NamedTuple):
    """One message as a consumer sees it."""

    body: bytes
    exchange: str
    key: str
    properties: pika.BasicProperties

    @property
    def json(self) -> Any:
        """The body, decoded."""
        return json.loads(self.body)

    @property
    def headers(self) -> dict[str, Any]:
        """The headers; empty if there are none."""
        return dict(self.properties.headers or {})


class Broker:
    """A client of one vhost: for consumers, and for those who send commands."""

    def __init__(self, url: str) -> None:
        parameters = pika.URLParameters(url)
        # Tests are often busy elsewhere for longer than a heartbeat.
        parameters.heartbeat = 0
        self.connection = pika.BlockingConnection(parameters)
        self.channel: BlockingChannel = self.connection.channel()
        self.channel.confirm_delivery()
        self._replies = ""
        self._results: dict[str, list[Message]] = {}

    def queue(self, *bindings: tuple[str, str], name: str = "", **arguments: object) -> str:
        """A durable queue, bound to each (exchange, key); returns its name."""
        name = name or f"q-{secrets.token_hex(4)}"
        self.channel.queue_declare(
            name, durable=True, arguments={key.replace("_", "-"): v for key, v in arguments.items()}
        )
        for exchange, key in bindings:
            self.bind(name, exchange, key)
        return name

    def all_from_now_on(self) -> str:
        """A queue that gets all events but those with which a fresh pump begins.

        Those may still be on their way when its links are up: they go where nobody takes them.
        """
        wait_until(lambda: self.count("rtm.unrouted") >= 2, what="for hello and connected")
        return self.queue(("rtm.events", "#"))

    def bind(self, queue: str, exchange: str, key: str = "#") -> None:
        """Binds a queue to an exchange."""
        self.channel.queue_bind(queue, exchange, key)

    def exists(self, *, exchange: str = "", queue: str = "") -> bool:
        """Whether an exchange or a queue is there."""
        channel = self.connection.channel()
        try:
            if exchange:
                channel.exchange_declare(exchange, passive=True)
            if queue:
                channel.queue_declare(queue, passive=True)
        except pika.exceptions.ChannelClosedByBroker:
            return False
        channel.close()
        return True

    def wait_for_exchange(self, exchange: str) -> None:
        """Waits until an exchange is there."""
        wait_until(lambda: self.exists(exchange=exchange), what=f"for exchange {exchange}")

    def count(self, queue: str) -> int:
        """How many messages wait in a queue."""
        return int(self.channel.queue_declare(queue, passive=True).method.message_count)

    def get(self, queue: str, timeout: float = SECONDS) -> Message:
        """The next message of a queue; fails if none comes."""
        message = self.poll(queue)
        deadline = time.monotonic() + timeout
        while message is None:
            assert time.monotonic() < deadline, f"nothing came to {queue}"
            time.sleep(0.02)
            message = self.poll(queue)
        return message

    def poll(self, queue: str) -> Message | None:
        """The next message of a queue, or None if it is empty now."""
        method, properties, body = self.channel.basic_get(queue, auto_ack=True)
        return None if method is None else _message(method, properties, body)

    def take(
        self, queue: str, count: int, timeout: float = SECONDS, *, enough: bool = True
    ) -> list[Message]:
        """The next `count` messages; fewer come only after `timeout`, and then it fails.

        Without `enough` it returns what came in the time.
        """
        return self.take_until(queue, lambda got: len(got) >= count, timeout, enough=enough)

    def take_until(
        self,
        queue: str,
        done: Callable[[list[Message]], bool],
        timeout: float = SECONDS,
        *,
        enough: bool = True,
        arguments: Mapping[str, Any] | None = None,
    ) -> list[Message]:
        """The next messages, until `done` says of those that came so far that it has all."""
        got: list[Message] = []
        channel = self.connection.channel()
        channel.basic_qos(prefetch_count=500)
        deadline = time.monotonic() + timeout
        last = 0
        for method, properties, body in channel.consume(
            queue, inactivity_timeout=0.1, arguments=arguments
        ):
            if method is not None:
                last = method.delivery_tag or 0
                got.append(_message(method, properties, body))
            is_over = done(got) or time.monotonic() > deadline
            # Not each by itself, which costs more than all the rest.
            if last and (is_over or len(got) % 100 == 0 or not channel.get_waiting_message_count()):
                channel.basic_ack(last, multiple=True)
                last = 0
            if is_over:
                break
        channel.cancel()
        channel.close()
        assert not enough or done(got), f"only {len(got)} came to {queue}: {got[-5:]}"
        return got

    def drain(self, queue: str) -> list[Message]:
        """All that is in a queue now."""
        return list(iter(lambda: self.poll(queue), None))

    def publish(
        self,
        body: object,
        *,
        queue: str = "rtm.outbound",
        exchange: str = "",
        **properties: Any,
    ) -> None:
        """Publishes persistently and waits for the confirm; fails if no queue takes it."""
        given = pika.BasicProperties(**{"delivery_mode": 2, **properties})
        self.channel.basic_publish(exchange, queue, _as_body(body), given, mandatory=True)

    def command(self, body: object, **properties: Any) -> str:
        """Sends a command that asks for a result; returns its correlation id."""
        if not self._replies:
            self._replies = self.channel.queue_declare("", exclusive=True).method.queue
        correlation = secrets.token_hex(8)
        self.publish(body, reply_to=self._replies, correlation_id=correlation, **properties)
        return correlation

    def result(self, correlation: str, timeout: float = SECONDS) -> Message:
        """Waits for the result of a command; others that come meanwhile are kept."""
        deadline = time.monotonic() + timeout
        while not self._results.get(correlation):
            assert time.monotonic() < deadline, f"no result; have {self._results}"
            self._take_results()
            time.sleep(0.01)
        return self._results[correlation].pop(0)

    def more_results(self, correlation: str) -> list[Message]:
        """Results of a command beyond those that were taken: there should be none."""
        self._take_results()
        return self._results.get(correlation, [])

    def ask(self, body: object, timeout: float = SECONDS, **properties: Any) -> Any:
        """Sends a command, and returns its result as it was in JSON."""
        return self.result(self.command(body, **properties), timeout).json

    def dead(self, timeout: float = SECONDS) -> Message:
        """The next dead letter."""
        return self.get("rtm.outbound.dead", timeout)

    def close(self) -> None:
        """Closes the connection, if the broker has not done so."""
        if self.connection.is_open:
            self.connection.close()

    def __enter__(self) -> Broker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _take_results(self) -> None:
        while (message := self.poll(self._replies)) is not None:
            correlation = message.properties.correlation_id or ""
            self._results.setdefault(correlation, []).append(message)


def _message(method: Any, properties: Any, body: Any) -> Message:
    return Message(body, method.exchange, method.routing_key, properties)


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


def _as_body(body: object) -> bytes:
    if isinstance(body, bytes):
        return body
    return body.encode() if isinstance(body, str) else json.dumps(body).encode()
