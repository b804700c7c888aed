"""Programs of many names in one process, as cheap as they can be: they acknowledge, no more.

python -m tests.bench.gateway_programs API_URL NAMES CONNECTIONS COUNT. Says `ready` when each name
has so many connections; then, once COUNT envelopes came that are no repeats, from first to last
(`seconds`), what it cost (`cpu`, seconds), and when each event first came (`times`, monotonic).
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Final

import aiohttp

from tests.bench.flow import NUMBER, token

_CALL_WITHIN: Final = 60


def main() -> None:
    """Run until all came."""
    api_url, names, connections, count = sys.argv[1:]
    asyncio.run(_Programs(api_url, int(count)).run(int(names), int(connections)))


class _Programs:
    def __init__(self, api_url: str, count: int) -> None:
        self._api_url = api_url
        self._count = count
        self._came: set[tuple[int, int]] = set()
        self._times: dict[int, float] = {}
        self._first = 0.0
        self._over = asyncio.Event()

    async def run(self, names: int, connections: int) -> None:
        timeout = aiohttp.ClientTimeout(total=_CALL_WITHIN)
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
            sockets = [
                (number, await self._connected(session, number))
                for number in range(names)
                for _ in range(connections)
            ]
            _say({"ready": True})
            tasks = [asyncio.create_task(self._serve(*one)) for one in sockets]
            await self._over.wait()
            took = time.monotonic() - self._first
            _say({"seconds": took, "cpu": time.process_time(), "times": self._times})
            # The last acknowledgements are on their way; the bench ends us when it has seen them.
            await asyncio.gather(*tasks)

    async def _connected(
        self, session: aiohttp.ClientSession, number: int
    ) -> aiohttp.ClientWebSocketResponse:
        headers = {"Authorization": f"Bearer xapp-{token(number)}"}
        url = f"{self._api_url}apps.connections.open"
        async with session.post(url, headers=headers) as answered:
            found = await answered.json()
        socket = await session.ws_connect(found["url"])
        hello = await socket.receive_json()
        assert hello["type"] == "hello", hello
        return socket

    async def _serve(self, name: int, socket: aiohttp.ClientWebSocketResponse) -> None:
        async for message in socket:
            now = time.monotonic()
            frame = json.loads(message.data)
            if "envelope_id" not in frame:
                continue
            self._first = self._first or now
            number = frame["payload"]["event"][NUMBER]
            self._times.setdefault(number, now)
            # One that was acknowledged late comes again.
            self._came.add((name, number))
            await socket.send_json({"envelope_id": frame["envelope_id"]})
            if len(self._came) == self._count:
                self._over.set()


def _say(what: dict[str, object]) -> None:
    print(json.dumps(what), flush=True)


if __name__ == "__main__":
    main()
