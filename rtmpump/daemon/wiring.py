"""Builds the daemon: each part once, from what was built before it.

Laws:

- Pumps know nothing of each other. What one has to report to another goes through a listener that
  is given to it here.
- Nothing is started here, and nothing is asked of Slack or RabbitMQ.
- With `ha.enabled` sender, reader and backfill work in terms, each as long as the lease is held;
  the others run on. Without it there is one term, and no lease.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any, Final, NamedTuple

from rtmpump import log
from rtmpump.config import Config
from rtmpump.core.outbound.commands import POST
from rtmpump.core.session import MessageIds
from rtmpump.daemon.control_socket import ControlSocket
from rtmpump.daemon.election import CurrentTerm, Election, Term
from rtmpump.daemon.link_states import LinkStates
from rtmpump.daemon.reader_listener import PumpsListener
from rtmpump.daemon.reload import Reload
from rtmpump.daemon.service_status import ServiceStatus
from rtmpump.daemon.slack_gate import SlackGate
from rtmpump.errors import SpoolFailed
from rtmpump.http.server import Port
from rtmpump.links.active_role import ActiveRole
from rtmpump.links.answers import Answers
from rtmpump.links.lifecycle import Lifecycle, Pump
from rtmpump.links.slack.asking import Asking
from rtmpump.links.slack.bot_token import BotToken
from rtmpump.links.slack.connection_orders import ConnectionOrders
from rtmpump.links.slack.event_source import EventSource
from rtmpump.links.slack.history import History
from rtmpump.links.slack.rtm import RtmSource
from rtmpump.links.slack.socket_mode import RECENT_IDS, SocketMode
from rtmpump.links.slack.web_api import SlackApi
from rtmpump.links.systemd import Notifier
from rtmpump.metrics import Metrics
from rtmpump.pumps import reader as reading
from rtmpump.pumps.backfill.gap_file import GapFile
from rtmpump.pumps.backfill.pump import Backfill
from rtmpump.pumps.dialer import Dialer
from rtmpump.pumps.directory import Directory
from rtmpump.pumps.lease import Lease
from rtmpump.pumps.outbound import sender as sending
from rtmpump.pumps.publisher import Publisher
from rtmpump.pumps.reader import Reader
from rtmpump.pumps.terms import Terms
from rtmpump.pumps.web_api_workers import WebApiWorkers, crew
from rtmpump.spool import Spool

_READ_AT_ONCE: Final = 1024
_log = log.get("supervisor")


@dataclass(kw_only=True)
class Parts:
    """All parts. With `ha.enabled` there are a lease, and terms by the names of their pumps."""

    config: Config
    metrics: Metrics
    status: ServiceStatus
    spool: Spool
    port: Port | None
    control_socket: ControlSocket | None
    publisher: Publisher
    directory: Directory
    calls: WebApiWorkers
    source: EventSource
    dialer: Dialer | None
    backfill: Backfill | None
    current: CurrentTerm
    reader: Reader
    reload: Reload
    lease: Lease | None = None
    terms: dict[str, Terms[Term]] = field(default_factory=dict)

    def pumps(self) -> dict[str, Pump]:
        """Return what runs on a thread by its name, in the order of the start."""
        # A pump that receives starts before one that sends; the lease last, for it wakes others.
        pumps: dict[str, Pump | None] = {
            "publisher": self.publisher,
            "directory": self.directory,
            **{f"calls-{n}": worker for n, worker in enumerate(self.calls.workers, 1)},
            "sender": self.current.term.sender,
            "backfill": self.backfill,
            "reader": self.reader,
            "dialer": self.dialer,
            **self.terms,
            "lease": self.lease,
        }
        return {name: pump for name, pump in pumps.items() if pump is not None}


class _Base(NamedTuple):
    """What nearly all parts are built on."""

    config: Config
    spool: Spool
    metrics: Metrics
    status: ServiceStatus
    token: BotToken
    api: SlackApi
    ids: MessageIds


def build(config: Config, notifier: Notifier, config_file: Path | None = None) -> Parts:
    """Build all of it; the spool and the port are open afterwards.

    `config_file` is where `config` was loaded from; who asks at the control socket is told.

    Raises:
        SpoolError: the spool can't be opened, or another process holds it.
        PortRefused: the HTTP port can't be had.
        ConfigError: a file that the configuration names can't be used.
    """
    with ExitStack() as undo:
        spool = _open_spool(config)
        undo.callback(spool.close)
        port = None if config.http.address is None else Port(config.http.address)
        metrics = Metrics()
        # A disk that hangs must not hang the pages too.
        metrics.spool = partial(spool.usage, patience=1.0)
        status = ServiceStatus(LinkStates(metrics), notifier, has_role=config.ha.enabled)
        token = BotToken(config.slack.token, status)
        api = SlackApi(config.slack, token=token)
        base = _Base(config, spool, metrics, status, token, api, MessageIds())
        parts = _build_on(base, port, ControlSocket.beside(spool, config_file))
        undo.pop_all()
    return parts


def _build_on(base: _Base, port: Port | None, control_socket: ControlSocket | None) -> Parts:
    config, spool, metrics, status, _, api, _ = base
    answers = Answers(config.slack.answer_within, metrics.answer) if config.slack.answered else None
    publisher = Publisher(config, spool, metrics, Lifecycle(status), answers)
    directory = Directory(api, policy=config.retry, lifecycle=Lifecycle(status))
    calls = _web_api_workers(config, base.token)
    source, rtm, dialer = _event_source(base, answers)
    role = ActiveRole()
    new_term = partial(_new_term, base, SlackGate(role, rtm, calls), directory)
    term = new_term(None)
    backfill = _backfill(base, term, publisher)
    current = CurrentTerm(term, backfill)
    if backfill is not None:
        metrics.backfill_pending = lambda: backfill.pending
    metrics.commands_waiting = current.commands_waiting
    metrics.commands_turn = current.commands_turn
    listener = PumpsListener(publisher, current, directory, backfill)
    reader = Reader(config, source, spool, metrics, term.reading, listener)
    parts = Parts(
        config=config,
        metrics=metrics,
        status=status,
        spool=spool,
        port=port,
        control_socket=control_socket,
        publisher=publisher,
        directory=directory,
        calls=calls,
        source=source,
        dialer=dialer,
        backfill=backfill,
        current=current,
        reader=reader,
        reload=Reload(config.broker, base.api),
    )
    if config.ha.enabled:
        _stand_for_election(parts, role, new_term)
    return parts


def _stand_for_election(
    parts: Parts, role: ActiveRole, new_term: Callable[[int | None], Term]
) -> None:
    """Have sender, reader and backfill work in terms, and build the lease that begins them."""
    reader, status = parts.reader, parts.status
    parts.terms = _in_terms(parts)
    election = Election(parts.current, new_term, tuple(parts.terms.values()), parts.source, status)
    parts.lease = Lease(
        parts.config,
        parts.metrics,
        role,
        watermark=lambda: reader.watermark_ms,
        lifecycle=Lifecycle(status),
        listener=election,
    )
    status.states.role = "standby"


def _in_terms(parts: Parts) -> dict[str, Terms[Term]]:
    reader, backfill, rests = parts.reader, parts.backfill, parts.status.link_rests

    def begin_reading(term: Term) -> Reader:
        reader.begin(term.reading, term.watermark_ms)
        return reader

    terms = {
        "sender": Terms[Term](lambda term: term.sender, partial(rests, sending.LINK)),
        "reader": Terms[Term](begin_reading, partial(rests, reading.LINK)),
    }
    if backfill is not None:
        terms["backfill"] = Terms[Term](partial(_begin_filling, backfill), lambda: None)
    return terms


def _begin_filling(backfill: Backfill, term: Term) -> Backfill:
    backfill.begin(term.filling)
    return backfill


def _new_term(base: _Base, gate: SlackGate, directory: Directory, watermark_ms: int | None) -> Term:
    sender = sending.Sender(
        base.config, base.metrics, gate, directory, base.ids, Lifecycle(base.status)
    )
    return Term(sender, Lifecycle(base.status), Lifecycle(base.status), watermark_ms)


def _event_source(
    base: _Base, answers: Answers | None
) -> tuple[EventSource, RtmSource | None, Dialer | None]:
    """Build the source of events: RTM, which takes commands too, or Socket Mode with its dialer."""
    slack, api = base.config.slack, base.api
    if slack.mode == "rtm":
        rtm = RtmSource(slack, api, base.ids)
        return rtm, rtm, None
    orders, asking = ConnectionOrders(), None
    if answers is not None:
        answers.wake = orders.waker.wake
        asking = Asking[Any](answers, slack.answered, base.config.events.ignore)
    source = SocketMode(slack, api, base.ids, orders, asking=asking)
    source.remember(newest_accepted(base.spool, RECENT_IDS))
    dialer = Dialer(slack, api, policy=base.config.retry, lifecycle=Lifecycle(), orders=orders)
    return source, None, dialer


def newest_accepted(spool: Spool, most: int) -> Iterator[bytes]:
    """Give the bodies of the newest events that the spool holds, at most so many.

    Give none where the disk fails: a repeat of these is acknowledged at once, so no power cut may
    take them.
    """
    with suppress(SpoolFailed):
        spool.sync()
        cursor = spool.usage().last_seq - most
        while rows := spool.read(cursor, _READ_AT_ONCE):
            cursor = rows[-1].seq
            yield from (row.body for row in rows if row.origin.source == SocketMode.name)


def _backfill(base: _Base, term: Term, publisher: Publisher) -> Backfill | None:
    config = base.config
    if not config.events.backfill:
        return None
    gaps = GapFile(config.spool.path, _report)
    history = History(base.api, policy=config.retry, lifecycle=term.filling)
    return Backfill(config, base.spool, gaps, base.metrics, history, publisher.wake)


def _web_api_workers(config: Config, token: BotToken) -> WebApiWorkers:
    """Build the workers for calls of the Web API."""
    methods = config.outbound.api_methods
    posts = config.slack.mode == "socket" or POST in methods
    return WebApiWorkers(
        SlackApi(config.slack, timeout=math.ceil(config.outbound.reply_timeout), token=token),
        crew(posts=posts, methods=len(methods - {POST})),
        stop=Event(),
    )


def _open_spool(config: Config) -> Spool:
    spool = config.spool
    return Spool.open(
        spool.path,
        max_bytes=spool.max_bytes,
        when_full=spool.when_full,
        sync=spool.sync,
        report=_report,
    )


def _report(event: str, fields: dict[str, Any]) -> None:
    _log.warning(event, **fields)
