"""What `gateway` would stumble over on this machine: aiohttp, its certificate, and its port.

Its tokens are read with the configuration. A port that the running gateway of this configuration
holds is no mistake.
"""

from __future__ import annotations

import http.client
import json
import os
import ssl
import time
from collections.abc import Iterator
from contextlib import closing, nullcontext
from importlib.util import find_spec
from typing import Any, Final

from rtmpump.cli.common import Loaded
from rtmpump.cli.preflight import Finding
from rtmpump.cli.status import ANY
from rtmpump.config import Gateway
from rtmpump.errors import ConfigError, PortRefused
from rtmpump.http.server import Port
from rtmpump.links.tls import good_until, load_pair

_SECONDS: Final = 5.0
_ANSWER_MAX: Final = 1 << 20


def require_aiohttp() -> None:
    """Raise ConfigError if the library is missing that the gateway needs beside the rest.

    It is one, for a service manager should not try that again.
    """
    if find_spec("aiohttp") is None:
        install = "install it with pip install 'rtmpump[gateway]'"
        raise ConfigError("rtmpump gateway needs aiohttp", fix=install)


def look_at_gateway(loaded: Loaded) -> Iterator[Finding]:
    """Look at what the gateway needs; nothing is made or changed."""
    try:
        require_aiohttp()
    except ConfigError as error:
        yield Finding("", error)
    if loaded.config.gateway.tls_cert:
        yield _certificate(loaded)
    yield _port(loaded)


def _certificate(loaded: Loaded) -> Finding:
    gateway = loaded.config.gateway
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        with loaded.unit.as_user() if loaded.unit else nullcontext():
            load_pair(server, gateway.tls_cert, gateway.tls_key)
            until = good_until(server, gateway.tls_cert)
    except ConfigError as error:
        return Finding("", error)
    day = time.strftime("%Y-%m-%d", time.gmtime(until))
    return Finding(f"certificate of the gateway {gateway.tls_cert}: good until {day}")


def _port(loaded: Loaded) -> Finding:
    gateway, unit = loaded.config.gateway, loaded.unit
    try:
        # This loads what turns a host into an address, which the unit's user need not be able to.
        "host".encode("idna")
        with unit.as_user(to_listen=True) if unit else nullcontext():
            Port(gateway.address).stop()
    except PortRefused as error:
        holder = _status(gateway)
        file = os.path.realpath(loaded.file) if loaded.file else ""
        if holder.get("file") == file:
            pid = holder.get("pid")
            said = f"port {gateway.listen}: in use by the running gateway (pid {pid})"
            return Finding(said)
        return Finding("", PortRefused(gateway.listen, error.problem, key="gateway.listen"))
    return Finding(f"port {gateway.listen} of the gateway: free")


def _status(gateway: Gateway) -> dict[str, Any]:
    """Return what a gateway that listens there says of itself; empty if there is none."""
    host, port = gateway.address
    host = ANY.get(host, host)
    connection = http.client.HTTPConnection(host, port, timeout=_SECONDS)
    if gateway.tls_cert:
        # It asks who holds a port of this machine, and sends no secret.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        connection = http.client.HTTPSConnection(host, port, timeout=_SECONDS, context=context)
    try:
        with closing(connection):
            connection.request("GET", "/status")
            said = json.loads(connection.getresponse().read(_ANSWER_MAX))
    except (OSError, http.client.HTTPException, ValueError, RecursionError):
        return {}
    is_ours = isinstance(said, dict) and said.get("program") == "rtmpump gateway"
    return said if is_ours else {}
