"""SIGHUP: tokens, RabbitMQ's URL and the certificate are read again, and nothing is interrupted.

Laws:

- What can't be used is refused and logged; the old one stays.
- A new token counts from the next call on. WebSockets that were opened with the old one stay.
- The files of tokens are read on a thread, for a disk may be slow; one reload at a time.
"""

from __future__ import annotations

import asyncio
import ssl

from rtmpump import log
from rtmpump.config import Config, Secret
from rtmpump.config.secrets import MADE_WITH, GatewayTokenFile
from rtmpump.config.sections import CLIENTS
from rtmpump.errors import ConfigError
from rtmpump.gateway.programs import Programs
from rtmpump.links.rabbitmq import urls
from rtmpump.links.tls import held_pair, load_pair

_OLD_STAYS = "the old one stays"

_log = log.get("gateway")


class GatewayReload:
    """What a reload reads again; `begin` asks for one, and `run` does it."""

    def __init__(self, config: Config, programs: Programs, tls: ssl.SSLContext | None) -> None:
        self._config = config
        self._programs = programs
        self._tls = tls
        self._is_due = asyncio.Event()

    def begin(self) -> None:
        """Read all again; if that is going on already, once more after it."""
        _log.info("reloading")
        self._is_due.set()

    async def run(self) -> None:
        """Serve until this is cancelled."""
        while True:
            await self._is_due.wait()
            self._is_due.clear()
            try:
                self._take(await asyncio.to_thread(self._read))
            except Exception as error:
                _log.error("reload.failed", problem=str(error), fix="ask for it again")
            else:
                _log.info("reloaded")

    def _read(self) -> dict[str, Secret]:
        """Return the tokens that could be read, by the names of their clients."""
        urls.read_again(self._config.broker)
        gateway = self._config.gateway
        found: dict[str, Secret] = {}
        for client in gateway.clients:
            if client.token_file:
                try:
                    found[client.name] = GatewayTokenFile().read(client.token_file)
                except ConfigError as error:
                    _refused(_key_of(client.name), error.problem)
        return found

    def _take(self, found: dict[str, Secret]) -> None:
        self._renew_certificate()
        before = {name: program.token for name, program in self._programs.by_name.items()}
        wanted = before | found
        # One that gets its old token back may be in the way of the next.
        while shared := _shared(wanted):
            for name, other in shared.items():
                if wanted[name] != before[name]:
                    _refused(_key_of(name), f"it is the token of {other} too; {MADE_WITH}")
                    wanted[name] = before[name]
        for name, token in wanted.items():
            if token != before[name]:
                self._programs.by_name[name].token = token
                _log.info("secret.replaced", key=_key_of(name))

    def _renew_certificate(self) -> None:
        """Load it here, on the loop: a handshake on another thread would meet half of it."""
        gateway = self._config.gateway
        if self._tls is None:
            return
        try:
            with held_pair(gateway.tls_cert, gateway.tls_key) as (cert, key):
                # First into one that nobody uses: half of a new pair would end all handshakes.
                # And from what was read once: the files may change between the two.
                load_pair(_server_context(), cert, key)
                load_pair(self._tls, cert, key)
        except ConfigError as error:
            _refused(error.key, error.problem)


def _shared(tokens: dict[str, Secret]) -> dict[str, str]:
    """Return the names whose token another name has too, each with the first such name."""
    names = sorted(tokens)
    pairs = ((one, other) for one in names for other in names if one != other)
    found: dict[str, str] = {}
    for one, other in pairs:
        if tokens[one] == tokens[other]:
            found.setdefault(one, other)
    return found


def tls_of(config: Config) -> ssl.SSLContext | None:
    """Return the context of the listening port, None without TLS.

    Raises:
        ConfigError: certificate or key can't be used.
    """
    gateway = config.gateway
    if not gateway.tls_cert:
        return None
    context = _server_context()
    load_pair(context, gateway.tls_cert, gateway.tls_key)
    return context


def _server_context() -> ssl.SSLContext:
    return ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)


def _key_of(name: str) -> str:
    return f"{CLIENTS}.{name}.token_file"


def _refused(key: str, problem: str) -> None:
    _log.warning("secret.refused", key=key, problem=problem, fix=_OLD_STAYS)
