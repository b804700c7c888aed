"""The client's side of TLS, alike for Slack and RabbitMQ: checked, and nothing older than 1.2."""

from __future__ import annotations

import ssl
from typing import Final

_OLDEST: Final = ssl.TLSVersion.TLSv1_2


def client_context(ca_file: str) -> ssl.SSLContext:
    """Make a context that checks certificate and host name.

    `ca_file` (PEM) stands in for the system's authorities; "" means these. Raises OSError.
    """
    context = ssl.create_default_context(cafile=ca_file or None)
    # What the system's policy asks for beyond this is kept.
    if context.minimum_version < _OLDEST:
        context.minimum_version = _OLDEST
    return context
