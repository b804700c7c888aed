"""A TCP proxy that breaks what goes through it, as networks do.

Laws:

- Each connection has one thread for each direction; the weather is looked at with each chunk, so
  it strikes connections that are open already.
- What is held back is bounded, so a stalled proxy pushes back like a full TCP window.
- A connection through which bytes were lost is never well again: `heal` resets it.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections import deque
from dataclasses import dataclass
from types import TracebackType

from rtmpump.sandbox.ports import free_port
from rtmpump.sandbox.slack.stream import Stream

_HELD_MAX = 1 << 20
_LOOK_EVERY = 0.05
_JOIN_SECONDS = 10.0


@dataclass(frozen=True)
class Weather:
    """What the network does. Seconds and bytes.

    `delay` holds back each chunk for so long; `step` writes so many bytes in a send of their own
    (0 = as they come); `stalls` lets nothing through for the time being; `loses` makes packets of
    these directions vanish ("up" is from the client to the server, "down" the other way).
    """

    delay: float = 0.0
    step: int = 0
    stalls: bool = False
    loses: frozenset[str] = frozenset()


FAIR = Weather()
HALF_OPEN = Weather(loses=frozenset({"up", "down"}))


class Proxy:
    """Listens on `port` of 127.0.0.1 as soon as it is made, and connects to `target` there."""

    def __init__(self, target: int) -> None:
        self.port = free_port()
        self.weather = FAIR
        self._target = target
        self._lock = threading.Lock()
        self._links: set[_Link] = set()
        self._threads: set[threading.Thread] = set()
        self._stopping = False
        self._server = socket.create_server(("127.0.0.1", self.port))
        self._spawn(self._accept)

    @property
    def open(self) -> int:
        """How many connections there are."""
        with self._lock:
            return len(self._links)

    def heal(self) -> None:
        """Fair weather again; what lost bytes is reset."""
        self.weather = FAIR
        for link in self._open_links():
            if link.has_lost:
                link.end(reset=True)

    def reset(self) -> None:
        """Reset every connection (RST)."""
        for link in self._open_links():
            link.end(reset=True)

    def cut(self) -> None:
        """End every connection (FIN)."""
        for link in self._open_links():
            link.end()

    def stop(self) -> None:
        """End all; returns when every thread has ended."""
        with self._lock:
            self._stopping = True
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self.reset()
        deadline = time.monotonic() + _JOIN_SECONDS
        for thread in self._running():
            thread.join(max(0.0, deadline - time.monotonic()))

    def __enter__(self) -> Proxy:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            self._spawn(lambda client=client: self._serve(client))

    def _serve(self, client: socket.socket) -> None:
        try:
            server = socket.create_connection(("127.0.0.1", self._target), timeout=5)
        except OSError:
            client.close()
            return
        link = _Link(self, Stream(client), Stream(server))
        with self._lock:
            self._links.add(link)
            stopping = self._stopping
        if stopping:
            link.end(reset=True)
        try:
            link.serve()
        finally:
            with self._lock:
                self._links.discard(link)

    def _open_links(self) -> list[_Link]:
        with self._lock:
            return list(self._links)

    def _running(self) -> list[threading.Thread]:
        with self._lock:
            return list(self._threads)

    def _spawn(self, work: object) -> None:
        def run() -> None:
            try:
                work()  # type: ignore[operator]
            finally:
                with self._lock:
                    self._threads.discard(threading.current_thread())

        thread = threading.Thread(target=run, name="proxy", daemon=True)
        with self._lock:
            self._threads.add(thread)
        thread.start()


class _Link:
    """One connection through the proxy."""

    def __init__(self, proxy: Proxy, client: Stream, server: Stream) -> None:
        self._proxy = proxy
        self._client = client
        self._server = server
        self.has_lost = False
        self._is_reset = False

    def serve(self) -> None:
        """Carry bytes both ways until one side has ended."""
        down = threading.Thread(
            target=self._carry, args=(self._server, self._client, "down"), daemon=True
        )
        down.start()
        self._carry(self._client, self._server, "up")
        down.join()
        self._client.close()
        self._server.close()

    def end(self, *, reset: bool = False) -> None:
        """End both sides."""
        # Said of both before either ends: the end of one makes the other close in its own thread.
        self._is_reset = self._is_reset or reset
        self._client.end(reset=self._is_reset)
        self._server.end(reset=self._is_reset)

    def _carry(self, source: Stream, target: Stream, way: str) -> None:
        """One direction; its end is the end of the connection."""
        held: deque[tuple[float, bytes]] = deque()
        size = 0
        over = False
        try:
            while held or not over:
                weather = self._proxy.weather
                if not over and size < _HELD_MAX:
                    data = self._read(source, held, weather)
                    weather = self._proxy.weather
                    if data == b"":
                        over = True
                    elif data and way in weather.loses:
                        self.has_lost = True
                        # Healed since: `heal` has not seen that this one lost something.
                        if way not in self._proxy.weather.loses:
                            self.end(reset=True)
                    elif data and not self.has_lost:
                        held.append((time.monotonic() + weather.delay, data))
                        size += len(data)
                elif held:
                    time.sleep(min(_LOOK_EVERY, max(0.0, held[0][0] - time.monotonic())))
                while held and held[0][0] <= time.monotonic() and not self._proxy.weather.stalls:
                    _, data = held.popleft()
                    size -= len(data)
                    target.write(data, step=weather.step)
                if held and self._proxy.weather.stalls:
                    time.sleep(_LOOK_EVERY)
                if source.ended or target.ended:
                    return
        except OSError:
            return
        finally:
            self.end()

    def _read(
        self, source: Stream, held: deque[tuple[float, bytes]], weather: Weather
    ) -> bytes | None:
        """What has come; None if nothing did before there is something else to do."""
        if weather.stalls and held:
            return None
        wait = _LOOK_EVERY
        if held:
            wait = min(wait, max(0.0, held[0][0] - time.monotonic()))
        try:
            return source.read(wait)
        except TimeoutError:
            return None
