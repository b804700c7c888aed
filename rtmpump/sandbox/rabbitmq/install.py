"""Finds RabbitMQ's programs on this machine, or installs them where that is allowed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from rtmpump.errors import ServiceUnreachable
from rtmpump.sandbox.live_line import LiveLine

# The programs that packages put on PATH are often wrappers that switch to the user `rabbitmq`; the
# programs behind them run as any user.
_PLACES = (
    "/usr/lib/rabbitmq/bin",
    "/usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin",
    "/opt/rabbitmq/sbin",
    "/usr/local/opt/rabbitmq/sbin",
    "/opt/homebrew/opt/rabbitmq/sbin",
)
_WRAPPER_SIGN = "Only root or rabbitmq"
_FIX = "install rabbitmq-server (https://www.rabbitmq.com/docs/download) or give --broker-url"
_PACKAGE = "rabbitmq-server"
_INTERRUPTED = 130
# Names the server to run, for those who have several, or one in a folder of its own.
_VARIABLE = "RABBITMQ_SERVER"
_VARIABLE_FIX = (
    f"set {_VARIABLE} to the path of a rabbitmq-server that any user may run, with rabbitmqctl in "
    "the same folder, or unset it"
)

# dpkg's maintainer scripts run this file before they start a service; 101 forbids it.
_POLICY = "/usr/sbin/policy-rc.d"
# $1 is that file, $2 the package. A failed update (one bad source) may do no harm.
_INSTALL = """
set -e
policy=$1
export DEBIAN_FRONTEND=noninteractive
if [ ! -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT
    trap 'exit 1' HUP INT TERM
    printf '#!/bin/sh\\nexit 101\\n' > "$policy"
    chmod 755 "$policy"
fi
apt-get -o DPkg::Lock::Timeout=120 update || true
apt-get -o DPkg::Lock::Timeout=120 install -y --no-install-recommends "$2"
"""


def find() -> Path:
    """Return the `rabbitmq-server` to run directly; `rabbitmqctl` is in the same folder.

    It is the one that the environment variable RABBITMQ_SERVER names, if that is set.

    Raises:
        ServiceUnreachable: RabbitMQ or Erlang was not found.
    """
    if named := _named():
        return named
    server = _server()
    if server is None:
        raise ServiceUnreachable("RabbitMQ", "it is not installed", _FIX)
    if shutil.which("erl") is None:
        raise ServiceUnreachable("RabbitMQ", "Erlang's `erl` is not on PATH", _FIX)
    return server


def find_or_install(live: LiveLine) -> Path:
    """Do as `find` does, but first install Debian's package if it is missing and we may.

    The service of the package is not started: a `policy-rc.d` forbids it during the installation,
    unless the machine has one already.

    Args:
        live: gets one line for each step, and says that the package is being installed.

    Raises:
        ServiceUnreachable: RabbitMQ is missing, and can't be installed from here.
    """
    if not _named() and _server() is None:
        _install(live)
    return find()


def epmd() -> str:
    """Return the path of Erlang's port mapper.

    Raises:
        ServiceUnreachable: it was not found.
    """
    found = _erlang_program("epmd", "erts-*/bin/epmd")
    if not found:
        raise ServiceUnreachable("RabbitMQ", "Erlang's `epmd` was not found", _FIX)
    return found


def erl_call() -> str:
    """Return the path of Erlang's program that asks a node at little cost; "" if there is none."""
    return _erlang_program("erl_call", "lib/erl_interface-*/bin/erl_call")


def main(arguments: list[str]) -> int:
    """Find or install RabbitMQ (`--ensure`) and return an exit code; write only what is done."""
    if arguments != ["--ensure"]:
        print("usage: python -m rtmpump.sandbox.rabbitmq.node --ensure", file=sys.stderr)
        return 2
    live = LiveLine(sys.stderr)
    try:
        find_or_install(live)
    except ServiceUnreachable as error:
        live.say(str(error))
        return error.exit_code
    except KeyboardInterrupt:
        return _INTERRUPTED
    finally:
        live.close()
    return 0


def _erlang_program(name: str, place: str) -> str:
    """Return where a program of Erlang is; `place` is a pattern below Erlang's folder.

    A server that is named may have Erlang elsewhere (in a chroot): what lies beside it comes first.
    """
    server = _named()
    if found := (server and shutil.which(server.with_name(name))) or shutil.which(name):
        return str(found)
    erl = Path(shutil.which("erl") or "/usr/bin/erl").resolve()
    return next(map(str, (*erl.parent.glob(name), *erl.parent.parent.glob(place))), "")


def _named() -> Path | None:
    """Return the server that the environment names; its links are not followed."""
    named = os.environ.get(_VARIABLE)
    if not named:
        return None
    server = Path(named).absolute()
    for program in (server, server.with_name("rabbitmqctl")):
        if not os.access(program, os.X_OK):
            raise ServiceUnreachable("RabbitMQ", f"{program} is no program", _VARIABLE_FIX)
    if _behind_wrapper(server) is None:
        detail = f"{server} switches to the user rabbitmq"
        raise ServiceUnreachable("RabbitMQ", detail, _VARIABLE_FIX)
    return server


def _server() -> Path | None:
    for place in _PLACES:
        for folder in sorted(Path("/").glob(place.lstrip("/")), reverse=True):
            if os.access(folder / "rabbitmq-server", os.X_OK):
                return folder / "rabbitmq-server"
    on_path = shutil.which("rabbitmq-server", path=_search_path())
    return _behind_wrapper(Path(on_path)) if on_path else None


def _search_path() -> str:
    return os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin"))


def _behind_wrapper(server: Path) -> Path | None:
    """Follow the links of `server`; return None if it is a wrapper that wants another user."""
    real = server.resolve()
    return None if _WRAPPER_SIGN in real.read_text(errors="replace") else real


def _install(live: LiveLine) -> None:
    become_root = _way_to_root()
    if become_root is None or shutil.which("apt-get") is None:
        raise ServiceUnreachable("RabbitMQ", "it is not installed, and can't be from here", _FIX)
    live.say(f"RabbitMQ is not installed: installing the package {_PACKAGE} with apt-get")
    live.say("its service is not started now (at the next boot it is, unless you disable it)")
    with live.waiting(f"apt-get installs {_PACKAGE}"):
        done = subprocess.run(
            [*become_root, "/bin/sh", "-c", _INSTALL, "install", _POLICY, _PACKAGE],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode:
        said = " | ".join((done.stderr or done.stdout).strip().splitlines()[-3:])
        raise ServiceUnreachable("RabbitMQ", f"apt-get could not install it: {said}", _FIX)
    live.say("RabbitMQ is installed")


def _way_to_root() -> list[str] | None:
    """Return what to put before a command that needs root; None if there is no way."""
    if os.geteuid() == 0:
        return []
    sudo = shutil.which("sudo")
    if sudo is None:
        return None
    asked = subprocess.run(
        [sudo, "-n", "true"], stdin=subprocess.DEVNULL, capture_output=True, check=False
    )
    return [sudo, "-n"] if asked.returncode == 0 else None
