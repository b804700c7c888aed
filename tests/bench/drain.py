"""The load generator's own ceiling: a client that reads the WebSocket and looks at nothing.

python -m tests.bench.drain API_URL TOKEN
"""

from __future__ import annotations

import sys

import websocket

from tests.bench.common import rtm_connect


def main() -> None:
    """Read until the peer ends it."""
    socket = websocket.create_connection(rtm_connect(*sys.argv[1:]))
    into = bytearray(1 << 18)
    assert socket.sock is not None
    while socket.sock.recv_into(into):
        pass


if __name__ == "__main__":
    main()
