"""Certificates for the tests, made anew in each run."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import NamedTuple

import trustme


class Pair(NamedTuple):
    """The server's side of TLS, and the file with the authority that signed for it."""

    server: ssl.SSLContext
    ca_file: str


def make_pair(folder: Path, host: str) -> Pair:
    """A certificate for one host (name or address), signed by an authority of its own."""
    authority = trustme.CA()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(host).configure_cert(server)
    ca_file = folder / "ca.pem"
    authority.cert_pem.write_to_path(str(ca_file))
    return Pair(server, str(ca_file))
