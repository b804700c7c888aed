"""The sections of the configuration: every key with its type and default, as frozen structs."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Annotated, Any, Final, Literal, get_type_hints

from msgspec import Struct

from rtmpump.config import secrets, values
from rtmpump.config.secrets import Secret

DEFAULT_URL: Final = Secret("amqp://guest:guest@localhost:5672/%2F")
DEFAULT_SPOOL: Final = Path("rtmpump-spool.db")
URL_KEYS: Final = ("broker.url", "broker.urls", "broker.url_file")
"""Three ways to say where RabbitMQ is; only one of them may be used."""
CLIENTS: Final = "gateway.clients"
"""The tables below this name are one section each, `gateway.clients.NAME`."""


class Slack(Struct, frozen=True, kw_only=True):
    """`[slack]`: times in seconds. After `load`, `token` and `app_token` are the ones to use."""

    mode: Annotated[Literal["rtm", "socket"], values.Choice("rtm", "socket")] = "rtm"
    token: Annotated[Secret, secrets.Token()] = Secret("")
    token_file: Annotated[str, values.Text()] = ""
    app_token: Annotated[Secret, secrets.Token()] = Secret("")
    app_token_file: Annotated[str, values.Text()] = ""
    connections: Annotated[int, values.Whole(1, 10)] = 2
    slash_answer: Annotated[str, values.Text()] = ""
    answered: Annotated[frozenset[str], values.EventTypes()] = frozenset()
    answer_within: Annotated[float, values.Duration(3)] = 2.5
    api_url: Annotated[str, secrets.ApiUrl()] = "https://slack.com/api/"
    ping_interval: Annotated[float, values.Duration(3600)] = 15.0
    ping_timeout: Annotated[float, values.Duration(3600)] = 10.0
    hello_timeout: Annotated[float, values.Duration(3600)] = 15.0
    proxy: Annotated[Secret, secrets.ProxyUrl()] = Secret("")
    ca_file: Annotated[str, values.File()] = ""
    batch_presence_aware: Annotated[bool, values.Flag()] = True
    insecure: Annotated[bool, values.Flag()] = False


class Broker(Struct, frozen=True, kw_only=True):
    """`[broker]`: after `load`, `urls` are the nodes to try in order, and `url` is the first."""

    url: Annotated[Secret, secrets.AmqpUrl()] = DEFAULT_URL
    urls: Annotated[tuple[Secret, ...], secrets.AmqpUrls()] = ()
    url_file: Annotated[str, values.Text()] = ""
    heartbeat: Annotated[int, values.WholeSeconds(65_535)] = 15
    ca_file: Annotated[str, values.File()] = ""
    client_cert: Annotated[str, values.File()] = ""
    client_key: Annotated[str, values.File()] = ""
    auth: Annotated[Literal["plain", "external"], values.Choice("plain", "external")] = "plain"
    declare: Annotated[
        Literal["active", "passive", "none"], values.Choice("active", "passive", "none")
    ] = "active"


class Events(Struct, frozen=True, kw_only=True):
    """`[events]`: `ignore` holds `type` or `type.subtype`, `confirm_window` counts messages.

    `backfill_threads`: a thread that began up to so many seconds before a gap is searched for
    replies in the gap.
    """

    exchange: Annotated[str, values.Name()] = "rtm.events"
    type_exchange: Annotated[str, values.TypeExchange()] = "rtm.{type}"
    unrouted: Annotated[str, values.Name(empty=True)] = "rtm.unrouted"
    ignore: Annotated[frozenset[str], values.EventTypes()] = frozenset()
    stream: Annotated[str, values.Name(empty=True)] = ""
    stream_max_age: Annotated[str, values.MaxAge()] = "7D"
    confirm_window: Annotated[int, values.Whole(1, 65_535)] = 1024
    backfill: Annotated[bool, values.Flag()] = False
    backfill_threads: Annotated[float, values.Duration(30 * 86_400)] = 86_400.0


class Outbound(Struct, frozen=True, kw_only=True):
    """`[outbound]`: `rate` in messages a second for each channel, `reply_timeout` in seconds.

    `api_methods` are the methods of the Web API that commands may call; `api_rate` is in calls a
    second for each method.
    """

    queue: Annotated[str, values.Name()] = "rtm.outbound"
    dead_queue: Annotated[str, values.Name()] = "rtm.outbound.dead"
    rate: Annotated[float, values.Number(100_000)] = 1.0
    burst: Annotated[int, values.Whole(1, 100_000)] = 3
    prefetch: Annotated[int, values.Whole(1, 65_535)] = 1000
    reply_timeout: Annotated[float, values.Duration(600)] = 10.0
    max_attempts: Annotated[int, values.Whole(1, 1000)] = 5
    on_uncertain: Annotated[
        Literal["resend", "dead-letter"], values.Choice("resend", "dead-letter")
    ] = "resend"
    api_methods: Annotated[frozenset[str], values.Methods()] = frozenset()
    api_rate: Annotated[float, values.Number(100_000)] = 0.8


class SpoolConfig(Struct, frozen=True, kw_only=True):
    """`[spool]`: sizes in bytes; a relative path is relative to the working folder."""

    path: Annotated[Path, values.NewFile()] = DEFAULT_SPOOL
    max_bytes: Annotated[int, values.Size(16 * 2**20)] = 2**30
    when_full: Annotated[Literal["block", "drop_oldest"], values.Choice("block", "drop_oldest")] = (
        "block"
    )
    sync: Annotated[Literal["full", "normal"], values.Choice("full", "normal")] = "full"


class Retry(Struct, frozen=True, kw_only=True):
    """`[retry]`: times in seconds."""

    initial: Annotated[float, values.Duration()] = 0.5
    max: Annotated[float, values.Duration()] = 60.0
    jitter: Annotated[Literal["full", "none"], values.Choice("full", "none")] = "full"
    healthy_after: Annotated[float, values.Duration()] = 30.0


class Ha(Struct, frozen=True, kw_only=True):
    """`[ha]`: `lock` is the queue by which two pumps of one workspace elect the active one."""

    enabled: Annotated[bool, values.Flag()] = False
    lock: Annotated[str, values.Name()] = "rtmpump.lock"


class Http(Struct, frozen=True, kw_only=True):
    """`[http]`."""

    listen: Annotated[str, values.Address()] = "127.0.0.1:9464"

    @property
    def address(self) -> tuple[str, int] | None:
        """Host and port to listen on; None for no port."""
        return values.host_and_port(self.listen)


class GatewayClient(Struct, frozen=True, kw_only=True):
    """`[gateway.clients.NAME]`: one program. After `load` for the gateway, `token` is there.

    `token` is without Slack's prefix. `queue` is "" where it is not set: see `queue_name`.
    `max_messages` counts those that wait in it.
    """

    name: str = ""
    token: Annotated[Secret, secrets.GatewayToken()] = Secret("")
    token_file: Annotated[str, values.Text()] = ""
    events: Annotated[tuple[str, ...], values.Patterns()] = ("#",)
    queue: Annotated[str, values.Name(empty=True)] = ""
    max_messages: Annotated[int, values.Whole(1, 1_000_000_000)] = 1_000_000
    api_methods: Annotated[frozenset[str], values.Methods()] = frozenset()
    send: Annotated[bool, values.Flag()] = True

    @property
    def queue_name(self) -> str:
        """The queue that the connections of this client share."""
        return self.queue or f"rtm.gateway.{self.name}"


class Gateway(Struct, frozen=True, kw_only=True):
    """`[gateway]`: `public_url` is what programs reach us by, "" for the host that they name."""

    listen: Annotated[str, values.Address(empty=False)] = "127.0.0.1:9465"
    public_url: Annotated[str, secrets.PublicUrl()] = ""
    tls_cert: Annotated[str, values.Text()] = ""
    tls_key: Annotated[str, values.Text()] = ""
    clients: tuple[GatewayClient, ...] = ()

    @property
    def address(self) -> tuple[str, int]:
        """Host and port to listen on."""
        return values.host_and_port(self.listen) or ("127.0.0.1", 0)


class Log(Struct, frozen=True, kw_only=True):
    """`[log]`."""

    level: Annotated[
        Literal["debug", "info", "warning", "error"],
        values.Choice("debug", "info", "warning", "error"),
    ] = "info"
    format: Annotated[
        Literal["auto", "console", "json"], values.Choice("auto", "console", "json")
    ] = "auto"


class Config(Struct, frozen=True, kw_only=True):
    """All sections; immutable, safe to share between threads and to print."""

    slack: Slack = Slack()
    broker: Broker = Broker()
    events: Events = Events()
    outbound: Outbound = Outbound()
    spool: SpoolConfig = SpoolConfig()
    retry: Retry = Retry()
    ha: Ha = Ha()
    http: Http = Http()
    gateway: Gateway = Gateway()
    log: Log = Log()


@cache
def sections() -> dict[str, Any]:
    """Return the struct of each section, by its name."""
    return get_type_hints(Config)


@cache
def kinds() -> dict[str, dict[str, values.Kind[Any]]]:
    """Return the kind of each key of each section, from the annotations of the structs."""
    return {
        section: {
            key: hint.__metadata__[0]
            for key, hint in get_type_hints(cls, include_extras=True).items()
            if hasattr(hint, "__metadata__")
        }
        for section, cls in sections().items()
    }


@cache
def client_kinds() -> dict[str, values.Kind[Any]]:
    """Return the kind of each key of `[gateway.clients.NAME]`."""
    hints = get_type_hints(GatewayClient, include_extras=True)
    return {
        key: hint.__metadata__[0] for key, hint in hints.items() if hasattr(hint, "__metadata__")
    }


def client_credential(name: str) -> str:
    """Return which systemd credential is the token of a gateway client.

    It is the name that LoadCredential= makes for a file of a folder (systemd.exec(5)).
    """
    return f"gateway_{name}"


@cache
def key_names() -> dict[str, tuple[str, ...]]:
    """Return the keys of each section; those of each gateway client under `CLIENTS`."""
    names = {section: tuple(keys) for section, keys in kinds().items()}
    return names | {CLIENTS: tuple(client_kinds())}
