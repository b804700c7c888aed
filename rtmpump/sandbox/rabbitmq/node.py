"""A private RabbitMQ node with its own name, ports, epmd and folder; it leaves nothing behind.

It is a real broker, started from the installed RabbitMQ. All its processes belong to a keeper (see
`keeper.py`), which ends them even when the owner is killed with -9.
"""

from __future__ import annotations

import base64
import contextlib
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from rtmpump.errors import ServiceUnreachable
from rtmpump.sandbox.ports import free_port
from rtmpump.sandbox.rabbitmq import install
from rtmpump.sandbox.rabbitmq.keeping import Keeper

_SERVICE = "RabbitMQ"
_AMQP_HEADER = b"AMQP\x00\x00\x09\x01"
_NAMES_REQ = b"\x00\x01n"
_METHOD_FRAME = b"\x01"
_POLL = 0.1
_STOP_SECONDS = 20.0
# A tool takes a second, and minutes on a machine that is busy with much else.
_TOOL_SECONDS = 300.0
_MOVES = 2
_PORT_TAKEN = ("eaddrinuse", "already in use", "already listening", "could be in use")
_IN_BASE64 = re.compile(r'(?:\{ok, )?"([A-Za-z0-9+/=]+)"\}?')
# A line of rabbitmq.conf that opens a port: `listeners.ssl.1 = 127.0.0.1:5671`.
_LISTENER = re.compile(
    r"^[ \w.]*(?:listeners\.(?:tcp|ssl)\.\w+|(?:tcp|ssl)\.port) *= *(?:127\.0\.0\.1:)?(\d+) *$",
    re.M,
)
_FOREIGN_SETTINGS = ("RABBITMQ_", "ERL_", "NOTIFY_SOCKET", "RUNNING_UNDER_SYSTEMD")


class Cluster(NamedTuple):
    """What the nodes of one cluster share: the Erlang cookie, and the port of their epmd.

    The maker of the cluster starts and stops that epmd.
    """

    cookie: str
    epmd: int


class RabbitNode:
    """One RabbitMQ node on 127.0.0.1.

    Between two calls of `start()` the data and the ports stay.

    Args:
        config: further lines of rabbitmq.conf, as text or as keys and values.
        plugins: the names of the plugins to enable; `config` sets the ports that they open.
        folder: where data, logs and settings live; this folder is kept. Without it there is a
            temporary one, which is removed by `close()`, or when this process ends.
        server: the `rabbitmq-server` to run; without it the installed one is searched for.
        schedulers: how many Erlang schedulers it gets: few, since several nodes and tests share one
            machine.
        cluster: what it shares with the other nodes of its cluster.
    """

    def __init__(
        self,
        *,
        config: Mapping[str, str] | str = "",
        plugins: tuple[str, ...] = (),
        folder: Path | str | None = None,
        server: Path | str | None = None,
        schedulers: int = 2,
        cluster: Cluster | None = None,
    ) -> None:
        self._schedulers = schedulers
        self._cookie = cluster.cookie if cluster else secrets.token_hex(16)
        self._shared_epmd = cluster.epmd if cluster else 0
        self._server = Path(server) if server else install.find()
        self._config = config if isinstance(config, str) else _as_lines(config)
        self._plugins = plugins
        self._given = Path(folder).resolve() if folder else None
        self._keeper: Keeper | None = None
        self._lock = threading.RLock()
        self.folder = self._given or Path()
        self._unkept: Path | None = None
        self.name = self._kept_name() or f"rtmpump-{secrets.token_hex(4)}@localhost"
        self._choose_ports()

    @property
    def url(self) -> str:
        """The AMQP URL, with the user `guest` and the vhost `/`."""
        return f"amqp://guest:guest@127.0.0.1:{self.port}/%2F"

    @property
    def pid(self) -> int:
        """The process id of the Erlang machine; 0 while none runs."""
        try:
            # Only while it runs: after a crash the file stays, and the id may be reused.
            return int(self._pid_file.read_text()) if self.running else 0
        except (OSError, ValueError):
            return 0

    @property
    def running(self) -> bool:
        """Whether any process of the broker exists."""
        return self._keeper is not None and self._keeper.alive("server")

    @property
    def logs(self) -> str:
        """What the node wrote to its console since its last start, and to its log."""
        return _text(self._console) + _text(self.folder / "log" / "rabbit.log")

    def start(self, timeout: float = 120.0) -> RabbitNode:
        """Start the node, and return it when it answers a handshake and all its ports are open.

        Raises:
            ServiceUnreachable: it ended, or did not answer within `timeout` seconds.
        """
        with self._lock:
            if self.running:
                return self
            # Another process may take one of our ports; only a first start may choose new ones.
            moves = _MOVES if self._keeper is None else 0
            while problem := self._launch(time.monotonic() + timeout):
                self.kill()
                if not moves or not self._port_was_taken(problem):
                    raise ServiceUnreachable(_SERVICE, f"{problem}: {self._last_words()}")
                moves -= 1
                self._choose_ports()
            return self

    def stop(self) -> None:
        """Stop the node in good order (what is durable is on disk); kill it if it hangs."""
        with self._lock:
            pid = self.pid
            if pid:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGTERM)
                self._await_end(_STOP_SECONDS)
            self.kill()
            self._end_epmd()

    def kill(self) -> None:
        """Kill the node with SIGKILL, as a crash would; it can be started again."""
        with self._lock:
            if self._keeper is None:
                return
            self._keeper.signal("server", signal.SIGKILL)
            self._await_end(_STOP_SECONDS)
            self._end_epmd()

    def restart(self, timeout: float = 120.0) -> None:
        """Stop the node, then start it with the same data on the same ports."""
        with self._lock:
            self.stop()
            self.start(timeout)

    def close(self) -> None:
        """End everything and remove the folder; if the folder was given, stop first and keep it."""
        with self._lock:
            if self._given:
                self.stop()
            if self._keeper is not None:
                self._keeper.end()
                self._keeper = None
            elif self._unkept is not None:
                # The start was interrupted before a keeper could remove it.
                shutil.rmtree(self._unkept, ignore_errors=True)
            self._unkept = None

    def ctl(self, *args: str, timeout: float = _TOOL_SECONDS) -> str:
        """Run `rabbitmqctl --quiet ARGS` for this node; return what it printed.

        Raises:
            ServiceUnreachable: it failed; the detail is what it said.
        """
        if not self.running:
            raise ServiceUnreachable(_SERVICE, "the node does not run")
        tool = str(self._server.with_name("rabbitmqctl"))
        command = [tool, "--quiet", "--node", self.name, *args]
        return self._run_tool(f"rabbitmqctl {' '.join(args)}", command, timeout)

    def evaluate(self, expressions: str, timeout: float = _TOOL_SECONDS) -> str:
        """Evaluate Erlang expressions on the node; return the last value as Erlang writes it.

        Erlang's `erl_call` does it in some 10 ms. Where that is missing, `rabbitmqctl` does it,
        which takes a second, for it starts an Erlang machine of its own.

        Args:
            expressions: separated by commas, with no full stop at the end.
            timeout: seconds to wait for an answer.

        Raises:
            ServiceUnreachable: The node does not run, or the evaluation failed.
        """
        if not self.running:
            raise ServiceUnreachable(_SERVICE, "the node does not run")
        # erl_call shows no binaries, so both get the value as a text in base64.
        value = f'io_lib:format("~0tp", [begin {expressions} end])'
        asked = f"base64:encode_to_string(unicode:characters_to_binary({value}))."
        if tool := install.erl_call():
            said = self._call_erlang(tool, f"{asked}\n", timeout)
        else:
            said = self.ctl("eval", asked, timeout=timeout)
        found = _IN_BASE64.fullmatch(said.strip())
        if found is None:
            # A failed evaluation ends erl_call with exit code 0 too.
            raise ServiceUnreachable("erl_call", said)
        return base64.b64decode(found[1]).decode()

    def _call_erlang(self, tool: str, text: str, timeout: float) -> str:
        """Run `erl_call`; again where it found no connection, for then nothing was evaluated."""
        # With a name of its own (-R) no call meets what the node still keeps of the one before.
        command = [tool, "-R", "-n", self.name, "-e"]
        until = time.monotonic() + timeout
        while True:
            try:
                return self._run_tool("erl_call", command, timeout, text)
            except ServiceUnreachable as error:
                if "failed to connect" not in str(error) or time.monotonic() > until:
                    raise
                time.sleep(_POLL)

    def __enter__(self) -> RabbitNode:
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _run_tool(self, name: str, command: list[str], timeout: float, text: str = "") -> str:
        try:
            return subprocess.run(
                command,
                env=self._environment() | _ctl_ports(),
                input=text,
                capture_output=True,
                text=True,
                timeout=timeout,
                check=True,
            ).stdout
        except subprocess.CalledProcessError as error:
            detail = f"{error.stderr}{error.stdout}".strip()
            raise ServiceUnreachable(name, detail) from error
        except subprocess.TimeoutExpired as error:
            raise ServiceUnreachable(name, f"no answer in {timeout:.0f} s") from error

    def _kept_name(self) -> str:
        """Return the name that the node of a given folder had: its data belongs to that name."""
        kept = self.folder / "node-name"
        return kept.read_text().strip() if self._given and kept.exists() else ""

    def _choose_ports(self) -> None:
        self.port, self._dist_port = free_port(), free_port()
        self._epmd_port = self._shared_epmd or free_port()

    def _launch(self, deadline: float) -> str:
        """Start epmd, then the node; return "" when both answer, else what went wrong."""
        self._prepare_folder()
        if self._keeper is None:
            self._keeper = Keeper("" if self._given else str(self.folder))
            self._unkept = None
        console = str(self._console)
        if problem := self._launch_epmd(self._keeper, console, deadline):
            return problem
        self._keeper.run("server", [str(self._server)], self._environment(), console)
        problem = self._await("server", partial(_answers_amqp, self.port), deadline)
        # Ports are opened one by one, and that of TLS later than ours.
        ports = [int(port) for port in _LISTENER.findall(self._config)]
        return problem or self._await("server", partial(_all_listen, ports), deadline)

    def _launch_epmd(self, keeper: Keeper, console: str, deadline: float) -> str:
        if self._shared_epmd:
            return ""
        epmd = [install.epmd(), "-port", str(self._epmd_port), "-address", "127.0.0.1"]
        keeper.run("epmd", epmd, self._environment(), console)
        return self._await("epmd", partial(_answers_epmd, self._epmd_port), deadline)

    def _prepare_folder(self) -> None:
        if not self._given and self._keeper is None:
            # The name is known before the folder exists, so an interrupt leaves nothing behind.
            name = f"rtmpump-rabbit-{secrets.token_hex(4)}"
            self.folder = self._unkept = Path(tempfile.gettempdir()).resolve() / name
            self.folder.mkdir(mode=0o700)
        for part in ("home", "log", "data"):
            (self.folder / part).mkdir(parents=True, exist_ok=True)
        self._write_cookie()
        self._pid_file.unlink(missing_ok=True)
        self._console.unlink(missing_ok=True)
        (self.folder / "node-name").write_text(self.name)
        (self.folder / "enabled_plugins").write_text(f"[{','.join(self._plugins)}].\n")
        (self.folder / "rabbitmq.conf").write_text(self._settings())

    def _write_cookie(self) -> None:
        cookie = self.folder / "home" / ".erlang.cookie"
        if not cookie.exists():
            cookie.touch(mode=0o600)
            cookie.write_text(self._cookie)

    def _settings(self) -> str:
        ours = f"listeners.tcp.1 = 127.0.0.1:{self.port}\nlog.console = false\n"
        return f"{ours}{self._config}\n"

    def _environment(self) -> dict[str, str]:
        theirs = {k: v for k, v in os.environ.items() if not k.startswith(_FOREIGN_SETTINGS)}
        folder = self.folder
        return theirs | {
            "HOME": str(folder / "home"),
            "LANG": "C.UTF-8",
            "LC_ALL": "C.UTF-8",
            "ERL_EPMD_PORT": str(self._epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            # No tool may start its own epmd, and no Erlang machine may listen on the network.
            "ERL_ZFLAGS": "-start_epmd false -kernel inet_dist_use_interface {127,0,0,1}",
            "ERL_CRASH_DUMP_BYTES": "0",
            "RABBITMQ_NODENAME": self.name,
            "RABBITMQ_DIST_PORT": str(self._dist_port),
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
            "RABBITMQ_CONFIG_FILES": str(folder / "conf.d"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(folder / "advanced.config"),
            "RABBITMQ_CONF_ENV_FILE": str(folder / "rabbitmq-env.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "enabled_plugins"),
            "RABBITMQ_PLUGINS_EXPAND_DIR": str(folder / "data" / "plugins"),
            "RABBITMQ_FEATURE_FLAGS_FILE": str(folder / "data" / "feature_flags"),
            "RABBITMQ_MNESIA_BASE": str(folder / "data"),
            "RABBITMQ_MNESIA_DIR": str(folder / "data" / "node"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_LOGS": str(folder / "log" / "rabbit.log"),
            "RABBITMQ_PID_FILE": str(self._pid_file),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": f"+S {self._schedulers}",
        }

    @property
    def _pid_file(self) -> Path:
        return self.folder / "rabbit.pid"

    @property
    def _console(self) -> Path:
        return self.folder / "console.log"

    def _await(self, name: str, answers: Callable[[], bool], deadline: float) -> str:
        """Wait for one of our processes; return "" when it answers, else what went wrong."""
        while time.monotonic() < deadline:
            # In this order: if ours has ended, the answer came from another process.
            answered = answers()
            if self._keeper is None or not self._keeper.alive(name):
                return f"{name} ended while starting"
            if answered:
                return ""
            time.sleep(_POLL)
        return f"{name} did not answer in time"

    def _await_end(self, timeout: float) -> bool:
        deadline = time.monotonic() + timeout
        while self.running:
            if time.monotonic() > deadline:
                return False
            time.sleep(_POLL)
        return True

    def _end_epmd(self) -> None:
        if self._keeper is not None:
            self._keeper.signal("epmd", signal.SIGKILL)
            while self._keeper.alive("epmd"):
                time.sleep(_POLL)

    def _port_was_taken(self, problem: str) -> bool:
        # epmd ends without a message, and hardly for any other reason.
        said = _text(self._console)
        return problem.startswith("epmd ended") or any(sign in said for sign in _PORT_TAKEN)

    def _last_words(self) -> str:
        """Return what it reported about its end: the first errors, which cause the later ones."""
        lines = [line.strip() for line in _text(self._console).splitlines() if line.strip()]
        errors = [line.partition("[error]")[2].partition("> ")[2] for line in lines]
        words = [error.strip() for error in errors if error.strip()][:6] or lines[-5:]
        return " | ".join(words)[:600] or "it reported nothing"


def _text(file: Path) -> str:
    return file.read_text(errors="replace") if file.exists() else ""


def _as_lines(settings: Mapping[str, str]) -> str:
    return "".join(f"{key} = {value}\n" for key, value in settings.items())


def _ctl_ports() -> dict[str, str]:
    """Return ports for one rabbitmqctl, so that many of them can run at once."""
    first = free_port()
    return {
        "RABBITMQ_CTL_DIST_PORT_MIN": str(first),
        "RABBITMQ_CTL_DIST_PORT_MAX": str(first + 9),
    }


def _answers_epmd(port: int) -> bool:
    """Return whether NAMES_REQ is answered with the port of epmd (Erlang's protocol)."""
    return _ask(port, _NAMES_REQ, 4) == port.to_bytes(4, "big")


def _answers_amqp(port: int) -> bool:
    """Return whether the AMQP 0-9-1 header is answered with a method frame."""
    return _ask(port, _AMQP_HEADER, 1) == _METHOD_FRAME


def _all_listen(ports: list[int]) -> bool:
    """Return whether a connection to each of these ports is taken."""
    for port in ports:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=2.0).close()
        except OSError:
            return False
    return True


def _ask(port: int, question: bytes, size: int) -> bytes:
    """Return the first bytes of the answer on a port; b"" if there is none."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2.0) as probe:
            probe.sendall(question)
            return probe.recv(size)
    except OSError:
        return b""


if __name__ == "__main__":
    sys.exit(install.main(sys.argv[1:]))
