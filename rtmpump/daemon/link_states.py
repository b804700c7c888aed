"""Which links are up, since when, and what ended them last."""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import Any, Final

from rtmpump import log
from rtmpump.core.pump_events import rfc3339
from rtmpump.links.lifecycle import RetryDetails
from rtmpump.metrics import LINKS, STANDBY_LINKS, Metrics

_CHANGES_KEPT: Final = 50
_UNHEARD: Final = {"up": None, "since": "", "last_error": "", "last_error_at": ""}
_log = log.get("supervisor")


class Links:
    """The states of all links; each change is one log line, and so is each new reason of a failure.

    A try that fails like the one before is told at debug level: a broker that is down for a night
    fills no log. Any thread may call any method.
    """

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._lock = threading.Lock()
        self._states: dict[str, dict[str, Any]] = {}
        self._changes: deque[dict[str, Any]] = deque(maxlen=_CHANGES_KEPT)
        self.role = "active"
        """What this pump is: "active", or "standby" while another of this workspace is."""

    @property
    def wanted(self) -> tuple[str, ...]:
        """The links without which this pump can't do its job; a standby needs others."""
        return STANDBY_LINKS if self.role == "standby" else LINKS

    def up(self, link: str, where: str) -> None:
        """A link was made."""
        with self._lock:
            self._change(link, True, where)
        _log.info(f"{link}.connected", where=where)

    def down(self, retry: RetryDetails) -> None:
        """A link ended, or could not be made, and will be tried again."""
        failure = f"{retry.reason}: {retry.detail}"
        with self._lock:
            was_up = bool(self._state(retry.link)["up"])
            self._change(retry.link, False, retry.reason)
            state = self._state(retry.link)
            is_news = was_up or retry.attempt == 1 or state["last_error"] != failure
            state["last_error"], state["last_error_at"] = failure, _now()
        self._metrics.reconnect(retry.link, retry.reason)
        tell = _log.warning if is_news else _log.debug
        tell(
            f"{retry.link}.disconnected" if was_up else f"{retry.link}.unreachable",
            reason=retry.reason,
            detail=retry.detail,
            attempt=retry.attempt,
            next_try_in=round(retry.wait, 2),
        )

    def rest(self, link: str) -> None:
        """A link was ended on purpose, and is not made anew for now."""
        with self._lock:
            if self._state(link)["up"]:
                self._change(link, False, "standby")

    def is_up(self, link: str) -> bool:
        """Whether the link is up as far as we know."""
        with self._lock:
            return bool(self._state(link)["up"])

    def snapshot(self) -> dict[str, Any]:
        """The states and the last changes, for the status; times as RFC 3339 has them."""
        with self._lock:
            states = {link: dict(state) for link, state in self._states.items()}
            told = {"role": self.role, "wanted": list(self.wanted)}
            return {**told, "links": states, "changes": list(self._changes)}

    def _state(self, link: str) -> dict[str, Any]:
        return self._states.setdefault(link, dict(_UNHEARD))

    def _change(self, link: str, up: bool, why: str) -> None:
        state = self._state(link)
        if state["up"] is not up:
            now = _now()
            state["up"], state["since"] = up, now
            self._changes.append({"at": now, "link": link, "up": up, "why": why})


def _now() -> str:
    return rfc3339(time.time_ns() // 1_000_000)
