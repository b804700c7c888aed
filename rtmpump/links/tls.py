"""TLS: our side as a client, the same for Slack and RabbitMQ, and the gateway's as a server.

A client checks certificate and host name, and takes TLS 1.2 or newer.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from rtmpump.errors import ConfigError

_OLDEST: Final = ssl.TLSVersion.TLSv1_2
# More than a handshake has.
_FLIGHTS: Final = 6


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


def load_pair(server: ssl.SSLContext, cert: str, key: str) -> None:
    """Give a server's context its certificate (with its chain) and key, both PEM files.

    A context that serves already takes them for its next connections.

    Raises:
        ConfigError: one can't be read, or they don't belong together.
    """
    try:
        # A key with a passphrase must not ask a terminal for it.
        server.load_cert_chain(cert, key, password=lambda: "")
    except (OSError, ssl.SSLError) as error:
        raise _no_pair(error) from error


@contextmanager
def held_pair(cert: str, key: str) -> Iterator[tuple[str, str]]:
    """Read both files once, and hand over paths under which they stay as they were.

    Raises:
        ConfigError: one can't be read.
    """
    with ExitStack() as stack:
        try:
            contents = [Path(file).read_bytes() for file in (cert, key)]
            held = [
                stack.enter_context(os.fdopen(os.memfd_create("pair"), "wb", buffering=0))
                for _ in contents
            ]
            for file, content in zip(held, contents, strict=True):
                file.write(content)
        except OSError as error:
            raise _no_pair(error) from error
        first, second = (f"/proc/self/fd/{file.fileno()}" for file in held)
        yield first, second


def _no_pair(error: Exception) -> ConfigError:
    fix = "give PEM files that belong together, the key without a passphrase"
    return ConfigError(f"can't be loaded: {error}", key="gateway.tls_cert or tls_key", fix=fix)


def good_until(server: ssl.SSLContext, cert: str) -> float:
    """Return until when the certificate of a server's context is good, in seconds since 1970.

    A handshake in memory finds it, in which the client trusts `cert`, the certificate's file.

    Raises:
        ConfigError: no client would take it, for it has expired or is not meant for servers.
    """
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    client.load_verify_locations(cert)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = client.wrap_bio(to_client, to_server)
    sides = (ours, server.wrap_bio(to_server, to_client, server_side=True))
    try:
        for side in sides * _FLIGHTS:
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    except ssl.SSLCertVerificationError as error:
        fix = "renew it"
        raise ConfigError(error.verify_message, key="gateway.tls_cert", fix=fix) from error
    found = ours.getpeercert() or {}
    return ssl.cert_time_to_seconds(str(found["notAfter"]))
