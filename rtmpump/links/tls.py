"""The client's side of TLS, the same for Slack and RabbitMQ: checked, and at least TLS 1.2."""

from __future__ import annotations

import ssl
from typing import Final

_OLDEST: Final = ssl.TLSVersion.TLSv1_2


def client_context(ca_file: str) -> ssl.SSLContext:
    """Return a context that checks certificate and host name.

    Args:
        ca_file: a PEM file that replaces the system's authorities; "" means the system's.

    Raises:
        OSError: the file can't be read, or it holds no certificates.
    """
    context = ssl.create_default_context(cafile=ca_file or None)
    # A stricter policy of the system stays in force.
    if context.minimum_version < _OLDEST:
        context.minimum_version = _OLDEST
    return context
