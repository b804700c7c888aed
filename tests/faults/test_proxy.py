"""Facts about the proxy: each kind of weather does what it says."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from tests.faults.proxy import FAIR, HALF_OPEN, Proxy, Weather
from tests.support.waiting import wait_until

pytestmark = pytest.mark.real


@pytest.fixture
def server() -> Iterator[socket.socket]:
    """A listening socket."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


@pytest.fixture
def proxy(server: socket.socket) -> Iterator[Proxy]:
    """A proxy before it."""
    with Proxy(server.getsockname()[1]) as proxy:
        yield proxy


@pytest.fixture
def ends(proxy: Proxy, server: socket.socket) -> Iterator[tuple[socket.socket, socket.socket]]:
    """Client's and server's end of one connection."""
    with socket.create_connection(("127.0.0.1", proxy.port)) as client:
        peer, _ = server.accept()
        with peer:
            client.settimeout(10)
            peer.settimeout(10)
            yield client, peer


Ends = tuple[socket.socket, socket.socket]


def test_what_goes_in_comes_out(ends: Ends) -> None:
    """Both ways, many bytes, in order."""
    client, peer = ends
    data = bytes(range(256)) * 10_000
    writer = threading.Thread(target=client.sendall, args=(data,))
    writer.start()
    got = b""
    while len(got) < len(data):
        got += peer.recv(1 << 16)
    writer.join()
    assert got == data
    peer.sendall(b"back")
    assert client.recv(10) == b"back"


def test_a_byte_at_a_time(proxy: Proxy, ends: Ends) -> None:
    """All of it comes."""
    client, peer = ends
    proxy.weather = Weather(step=1)
    client.sendall(b"0123456789")
    got = b""
    while len(got) < 10:
        got += peer.recv(100)
    assert got == b"0123456789"


def test_delay_holds_back(proxy: Proxy, ends: Ends) -> None:
    """For as long as it says, and no chunk waits for the one before."""
    client, peer = ends
    proxy.weather = Weather(delay=0.5)
    began = time.monotonic()
    client.sendall(b"a")
    time.sleep(0.2)
    client.sendall(b"b")
    assert peer.recv(1) == b"a"
    assert time.monotonic() - began >= 0.5
    assert peer.recv(1) == b"b"


def test_a_stall_loses_nothing(proxy: Proxy, ends: Ends) -> None:
    """Nothing comes, and then all of it."""
    client, peer = ends
    proxy.weather = Weather(stalls=True)
    client.sendall(b"late")
    peer.settimeout(0.3)
    with pytest.raises(TimeoutError):
        peer.recv(1)
    proxy.heal()
    peer.settimeout(10)
    assert peer.recv(10) == b"late"


def test_a_half_open_link_swallows_and_is_never_well_again(proxy: Proxy, ends: Ends) -> None:
    """Neither side sees an error while it lasts; then the connection is reset."""
    client, peer = ends
    proxy.weather = HALF_OPEN
    client.sendall(b"gone")
    peer.sendall(b"gone")
    peer.settimeout(0.3)
    with pytest.raises(TimeoutError):
        peer.recv(1)
    # The proxy's threads may be slow to swallow it, and what they find after the healing passes.
    wait_until(lambda: all(link.has_lost for link in proxy._open_links()))
    proxy.heal()
    assert proxy.weather == FAIR
    with pytest.raises(ConnectionResetError):
        client.recv(1)


def test_reset_and_cut(proxy: Proxy, server: socket.socket) -> None:
    """RST is an error at both ends, FIN is an end."""
    # Many resets, because the two ends are closed by threads that race.
    for end, reset in (*[(proxy.reset, True)] * 50, (proxy.cut, False)):
        with socket.create_connection(("127.0.0.1", proxy.port)) as client:
            peer, _ = server.accept()
            with peer:
                wait_until(lambda: proxy.open == 1)
                end()
                for one in (client, peer):
                    one.settimeout(10)
                    if reset:
                        with pytest.raises(ConnectionResetError):
                            one.recv(1)
                    else:
                        assert one.recv(1) == b""
        wait_until(lambda: proxy.open == 0)
