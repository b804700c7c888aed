"""The URLs of RabbitMQ's nodes, as `broker.url_file` held them last.

Laws:

- The file is read again when RabbitMQ refuses the login, and when `read_again` is called (SIGHUP).
  What it holds then counts from the next connection on, for all connections of this process.
- What can't be read, or holds no URLs, is refused and logged; the old URLs stay.

Any thread may call.
"""

from __future__ import annotations

import threading
from typing import Final

from rtmpump import log
from rtmpump.config import Broker, Secret
from rtmpump.config.secrets import UrlFile
from rtmpump.errors import ConfigError

KEY: Final = "broker.url_file"

_log = log.get("broker")
_lock = threading.Lock()
_newest: dict[str, tuple[Secret, ...]] = {}


def urls_of(broker: Broker) -> tuple[Secret, ...]:
    """Return the URLs to connect to, in the order to try them."""
    with _lock:
        return _newest.get(broker.url_file, broker.urls)


def read_again(broker: Broker) -> None:
    """Read the file again, if there is one."""
    if not broker.url_file:
        return
    try:
        urls = UrlFile().read(broker.url_file)
    except ConfigError as error:
        _log.warning("secret.refused", key=KEY, problem=error.problem, fix="the old one stays")
        return
    with _lock:
        is_new = urls != _newest.get(broker.url_file, broker.urls)
        _newest[broker.url_file] = urls
    if is_new:
        _log.info("secret.replaced", key=KEY)
