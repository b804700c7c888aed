"""Facts about the client's side of TLS, with real handshakes."""

from __future__ import annotations

import socket
import ssl
import threading
from contextlib import suppress
from pathlib import Path

import pytest
import trustme

from rtmpump.errors import ConfigError
from rtmpump.links import tls
from tests.support.tls import make_pair


def handshake(client: ssl.SSLContext, server: ssl.SSLContext, host: str) -> str:
    """Return the version that both agree on; raise the client's error."""

    def serve(one: socket.socket) -> None:
        with suppress(OSError), server.wrap_socket(one, server_side=True) as wrapped:
            wrapped.recv(1)

    ours, theirs = socket.socketpair()
    thread = threading.Thread(target=serve, args=(theirs,))
    thread.start()
    try:
        with client.wrap_socket(ours, server_hostname=host) as wrapped:
            return wrapped.version() or ""
    finally:
        ours.close()
        thread.join(100)


@pytest.mark.real
def test_a_good_certificate_is_taken(tmp_path: Path) -> None:
    """With the newest version that both have."""
    server, ca_file = make_pair(tmp_path, "slack.example")
    assert handshake(tls.client_context(ca_file), server, "slack.example") == "TLSv1.3"
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(tls.client_context(""), server, "slack.example")


@pytest.mark.real
def test_no_older_version_is_spoken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even where the system's policy would let 1.1 pass, which no test can rely on."""
    server, ca_file = make_pair(tmp_path, "slack.example")
    for old in (server, lax := ssl.create_default_context(cafile=ca_file)):
        old.set_ciphers("ALL:@SECLEVEL=0")
        with pytest.warns(DeprecationWarning, match="TLSv1"):
            old.minimum_version = ssl.TLSVersion.TLSv1
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        server.maximum_version = ssl.TLSVersion.TLSv1_1
    assert handshake(lax, server, "slack.example") == "TLSv1.1"
    monkeypatch.setattr(ssl, "create_default_context", lambda **_: lax)
    with pytest.raises(ssl.SSLError, match=r"(?i)version|protocol"):
        handshake(tls.client_context(ca_file), server, "slack.example")


def test_a_stricter_policy_of_the_system_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who allows 1.3 alone gets it."""
    strict = ssl.create_default_context()
    strict.minimum_version = ssl.TLSVersion.TLSv1_3
    monkeypatch.setattr(ssl, "create_default_context", lambda **_: strict)
    assert tls.client_context("").minimum_version is ssl.TLSVersion.TLSv1_3


def test_a_pair_that_is_held_stays_as_it_was_read(tmp_path: Path) -> None:
    """Files that are renewed meanwhile change nothing; a missing one is named."""
    names = [str(tmp_path / name) for name in ("cert.pem", "key.pem")]
    made = trustme.CA().issue_cert("slack.example")
    made.cert_chain_pems[0].write_to_path(names[0])
    made.private_key_pem.write_to_path(names[1])
    with tls.held_pair(*names) as held:
        for name in names:
            Path(name).write_text("half")
        for _ in range(2):
            tls.load_pair(ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), *held)
    Path(names[1]).unlink()
    with pytest.raises(ConfigError, match=r"key\.pem"), tls.held_pair(*names):
        pass
