"""What is served under which path: Slack's Web API, the WebSockets, health and metrics."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final, NamedTuple, TypeAlias
from urllib.parse import urlsplit

from aiohttp import web

from rtmpump.core.host_field import is_ours
from rtmpump.gateway import arguments
from rtmpump.gateway.arguments import BODY_MAX, ApiRequest
from rtmpump.gateway.page import HEADERS, GatewayPage
from rtmpump.gateway.programs import RTM_MAX, Program, Programs
from rtmpump.gateway.rtm_face import RtmSocket
from rtmpump.gateway.shared import Shared
from rtmpump.gateway.socket_face import HOST, EnvelopeSocket
from rtmpump.gateway.web_api import Answer, WebApi, error
from rtmpump.slack_side import rtm, socket_mode
from rtmpump.slack_side.tickets import RTM_PATH, SOCKET_MODE_PATH, Tickets
from rtmpump.slack_side.web_api import BadArguments

FRAME_MAX: Final = 1 << 20
"""The largest frame that a program may send; a larger one ends its connection."""
_PING_EVERY: Final = 10.0
_OPEN_SOCKET: Final = "apps.connections.open"
_OPEN_RTM: Final = "rtm.connect"
_HOST: Final = re.compile(r"[A-Za-z0-9.:\[\]_-]{1,255}")
_NO_TICKET: Final = "the ticket is unknown, used, or over 30 seconds old\n"
_NO_CHANNEL: Final = "RabbitMQ allows the gateway's connection no more channels (channel_max)"
_Handler: TypeAlias = Callable[[web.Request], Awaitable[web.Response]]
_STOPPING: Final = error("service_unavailable", "the gateway is being stopped")


class WebSocketRight(NamedTuple):
    """Who may open a WebSocket, and of which face."""

    client: str
    rtm: bool


class Routes:
    """The handlers; `is_stopping` is set once and refuses new WebSockets."""

    def __init__(self, shared: Shared, programs: Programs, page: GatewayPage) -> None:
        self._shared = shared
        self._programs = programs
        self._page = page
        self._tickets = Tickets[WebSocketRight]()
        self._api = WebApi(shared)
        self.is_stopping = False

    def application(self) -> web.Application:
        """Return the application with all routes."""
        app = web.Application(client_max_size=BODY_MAX)
        for verb in ("GET", "POST"):
            app.router.add_route(verb, "/api/{method}", self._called)
        app.router.add_get(SOCKET_MODE_PATH, self._socket_mode)
        app.router.add_get(f"{RTM_PATH}{{ticket}}", self._rtm)
        looks = {
            "/": self._look,
            "/status": self._status,
            "/livez": self._livez,
            "/readyz": self._readyz,
            "/metrics": self._metrics,
        }
        for path, handler in looks.items():
            app.router.add_get(path, partial(self._looked_at, handler))
        return app

    async def _looked_at(self, handler: _Handler, request: web.Request) -> web.Response:
        """Answer what asks for no token, unless a web page of another name asks.

        With TLS a browser has compared our name with the certificate.
        """
        gateway = self._shared.config.gateway
        if not gateway.tls_cert:
            named = request.headers.getall("Host", [])
            names = (gateway.address[0], urlsplit(gateway.public_url).hostname or "")
            local = request.get_extra_info("sockname", ("",))[0]
            # Without one it is HTTP/1.0, which no browser speaks; aiohttp refuses two.
            if named and not is_ours(named[0], names, local):
                raise web.HTTPMisdirectedRequest
        return await handler(request)

    async def _called(self, request: web.Request) -> web.Response:
        try:
            given = await arguments.read(request)
        except BadArguments as bad:
            return _answered(error(bad.code, bad.message))
        program = self._programs.of_token(given.token) if given.token else None
        if program is None:
            code = "invalid_auth" if given.token else "not_authed"
            return _answered(error(code, "the gateway knows no client with this token"))
        return _answered(await self._answer(request, program, given))

    async def _answer(self, request: web.Request, program: Program, given: ApiRequest) -> Answer:
        method = request.match_info["method"]
        if method == _OPEN_SOCKET:
            if self.is_stopping:
                return _STOPPING
            ticket = self._tickets.issue(WebSocketRight(program.name, rtm=False))
            way = f"{SOCKET_MODE_PATH}?ticket={ticket}&app_id=rtmpump"
            return {"ok": True, "url": self._base(request) + way}
        if method == _OPEN_RTM:
            return await self._rtm_connect(request, program)
        if method == "rtm.start":
            return error("method_deprecated", "use rtm.connect")
        return await self._api.call(program, method, given.arguments)

    async def _rtm_connect(self, request: web.Request, program: Program) -> Answer:
        if self.is_stopping:
            return _STOPPING
        if len(program.rtm) >= RTM_MAX:
            return error("too_many_websockets", f"one client has at most {RTM_MAX} over RTM")
        if not self._has_room:
            return error("too_many_websockets", _NO_CHANNEL)
        who = await self._api.identity()
        if not who.get("ok"):
            return who
        domain = str(who.get("url", "")).partition("://")[2].partition(".")[0]
        ticket = self._tickets.issue(WebSocketRight(program.name, rtm=True))
        return {
            "ok": True,
            "url": f"{self._base(request)}{RTM_PATH}{ticket}",
            "team": {"id": who.get("team_id"), "name": who.get("team"), "domain": domain},
            "self": {"id": who.get("user_id"), "name": who.get("user")},
        }

    @property
    def _has_room(self) -> bool:
        return self._shared.broker.has_room(self._programs.websockets)

    def _base(self, request: web.Request) -> str:
        """Return the URL by which the program reaches us, for a WebSocket."""
        if public := self._shared.config.gateway.public_url:
            return f"ws{public.removeprefix('http')}"
        host = request.host if _HOST.fullmatch(request.host) else ""
        scheme = "wss" if self._shared.config.gateway.tls_cert else "ws"
        return f"{scheme}://{host or urlsplit(str(request.url)).netloc}"

    def _redeemed(self, word: str, *, rtm: bool = False) -> Program | None:
        right = self._tickets.redeem(word)
        if right is None or right.rtm != rtm:
            return None
        return self._programs.by_name[right.client]

    async def _socket_mode(self, request: web.Request) -> web.StreamResponse:
        program = self._redeemed(request.query.get("ticket", ""))
        if program is None or self.is_stopping:
            raise web.HTTPForbidden(text=_NO_TICKET)
        socket = _websocket(FRAME_MAX)
        await socket.prepare(request)
        if len(program.sockets) >= socket_mode.CONNECTIONS_MAX or not self._has_room:
            refusal = socket_mode.disconnect(socket_mode.TOO_MANY, host=HOST)
            await socket.send_str(refusal.decode())
            await socket.close()
            return socket

        await EnvelopeSocket(self._shared, program, socket).serve(partial(_cut, request))
        return socket

    async def _rtm(self, request: web.Request) -> web.StreamResponse:
        program = self._redeemed(request.match_info["ticket"], rtm=True)
        is_full = program is not None and (len(program.rtm) >= RTM_MAX or not self._has_room)
        if program is None or self.is_stopping or is_full:
            raise web.HTTPForbidden(text=_NO_TICKET)
        socket = _websocket(rtm.FRAME_MAX)
        await socket.prepare(request)
        await RtmSocket(self._shared, program, socket).serve(partial(_cut, request))
        return socket

    async def _livez(self, _request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _readyz(self, _request: web.Request) -> web.Response:
        if problem := self._page.problem(is_stopping=self.is_stopping):
            return web.Response(status=503, text=f"{problem}\n")
        return web.Response(text="ok\n")

    async def _look(self, _request: web.Request) -> web.Response:
        text = self._page.page(is_stopping=self.is_stopping)
        return web.Response(text=text, content_type="text/html", headers=HEADERS)

    async def _status(self, _request: web.Request) -> web.Response:
        return web.json_response(self._page.status(is_stopping=self.is_stopping), headers=HEADERS)

    async def _metrics(self, _request: web.Request) -> web.Response:
        is_ready = not self._page.problem(is_stopping=self.is_stopping)
        page = self._shared.counts.exposition(is_up=self._shared.broker.is_up, is_ready=is_ready)
        return web.Response(
            body=page, headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"}
        )


def _websocket(most: int) -> web.WebSocketResponse:
    """Return a WebSocket with pings; compressed frames could be small and yet fill the memory."""
    return web.WebSocketResponse(heartbeat=_PING_EVERY, max_msg_size=most, compress=False)


def _cut(request: web.Request) -> None:
    """End a connection at once."""
    if request.transport is not None:
        request.transport.abort()


def _answered(answer: Answer) -> web.Response:
    return web.json_response(answer)
