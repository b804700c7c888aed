"""The life of the gateway: from the port that opens to the last acknowledgement.

The stop follows what programs do: no new connection is taken; each program is told that its own
ends soon; what it holds may still be acknowledged for a few seconds; then all is closed, and what
is left goes back to RabbitMQ.
"""

from __future__ import annotations

import asyncio
import resource
import signal
import ssl
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from aiohttp import web

from rtmpump import log
from rtmpump.config import Config
from rtmpump.errors import LinkError, PortRefused
from rtmpump.gateway.broker import BrokerLink
from rtmpump.gateway.commands import GatewayCommands
from rtmpump.gateway.counts import GatewayCounts
from rtmpump.gateway.depths import ProgramBacklogs
from rtmpump.gateway.dropped import count_dropped
from rtmpump.gateway.page import GatewayPage
from rtmpump.gateway.programs import ProgramConnection, Programs
from rtmpump.gateway.queues import ProgramQueues
from rtmpump.gateway.reload import GatewayReload, tls_of
from rtmpump.gateway.routes import Routes
from rtmpump.gateway.shared import Shared
from rtmpump.gateway.triggers import Triggers
from rtmpump.gateway.troubles import Troubles
from rtmpump.links.hangup import has_terminal
from rtmpump.links.systemd import Notifier

_WARNED_FOR: Final = 0.5
_DRAINED_WITHIN: Final = 5.0
_CALLS_END_WITHIN: Final = 5.0
# RabbitMQ keeps acks for a quorum queue back for a moment.
_ACKS_ARRIVE: Final = 0.3
_QUEUES_AGAIN: Final = 5.0

_log = log.get("gateway")


def serve(config: Config, notifier: Notifier, file: Path | None) -> None:
    """Serve until SIGTERM or SIGINT; `file` is the configuration's, for the page.

    Raises:
        ConfigError: certificate or key can't be used.
        PortRefused: the port can't be opened.
    """
    _allow_many_files()
    asyncio.run(_Gateway(config, notifier, file).run())


class _Gateway:
    """One run; made on the loop by `run`, for queues and events belong to a loop."""

    def __init__(self, config: Config, notifier: Notifier, file: Path | None) -> None:
        self._config = config
        self._file = file
        self._notifier = notifier

    async def run(self) -> None:
        config = self._config
        asyncio.get_running_loop().set_exception_handler(_report_bug)
        broker = BrokerLink(config.broker, config.retry)
        counts = GatewayCounts()
        counts.begin(client.name for client in config.gateway.clients)
        troubles = Troubles()
        shared = Shared(
            config,
            broker,
            ProgramQueues(config.events.exchange, config.gateway.clients),
            GatewayCommands(config.outbound.queue, broker, troubles),
            Triggers(),
            counts,
            troubles,
        )
        programs = Programs(config.gateway.clients)
        tls = tls_of(config)
        reload = GatewayReload(config, programs, tls)
        depths = ProgramBacklogs(shared)
        routes = Routes(shared, programs, GatewayPage(shared, programs, self._file))
        runner = web.AppRunner(
            routes.application(),
            access_log=None,
            handle_signals=False,
            shutdown_timeout=_CALLS_END_WITHIN,
        )
        await runner.setup()
        stop = _heed_signals(reload)
        site = await self._listen(runner, tls)
        tasks = [
            asyncio.create_task(broker.run()),
            asyncio.create_task(shared.commands.run()),
            asyncio.create_task(_declare(shared)),
            asyncio.create_task(count_dropped(broker, counts, config.gateway.clients)),
            asyncio.create_task(depths.run()),
            asyncio.create_task(reload.run()),
        ]
        beat = asyncio.create_task(self._beat())
        self._notifier.ready()
        done, _ = await asyncio.wait(
            [asyncio.create_task(stop.wait()), *tasks], return_when=asyncio.FIRST_COMPLETED
        )
        _log.info("gateway.stopping")
        self._notifier.stopping()
        routes.is_stopping = True
        await site.stop()
        await _drain(
            [
                one
                for program in programs.by_name.values()
                for one in (*program.sockets, *program.rtm)
            ]
        )
        await runner.cleanup()
        for task in [beat, *tasks]:
            task.cancel()
        await asyncio.gather(beat, *tasks, return_exceptions=True)
        for ended in done:
            # A loop of ours that ended by itself is a bug, and is raised as it is.
            ended.result()
        _log.info("gateway.stopped")

    async def _listen(self, runner: web.AppRunner, tls: ssl.SSLContext | None) -> web.TCPSite:
        gateway = self._config.gateway
        host, port = gateway.address
        site = web.TCPSite(runner, host, port, ssl_context=tls, reuse_address=True)
        try:
            await site.start()
        except OSError as error:
            problem = (error.strerror or str(error)).lower()
            raise PortRefused(gateway.listen, problem, key="gateway.listen") from error
        where = runner.addresses[0]
        _log.info("gateway.listening", host=where[0], port=where[1])
        return site

    async def _beat(self) -> None:
        """Tell the service manager that the loop goes round."""
        interval = self._notifier.watchdog_interval
        while interval is not None:
            self._notifier.watchdog()
            await asyncio.sleep(interval)


async def _declare(shared: Shared) -> None:
    """Bring the queues in line once there is a broker; after each of its ends nothing is due."""
    while True:
        connection = await shared.broker.connection()
        try:
            await shared.queues.begin(connection)
        except LinkError as error:
            problem = error.problem
            if not connection.ended.done():
                shared.troubles.begin(shared.queues, f"the queues of programs: {problem}")
            _log.warning("gateway.queues", problem=problem)
            await asyncio.sleep(_QUEUES_AGAIN)
        else:
            shared.troubles.end(shared.queues)
            await asyncio.Event().wait()


async def _drain(sockets: list[ProgramConnection]) -> None:
    """Have the programs go elsewhere, and wait for what they still acknowledge."""
    if not sockets:
        return
    await asyncio.gather(*(one.disconnect("warning") for one in sockets))
    await asyncio.sleep(_WARNED_FOR)
    await asyncio.gather(*(one.disconnect("refresh_requested") for one in sockets))
    with suppress(TimeoutError):
        async with asyncio.timeout(_DRAINED_WITHIN):
            while any(one.holds for one in sockets):
                await asyncio.sleep(0.05)
    await asyncio.sleep(_ACKS_ARRIVE)
    await asyncio.gather(*(one.close() for one in sockets))


def _report_bug(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log what a callback raised: asyncio's own line would go nowhere."""
    _log.error("gateway.bug", what=context.get("message"), exc_info=context.get("exception"))


def _heed_signals(reload: GatewayReload) -> asyncio.Event:
    """Return what a signal sets that asks us to stop; SIGHUP asks for a reload.

    Where standard input is a terminal, SIGHUP says that it is gone, and we stop.
    """
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if not has_terminal():
        loop.add_signal_handler(signal.SIGHUP, reload.begin)
    elif signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        loop.add_signal_handler(signal.SIGHUP, stop.set)
    return stop


def _allow_many_files() -> None:
    """Take as many open sockets as the machine lets us."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
