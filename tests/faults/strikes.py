"""What strikes in both modes; `strikes_rtm` and `strikes_socket` have what only one of them knows.

A strike that may make a result come twice says so (`breaks_commands`).
"""

from __future__ import annotations

import shutil
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from pika.adapters.blocking_connection import BlockingChannel

from rtmpump.sandbox.slack import faults
from rtmpump.sandbox.slack.faults import Hang, HttpAnswer, Raw, Reset
from rtmpump.sandbox.slack.websocket import Opcode, encode
from tests.faults.consumer import SEEN
from tests.faults.kinds import Kinds, hold
from tests.faults.proxy import HALF_OPEN, Proxy, Weather
from tests.faults.rig import HEARTBEAT, Rig, stop_for

KINDS: Final = Kinds()
ENDS_PUMP: Final = Kinds()
"""Those that end the pump's process."""

_HTML: Final = HttpAnswer(200, {"content-type": "text/html"}, "<html>Slack is over there</html>")
# A limit without its time would let a channel rest for half a minute, and hide what follows.
ANSWERS: Final[tuple[faults.ApiFault, ...]] = (
    HttpAnswer(429, {"retry-after": "1"}),
    HttpAnswer(500),
    HttpAnswer(503, {}, "no"),
    _HTML,
    Hang(1.0),
    Reset(),
)
"""What any method of Slack's Web API may come to."""

_MUCH: Final = 6_000.0
_REFUSED: Final = "spool.refuses"

kind = KINDS.enter


# The pump.


@ENDS_PUMP.enter("pump: kill -9")
def _kill(rig: Rig) -> None:
    with rig.breaks_commands():
        # The more it has in its hands, the more it can lose.
        with rig.flood.at(_MUCH):
            hold(rig, 0, 0.5)
            rig.end_pump(rig.pump.kill)
        hold(rig, 0, 0.5)
        rig.start_pump()


@ENDS_PUMP.enter("pump: kill -9 while nothing can be stored")
def kill_at_full_disk(rig: Rig) -> None:
    """What it has read and could not commit is surely in its hands alone."""
    rig.recover()
    told = rig.pump.log_text().count(_REFUSED)
    with rig.breaks_commands():
        with _no_room(rig), rig.flood.at(_MUCH):
            # The log of the spool has room of its own, which must be used up first.
            rig.wait(lambda: rig.pump.log_text().count(_REFUSED) > told, "for a refusal")
            hold(rig, 0, 0.5)
            rig.end_pump(rig.pump.kill)
        rig.start_pump()


@ENDS_PUMP.enter("pump: kill -9 while it starts")
def _kill_at_start(rig: Rig) -> None:
    with rig.breaks_commands():
        for _ in range(3):
            rig.end_pump(rig.pump.kill)
            rig.start_pump()
            hold(rig, 0, 1.2)


@ENDS_PUMP.enter("pump: SIGTERM")
def _terminate(rig: Rig) -> None:
    with rig.breaks_commands():
        rig.end_pump(rig.stop_pump)
        rig.start_pump()


@kind("pump: SIGSTOP")
def _freeze(rig: Rig) -> None:
    with rig.breaks_commands():
        stop_for(rig.pump.pid, rig.dice.uniform(0.5, 3 * HEARTBEAT + 1))


# The broker.


@kind("broker: stop and start")
def _restart(rig: Rig) -> None:
    with rig.breaks_commands():
        rig.node.stop()
        hold(rig, 0, 2)
        rig.node.start()


@kind("broker: kill -9")
def _kill_broker(rig: Rig) -> None:
    with rig.breaks_commands():
        rig.kill_node()
        hold(rig, 0, 2)
        rig.node.start()


@kind("broker: SIGSTOP")
def _freeze_broker(rig: Rig) -> None:
    with rig.breaks_commands():
        stop_for(rig.node.pid, rig.dice.uniform(1, 3 * HEARTBEAT + 1))


@kind("broker: memory alarm")
def _memory_alarm(rig: Rig) -> None:
    rig.node.ctl("set_vm_memory_high_watermark", "0.000001")
    hold(rig, 0, 2)
    rig.node.ctl("set_vm_memory_high_watermark", "0.4")


@kind("broker: disk alarm")
def _disk_alarm(rig: Rig) -> None:
    rig.node.ctl("set_disk_free_limit", "1000000GB")
    hold(rig, 0, 2)
    rig.node.ctl("set_disk_free_limit", "50MB")


@kind("broker: connections closed by an operator")
def _close_connections(rig: Rig) -> None:
    with rig.breaks_commands():
        rig.node.ctl("close_all_connections", "maintenance")


@kind("broker: channels killed")
def _kill_channels(rig: Rig) -> None:
    with rig.breaks_commands():
        rig.node.ctl("eval", "[exit(P, kill) || P <- rabbit_channel:list_local()].")


@kind("broker: events exchange deleted")
def _delete_exchange(rig: Rig) -> None:
    with rig.broker() as broker, rig.ledger.unbound():
        broker.channel.exchange_delete("rtm.events")
        # The consumer's own binding went with it, and only the consumer can know.
        broker.channel.exchange_declare("rtm.events", "topic", durable=True)
        broker.bind(SEEN, "rtm.events")
        rig.bind_questions()


@kind("broker: type exchange deleted")
def _delete_type(rig: Rig) -> None:
    with rig.broker() as broker:
        broker.channel.exchange_delete("rtm.user_typing")


@kind("broker: type exchange declared as another kind")
def _change_type(rig: Rig) -> None:
    for kind in ("fanout", "topic"):
        with rig.breaks_commands():
            with rig.broker() as broker:
                broker.channel.exchange_delete("rtm.user_typing")
                broker.channel.exchange_declare("rtm.user_typing", kind, durable=True)
            rig.node.ctl("close_all_connections", "maintenance")
            hold(rig, 0, 1)


@contextmanager
def _unbound(rig: Rig) -> Iterator[BlockingChannel]:
    """All events are unrouted in this time."""
    with rig.broker() as broker, rig.ledger.unbound():
        broker.channel.queue_unbind(SEEN, "rtm.events", "#")
        yield broker.channel
        hold(rig, 0.2, 1)
        broker.bind(SEEN, "rtm.events")


@kind("broker: unrouted exchange deleted")
def _delete_unrouted(rig: Rig) -> None:
    with _unbound(rig) as channel:
        channel.exchange_delete("rtm.unrouted")
    rig.bind_questions()


@kind("broker: unrouted queue unbound")
def _unbind_unrouted(rig: Rig) -> None:
    with _unbound(rig) as channel:
        channel.queue_unbind("rtm.unrouted", "rtm.unrouted")


@kind("broker: consumer's binding deleted")
def _unbind(rig: Rig) -> None:
    with _unbound(rig):
        pass


@kind("broker: commands' queues deleted")
def _delete_outbound(rig: Rig) -> None:
    # What lies in a queue goes with it, and that is the operator's doing; so let it be empty.
    rig.commands.hold()
    try:
        with rig.breaks_commands(), rig.broker() as broker:
            for queue in ("rtm.outbound", "rtm.outbound.dead"):
                broker.channel.queue_delete(queue)
            rig.wait(lambda: broker.exists(queue="rtm.outbound"))
    finally:
        rig.commands.go_on()


@kind("broker: a full queue that rejects")
def _full_queue(rig: Rig) -> None:
    with rig.broker() as broker:
        full = {"x-max-length": 10, "x-overflow": "reject-publish", "x-queue-type": "quorum"}
        broker.channel.queue_declare("faults.full", durable=True, arguments=full)
        broker.bind("faults.full", "rtm.events")
        hold(rig, 0.5, 3)
        broker.channel.queue_delete("faults.full")


# The networks.


def _weather(proxy: Proxy, weather: Weather, rig: Rig, low: float, high: float) -> None:
    proxy.weather = weather
    try:
        hold(rig, low, high)
    finally:
        proxy.heal()


def _some_weather(rig: Rig, which: str) -> Weather:
    match which:
        case "delay":
            return Weather(delay=rig.dice.uniform(0.05, 1.5))
        case "one byte at a time":
            return Weather(step=1)
        case "stall":
            return Weather(stalls=True)
        case "half open, up":
            return Weather(loses=frozenset({"up"}))
        case "half open, down":
            return Weather(loses=frozenset({"down"}))
    return HALF_OPEN


_WEATHERS: Final = (
    "delay",
    "one byte at a time",
    "stall",
    "half open",
    "half open, up",
    "half open, down",
)


def _enter_network(name: str, proxy_of: Callable[[Rig], Proxy]) -> None:
    """All that can happen to one of the two networks."""

    def reset(rig: Rig) -> None:
        with rig.breaks_commands():
            proxy_of(rig).reset()

    def cut(rig: Rig) -> None:
        with rig.breaks_commands():
            proxy_of(rig).cut()

    def reset_in_delay(rig: Rig) -> None:
        # What is on the way dies with the connection, and was sent long before.
        with rig.breaks_commands():
            proxy = proxy_of(rig)
            proxy.weather = Weather(delay=rig.dice.uniform(0.5, 1.5))
            hold(rig, 0.5, 3)
            proxy.reset()
            proxy.heal()

    kind(f"{name}: reset")(reset)
    kind(f"{name}: cut")(cut)
    kind(f"{name}: reset after delay")(reset_in_delay)
    for which in _WEATHERS:

        def strike(rig: Rig, which: str = which) -> None:
            with rig.breaks_commands():
                _weather(proxy_of(rig), _some_weather(rig, which), rig, 0.5, 6)

        kind(f"{name}: {which}")(strike)


_enter_network("broker's network", lambda rig: rig.amqp_proxy)
_enter_network("Slack's network", lambda rig: rig.slack_proxy)


# Slack.


@kind("Slack: closes in order")
def _close(rig: Rig) -> None:
    rig.workspace.close(rig.dice.choice((1000, 1001, 1011)), "bye")


@kind("Slack: silent")
def _silence(rig: Rig) -> None:
    rig.workspace.silence()


@kind("Slack: down and up")
def _down(rig: Rig) -> None:
    rig.workspace.down()
    hold(rig, 0, 3)
    rig.workspace.up()


@kind("Slack: 429, 500, HTML and errors when we connect")
def _api_errors(rig: Rig) -> None:
    answers: list[faults.ApiFault] = [
        *ANSWERS,
        "internal_error",
        "never heard of",
        {"ok": True, "url": 7},
    ]
    rig.workspace.faults.api_errors[rig.mode.dials].extend(rig.dice.sample(answers, 3))
    rig.workspace.cut()


@kind("Slack: no upgrade")
def _handshakes(rig: Rig) -> None:
    answers: list[faults.HandshakeFault] = [
        HttpAnswer(429, {"retry-after": "1"}),
        HttpAnswer(500),
        HttpAnswer(404),
        Hang(1.0),
        Reset(),
    ]
    rig.workspace.faults.handshakes.extend(rig.dice.sample(answers, 2))
    rig.workspace.cut()


@kind("Slack: odd upgrades")
def _odd_upgrades(rig: Rig) -> None:
    heads = [
        b"\r\n\r\n",
        b"HTTP/1.1\r\n\r\n",
        b"HTTP/1.1 99999999999 much\r\n\r\n",
        b"HTTP/1.1 101 x\r\nUpgrade\r\nConnection: Upgrade\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 100_000,
        b"HTTP/1.1 503 x\r\nContent-Length: 60000000\r\n\r\n" + b"x" * (8 << 20),
        rig.dice.randbytes(2_000),
    ]
    rig.workspace.faults.handshakes.extend(map(Raw, rig.dice.sample(heads, 3)))
    rig.workspace.cut()


@kind("Slack: no hello")
def _no_hello(rig: Rig) -> None:
    rig.workspace.faults.hello = deque(["never"])
    rig.workspace.cut()


@kind("Slack: bytes that are no frames")
def _garbage(rig: Rig) -> None:
    # A reserved bit is set: else it might pass for the beginning of a frame.
    rig.workspace.raw(b"\xf1" + rig.dice.randbytes(rig.dice.randrange(1, 4_000)))


@kind("Slack: a frame that never ends")
def _endless(rig: Rig) -> None:
    # Text, 2**62 bytes long: nothing that follows is seen.
    rig.workspace.raw(b"\x81\x7f" + (1 << 62).to_bytes(8, "big"))


@kind("Slack: frames that are no events")
def _nonsense(rig: Rig) -> None:
    dice = rig.dice
    for _ in range(20):
        odd = [dice.randbytes(50), b"[" * 5_000, b"null", b"", b'{"type": 7}', b"{}", b'"\\ud800"']
        # Not as an event: Slack would go on sending what nobody can acknowledge.
        opcode = Opcode.BINARY if dice.random() < 0.3 else Opcode.TEXT
        rig.workspace.raw(encode(dice.choice(odd), opcode))


@kind("Slack: fragments and single bytes")
def _fragments(rig: Rig) -> None:
    rig.workspace.faults.fragment = rig.dice.randrange(1, 40)
    hold(rig, 0.5, 2)
    rig.workspace.faults.fragment = 0


# The disk.


@kind("disk: full")
def _full_disk(rig: Rig) -> None:
    with _no_room(rig):
        pass


@contextmanager
def _no_room(rig: Rig) -> Iterator[None]:
    """No byte is left on the spool's disk; or, where there is none of its own, no broker."""
    if not rig.disk:
        with _spool_at_cap(rig):
            yield
        return
    ballast = rig.folder / "disk" / "ballast"
    try:
        with ballast.open("wb") as file:
            while (free := shutil.disk_usage(ballast.parent).free) > 0:
                file.write(b"x" * min(free, 1 << 20))
                file.flush()
    except OSError:
        pass
    try:
        hold(rig, 0.5, 4)
        yield
    finally:
        ballast.unlink(missing_ok=True)


@kind("disk: the spool at its cap")
def _fill_spool(rig: Rig) -> None:
    with _spool_at_cap(rig):
        pass


@contextmanager
def _spool_at_cap(rig: Rig) -> Iterator[None]:
    """The broker is away for so long that nothing more may be stored."""
    with rig.breaks_commands():
        rig.amqp_proxy.weather = Weather(stalls=True)
        try:
            with rig.flood.at(_MUCH):
                hold(rig, 8, 12)
            yield
        finally:
            rig.amqp_proxy.heal()


def leave_nothing(rig: Rig) -> None:
    """Take back what a strike left to come: queues of faults that nothing has used up."""
    rig.workspace.faults = rig.mode.fair(rig.workspace.faults.place)
