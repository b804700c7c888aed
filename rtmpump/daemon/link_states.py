"""Which links are up, since when, and what ended them last."""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import Final

from msgspec.structs import replace

from rtmpump import log
from rtmpump.core.pump_events import rfc3339
from rtmpump.http.status import LinkChange, Links, LinkState
from rtmpump.links.lifecycle import RetryDetails
from rtmpump.metrics import LINKS, STANDBY_LINKS, Metrics

_CHANGES_KEPT: Final = 50
_UNKNOWN: Final = LinkState()
_log = log.get("supervisor")


class LinkStates:
    """The states of all links; each change is one log line, and so is each new reason of a failure.

    A try that fails like the one before is logged at level debug, so that a broker that is down for
    a night does not fill the log. Any thread may call any method.
    """

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._lock = threading.Lock()
        self._states: dict[str, LinkState] = {}
        self._changes: deque[LinkChange] = deque(maxlen=_CHANGES_KEPT)
        self.role = "active"
        """The role of this pump: "active", or "standby" while another one is active."""

    @property
    def wanted(self) -> tuple[str, ...]:
        """The links that this pump needs in its present role."""
        return STANDBY_LINKS if self.role == "standby" else LINKS

    def up(self, link: str, where: str) -> None:
        """Record that a link was made; `where` names the peer."""
        with self._lock:
            self._change(link, True, where)
        self._metrics.link(link, True)
        _log.info(f"{link}.connected", where=where)

    def down(self, retry: RetryDetails) -> None:
        """Record that a link ended or could not be made, and will be tried again."""
        failure = f"{retry.reason}: {retry.detail}"
        with self._lock:
            before = self._state(retry.link)
            was_up = bool(before.up)
            is_news = was_up or retry.attempt == 1 or before.last_error != failure
            self._change(retry.link, False, retry.reason)
            self._states[retry.link] = replace(
                self._state(retry.link),
                last_error=failure,
                last_error_at=_now(),
                next_try_at=_now(retry.wait),
            )
        self._metrics.link(retry.link, False)
        self._metrics.reconnect(retry.link, retry.reason)
        write = _log.warning if is_news else _log.debug
        write(
            f"{retry.link}.disconnected" if was_up else f"{retry.link}.unreachable",
            reason=retry.reason,
            detail=retry.detail,
            attempt=retry.attempt,
            next_try_in=round(retry.wait, 2),
        )

    def rest(self, link: str) -> None:
        """Record that a link was ended on purpose, and is not made again for now."""
        with self._lock:
            if self._state(link).up:
                self._change(link, False, "standby")

    def is_up(self, link: str) -> bool:
        """Return whether the link is up, as far as is known."""
        with self._lock:
            return bool(self._state(link).up)

    def snapshot(self) -> Links:
        """Return the states and the last changes; times are RFC 3339."""
        with self._lock:
            return Links(self.role, list(self.wanted), self._states.copy(), list(self._changes))

    def _state(self, link: str) -> LinkState:
        return self._states.setdefault(link, _UNKNOWN)

    def _change(self, link: str, up: bool, why: str) -> None:
        state = self._state(link)
        if state.up is not up:
            now = _now()
            self._states[link] = replace(state, up=up, since=now, next_try_at="")
            self._changes.append(LinkChange(at=now, link=link, up=up, why=why))


def _now(ahead: float = 0.0) -> str:
    return rfc3339(time.time_ns() // 1_000_000 + round(1000 * ahead))
