"""Whether a request names us in its `Host` field (RFC 9110 §7.2).

A web page that resolves its own name to our address (DNS rebinding) names itself there, and must
get no answer that it could read. An address can't be rebound.
"""

from __future__ import annotations

import ipaddress
import re
from contextlib import suppress
from typing import Final

_FIELD: Final = re.compile(r"(?:\[([0-9a-f:.]+)\]|([0-9a-z._-]+))(?::\d{1,5})?")


def is_ours(field: str, names: tuple[str, ...], local: str) -> bool:
    """Return whether the value of a field names us, with any port: it may be forwarded.

    `names` are the hosts that count beside `localhost`, `local` is the address that the connection
    came in on; addresses of loopback count too.
    """
    found = _FIELD.fullmatch(field.lower())
    host = (found[1] or found[2]) if found else ""
    if host and host in ("localhost", *(name.lower() for name in names)):
        return True
    named = _ip(host)
    return named is not None and (named.is_loopback or named == _ip(local))


def _ip(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    with suppress(ValueError):
        address = ipaddress.ip_address(host)
        return getattr(address, "ipv4_mapped", None) or address
    return None
