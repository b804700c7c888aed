"""Reports to a service manager: ready, status, alive, stopping (sd_notify(3)).

Laws:

- Without NOTIFY_SOCKET, or with a kind of it that we don't know (vsock), nothing is sent.
- It never disturbs the daemon: a manager that is gone or does not read is no error, and no call
  takes longer than a second.
- Any thread may call; each call is one datagram.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from contextlib import suppress
from typing import Final

_SECONDS: Final = 1.0
# The manager takes datagrams of 4,096 bytes (NOTIFY_BUFFER_MAX); this leaves room for the name.
_STATUS_BYTES: Final = 2048
_MICROSECONDS: Final = 1_000_000


class Notifier:
    """Reports to the manager that `env` names."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self._address = _address(env.get("NOTIFY_SOCKET", ""))
        self.watchdog_interval: float | None = _interval(env)
        """Seconds between two calls of `watchdog`; None if the manager wants none.

        It is half of what the manager allows, as sd_watchdog_enabled(3) recommends.
        """

    def ready(self) -> None:
        """Report that the start is over; units that are ordered after us may begin."""
        self._send("READY=1")

    def status(self, text: str) -> None:
        """Report in one line what the daemon does, for `systemctl status`."""
        # A line break would begin another variable.
        line = " ".join(text.split()).encode("utf-8", "replace")[:_STATUS_BYTES]
        self._send(f"STATUS={line.decode('utf-8', 'ignore')}")

    def stopping(self) -> None:
        """Report that the stop has begun."""
        self._send("STOPPING=1")

    def watchdog(self) -> None:
        """Report that all loops make progress; call it only if they do."""
        self._send("WATCHDOG=1")

    def _send(self, text: str) -> None:
        if not self._address:
            return
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify.settimeout(_SECONDS)
            notify.sendto(text.encode(), self._address)


def _address(name: str) -> str:
    """Return a path as it is, `@name` in the abstract namespace (unix(7)), or ""."""
    if name.startswith("@"):
        return f"\0{name[1:]}"
    return name if name.startswith("/") else ""


def _interval(env: Mapping[str, str]) -> float | None:
    allowed = env.get("WATCHDOG_USEC", "")
    # The variables are inherited: they may be meant for the process that started us.
    meant_for = env.get("WATCHDOG_PID", "") or str(os.getpid())
    if not _is_number(allowed) or meant_for != str(os.getpid()):
        return None
    return int(allowed) / _MICROSECONDS / 2 or None


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()
