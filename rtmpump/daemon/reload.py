"""SIGHUP: the secrets that come from files are read again, and nothing is interrupted.

Law: asking Slack about a new token takes time, so it is done on a thread of its own; one at a time.
"""

from __future__ import annotations

import threading

from rtmpump import log
from rtmpump.config import Broker
from rtmpump.links.rabbitmq import urls
from rtmpump.links.slack.web_api import SlackApi

_log = log.get("supervisor")


class Reload:
    """What a reload reads again; the main thread calls `begin`."""

    def __init__(self, broker: Broker, api: SlackApi) -> None:
        self._broker = broker
        self._api = api
        self._is_due = threading.Event()
        self._lock = threading.Lock()

    def begin(self) -> None:
        """Read all again; if that is going on already, once more after it."""
        _log.info("reloading")
        self._is_due.set()
        try:
            threading.Thread(target=self._reload, name="reload", daemon=True).start()
        except RuntimeError as error:
            _log.error("reload.failed", problem=str(error), fix="ask for it again")

    def _reload(self) -> None:
        with self._lock:
            if not self._is_due.is_set():
                return
            self._is_due.clear()
            try:
                urls.read_again(self._broker)
                self._api.read_tokens_again()
            except Exception as error:
                _log.error("reload.failed", problem=str(error), fix="ask for it again")
                return
            _log.info("reloaded")
