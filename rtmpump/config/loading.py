"""The configuration: every key with its type and default, as frozen structs.

`find` says which file, `load` reads it and the environment. All that can be known to be wrong
without asking Slack or RabbitMQ is a ConfigError here, before anything starts. How one value is
read is in `config_values`, where values come from in `config_sources`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Final, Literal, NamedTuple, TypeVar, get_type_hints

from msgspec import Struct
from msgspec.structs import replace

from rtmpump.config import secrets
from rtmpump.config import values as kinds
from rtmpump.config.secrets import Secret
from rtmpump.config.sources import Given, from_env, from_file
from rtmpump.errors import ConfigError

__all__ = [
    "Broker",
    "Config",
    "Events",
    "Exposed",
    "Ha",
    "Http",
    "Log",
    "Outbound",
    "Retry",
    "Secret",
    "Slack",
    "SpoolConfig",
    "exposed",
    "find",
    "load",
]

_T = TypeVar("_T")
_DEFAULT_URL: Final = Secret("amqp://guest:guest@localhost:5672/%2F")
_DEFAULT_SPOOL: Final = Path("rtmpump-spool.db")
_PLACES: Final = (Path("config.toml"), Path("/etc/rtmpump/config.toml"))
# The lock's own heartbeat is half of it, and AMQP counts in whole seconds.
_LEAST_HEARTBEAT: Final = 2
_URL_KEYS: Final = ("broker.url", "broker.urls", "broker.url_file")
_TLS: Final = "http is for this machine only, unless slack.insecure = true"


class _TokenSources(NamedTuple):
    """Where one token comes from beside its own key."""

    key: str
    variable: str
    credential: str

    @property
    def fix(self) -> str:
        key = f"slack.{self.key}"
        return f"set {self.variable}, {key}, {key}_file or the systemd credential {self.credential}"


_BOT_TOKEN: Final = _TokenSources("token", "SLACK_API_TOKEN", "slack-token")
_APP_TOKEN: Final = _TokenSources("app_token", "SLACK_APP_TOKEN", "slack-app-token")


class Slack(Struct, frozen=True, kw_only=True):
    """`[slack]`: times in seconds; after `load`, `token` and `app_token` are the ones to use."""

    mode: Annotated[Literal["rtm", "socket"], kinds.Choice("rtm", "socket")] = "rtm"
    token: Annotated[Secret, secrets.Token()] = Secret("")
    token_file: Annotated[str, kinds.Text()] = ""
    app_token: Annotated[Secret, secrets.Token()] = Secret("")
    app_token_file: Annotated[str, kinds.Text()] = ""
    connections: Annotated[int, kinds.Whole(1, 10)] = 2
    slash_answer: Annotated[str, kinds.Text()] = ""
    api_url: Annotated[str, secrets.ApiUrl()] = "https://slack.com/api/"
    ping_interval: Annotated[float, kinds.Duration(3600)] = 15.0
    ping_timeout: Annotated[float, kinds.Duration(3600)] = 10.0
    hello_timeout: Annotated[float, kinds.Duration(3600)] = 15.0
    proxy: Annotated[Secret, secrets.ProxyUrl()] = Secret("")
    ca_file: Annotated[str, kinds.File()] = ""
    batch_presence_aware: Annotated[bool, kinds.Flag()] = True
    insecure: Annotated[bool, kinds.Flag()] = False


class Broker(Struct, frozen=True, kw_only=True):
    """`[broker]`: after `load`, `urls` are the nodes to try in order, and `url` is their first."""

    url: Annotated[Secret, secrets.AmqpUrl()] = _DEFAULT_URL
    urls: Annotated[tuple[Secret, ...], secrets.AmqpUrls()] = ()
    url_file: Annotated[str, kinds.Text()] = ""
    heartbeat: Annotated[int, kinds.WholeSeconds(65_535)] = 15
    ca_file: Annotated[str, kinds.File()] = ""
    client_cert: Annotated[str, kinds.File()] = ""
    client_key: Annotated[str, kinds.File()] = ""
    auth: Annotated[Literal["plain", "external"], kinds.Choice("plain", "external")] = "plain"
    declare: Annotated[
        Literal["active", "passive", "none"], kinds.Choice("active", "passive", "none")
    ] = "active"


class Events(Struct, frozen=True, kw_only=True):
    """`[events]`: `ignore` holds `type` or `type.subtype`, `confirm_window` counts messages.

    `backfill_threads`: for how many seconds before a gap the threads are looked for that went on
    in it.
    """

    exchange: Annotated[str, kinds.Name()] = "rtm.events"
    type_exchange: Annotated[str, kinds.TypeExchange()] = "rtm.{type}"
    unrouted: Annotated[str, kinds.Name(empty=True)] = "rtm.unrouted"
    ignore: Annotated[frozenset[str], kinds.EventTypes()] = frozenset()
    stream: Annotated[str, kinds.Name(empty=True)] = ""
    stream_max_age: Annotated[str, kinds.MaxAge()] = "7D"
    confirm_window: Annotated[int, kinds.Whole(1, 65_535)] = 1024
    backfill: Annotated[bool, kinds.Flag()] = False
    backfill_threads: Annotated[float, kinds.Duration(30 * 86_400)] = 86_400.0


class Outbound(Struct, frozen=True, kw_only=True):
    """`[outbound]`: `rate` in messages a second and channel, `reply_timeout` in seconds.

    `api_methods` are those of the Web API that commands may call, `api_rate` in calls a second of
    each.
    """

    queue: Annotated[str, kinds.Name()] = "rtm.outbound"
    dead_queue: Annotated[str, kinds.Name()] = "rtm.outbound.dead"
    rate: Annotated[float, kinds.Number(100_000)] = 1.0
    burst: Annotated[int, kinds.Whole(1, 100_000)] = 3
    prefetch: Annotated[int, kinds.Whole(1, 65_535)] = 1000
    reply_timeout: Annotated[float, kinds.Duration(600)] = 10.0
    max_attempts: Annotated[int, kinds.Whole(1, 1000)] = 5
    on_uncertain: Annotated[
        Literal["resend", "dead-letter"], kinds.Choice("resend", "dead-letter")
    ] = "resend"
    api_methods: Annotated[frozenset[str], kinds.Methods()] = frozenset()
    api_rate: Annotated[float, kinds.Number(100_000)] = 0.8


class SpoolConfig(Struct, frozen=True, kw_only=True):
    """`[spool]`: sizes in bytes; a relative path is relative to the working folder."""

    path: Annotated[Path, kinds.NewFile()] = _DEFAULT_SPOOL
    max_bytes: Annotated[int, kinds.Size(16 * 2**20)] = 2**30
    when_full: Annotated[Literal["block", "drop_oldest"], kinds.Choice("block", "drop_oldest")] = (
        "block"
    )
    sync: Annotated[Literal["full", "normal"], kinds.Choice("full", "normal")] = "full"


class Retry(Struct, frozen=True, kw_only=True):
    """`[retry]`: seconds."""

    initial: Annotated[float, kinds.Duration()] = 0.5
    max: Annotated[float, kinds.Duration()] = 60.0
    jitter: Annotated[Literal["full", "none"], kinds.Choice("full", "none")] = "full"
    healthy_after: Annotated[float, kinds.Duration()] = 30.0


class Ha(Struct, frozen=True, kw_only=True):
    """`[ha]`: `lock` is the queue by which two pumps of one workspace elect the active one."""

    enabled: Annotated[bool, kinds.Flag()] = False
    lock: Annotated[str, kinds.Name()] = "rtmpump.lock"


class Http(Struct, frozen=True, kw_only=True):
    """`[http]`."""

    listen: Annotated[str, kinds.Address()] = "127.0.0.1:9464"

    @property
    def address(self) -> tuple[str, int] | None:
        """Host and port to listen on; None where there is to be no port."""
        return kinds.host_and_port(self.listen)


class Log(Struct, frozen=True, kw_only=True):
    """`[log]`."""

    level: Annotated[
        Literal["debug", "info", "warning", "error"],
        kinds.Choice("debug", "info", "warning", "error"),
    ] = "info"
    format: Annotated[
        Literal["auto", "console", "json"], kinds.Choice("auto", "console", "json")
    ] = "auto"


class Config(Struct, frozen=True, kw_only=True):
    """All of it; immutable, safe to share between threads and to print."""

    slack: Slack = Slack()
    broker: Broker = Broker()
    events: Events = Events()
    outbound: Outbound = Outbound()
    spool: SpoolConfig = SpoolConfig()
    retry: Retry = Retry()
    ha: Ha = Ha()
    http: Http = Http()
    log: Log = Log()


def find(
    explicit: str | None, env: Mapping[str, str], places: tuple[Path, ...] = _PLACES
) -> Path | None:
    """Return the file to load: `explicit`, $RTMPUMP_CONFIG, or the first of `places` that exists.

    None means defaults and environment alone. Raises ConfigError where a file that somebody named
    does not exist.
    """
    for name, where in ((explicit, "--config"), (env.get("RTMPUMP_CONFIG"), "RTMPUMP_CONFIG")):
        if name:
            if not _exists(Path(name)):
                raise ConfigError(f"no such file: {name}", where=where)
            return Path(name)
    return next((place for place in places if _exists(place)), None)


def load(path: Path | None, env: Mapping[str, str], *, need_token: bool = True) -> Config:
    """Read the file, then the environment over it, and check the whole.

    With `need_token` the token is found in this order: slack.token, SLACK_API_TOKEN,
    slack.token_file, $CREDENTIALS_DIRECTORY/slack-token; in Socket Mode the app-level token is
    found in the same way. Without it, only the keys count and may be empty. Raises ConfigError for
    the first thing that is wrong.
    """
    given = _given(path, env)
    config = Config(**{name: cls(**_values(name, given)) for name, cls in _sections().items()})
    broker = _with_urls(config.broker, given)
    slack = config.slack
    if not (slack.insecure or secrets.is_protected(slack.api_url)):
        raise _place(given, "slack.api_url").wrong(
            ConfigError("must begin with https://", fix=_TLS)
        )
    if need_token:
        slack = replace(slack, token=_token(_BOT_TOKEN, given, env))
    if need_token and slack.mode == "socket":
        slack = replace(slack, app_token=_token(_APP_TOKEN, given, env))
    config = replace(config, slack=slack, broker=broker, spool=_with_path(config.spool, env))
    for problem, names in _contradictions(config):
        where = next((given[name].where for name in names if name in given), "")
        raise ConfigError(problem, where=where)
    return config


class Exposed(NamedTuple):
    """A file with a secret that everybody on this machine may read or write."""

    key: str
    file: str
    mode: str


def exposed(loaded: Config, path: Path | None, env: Mapping[str, str]) -> list[Exposed]:
    """Return the files with secrets whose mode lets everybody in; `path` is what was loaded.

    What systemd hands over as a credential is protected otherwise.
    """
    files = {
        "slack.token_file": loaded.slack.token_file,
        "broker.url_file": loaded.broker.url_file,
        "broker.client_key": loaded.broker.client_key or loaded.broker.client_cert,
    }
    in_file = from_file(path, {s: tuple(keys) for s, keys in _kinds().items()}) if path else []
    holders = [one.name for one in in_file if _holds_secret(one)]
    if path and holders:
        files[holders[0]] = str(path)
    credentials = env.get("CREDENTIALS_DIRECTORY", "")
    return [
        Exposed(key, file, mode)
        for key, file in files.items()
        if file and not (credentials and Path(file).is_relative_to(credentials))
        if (mode := secrets.mode_for_all(Path(file)))
    ]


def _holds_secret(one: Given) -> bool:
    if one.name == "slack.token":
        return bool(one.value)
    is_default = one.value == _DEFAULT_URL.reveal()
    return (
        one.name in ("slack.proxy", *_URL_KEYS)
        and not is_default
        and secrets.holds_secret(one.value)
    )


def _exists(path: Path) -> bool:
    """Tell whether something is there; what can't be looked at is, and `load` tells the reason."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return True


@cache
def _sections() -> dict[str, Any]:
    return get_type_hints(Config)


@cache
def _kinds() -> dict[str, dict[str, kinds.Kind[Any]]]:
    """Return the kind of each key of each section, as the structs are annotated."""
    return {
        section: {
            key: hint.__metadata__[0]
            for key, hint in get_type_hints(cls, include_extras=True).items()
        }
        for section, cls in _sections().items()
    }


def _given(path: Path | None, env: Mapping[str, str]) -> dict[str, Given]:
    """Return each value that somebody set, by its whole name; the environment wins."""
    names = {section: tuple(keys) for section, keys in _kinds().items()}
    in_env = from_env(env, names)
    in_file = from_file(path, names) if path else []
    if any(one.name in _URL_KEYS for one in in_env):
        # These keys are three ways to say one thing, so one in the environment beats each of them.
        in_file = [one for one in in_file if one.name not in _URL_KEYS]
    return {one.name: one for one in in_file + in_env}


def _values(section: str, given: Mapping[str, Given]) -> dict[str, Any]:
    kind_of = _kinds()[section]
    return {
        one.key: _value(one, kind_of[one.key]) for one in given.values() if one.section == section
    }


def _value(one: Given, kind: kinds.Kind[_T]) -> _T:
    try:
        return kind.read_text(one.value) if one.text else kind.read(one.value)
    except ConfigError as error:
        raise one.wrong(error) from None


def _place(given: Mapping[str, Given], name: str) -> Given:
    section, _, key = name.partition(".")
    return given.get(name) or Given(section, key, None, "")


def _with_path(spool: SpoolConfig, env: Mapping[str, str]) -> SpoolConfig:
    """Put the spool into systemd's StateDirectory= (systemd.exec(5)) unless the path was chosen."""
    folder = env.get("STATE_DIRECTORY", "").partition(":")[0]
    if not folder or spool.path != _DEFAULT_SPOOL:
        return spool
    return replace(spool, path=Path(folder) / "spool.db")


def _with_urls(broker: Broker, given: Mapping[str, Given]) -> Broker:
    """Settle which nodes to use; a `url` equal to the default counts as not set."""
    is_set = (broker.url != _DEFAULT_URL, bool(broker.urls), bool(broker.url_file))
    sources = [name for name, one in zip(_URL_KEYS, is_set, strict=True) if one]
    if len(sources) > 1:
        problem = ConfigError(f"stands beside {sources[0]}", fix="keep one of them")
        raise given[sources[1]].wrong(problem)
    urls = broker.urls or (broker.url,)
    if broker.url_file:
        urls = _value(_place(given, "broker.url_file"), secrets.UrlFile())
    return replace(broker, url=urls[0], urls=urls)


def _token(sources: _TokenSources, given: Mapping[str, Given], env: Mapping[str, str]) -> Secret:
    """Return the token of the first source that has one."""
    key, file = f"slack.{sources.key}", f"slack.{sources.key}_file"
    if key in given and (token := _value(given[key], secrets.Token())):
        return token
    if variable := env.get(sources.variable, "").strip():
        one = Given("slack", sources.key, variable, sources.variable)
        return _value(one, secrets.Token())
    if file in given and _value(given[file], kinds.Text()):
        return _value(given[file], secrets.TokenFile())
    credential = Path(env.get("CREDENTIALS_DIRECTORY", ""), sources.credential)
    if env.get("CREDENTIALS_DIRECTORY") and _exists(credential):
        one = Given("slack", sources.key, str(credential), "CREDENTIALS_DIRECTORY")
        return _value(one, secrets.TokenFile())
    problem = f"there is no Slack {'app-level ' * (sources is _APP_TOKEN)}token"
    raise _place(given, key).wrong(ConfigError(problem, fix=sources.fix))


class _Contradiction(NamedTuple):
    """Values that are each right but can't go together; `names` are the keys at fault."""

    problem: str
    names: tuple[str, ...]


def _contradictions(config: Config) -> Iterator[_Contradiction]:
    if config.retry.max < config.retry.initial:
        names = ("retry.max", "retry.initial")
        yield _Contradiction("retry.max must be at least retry.initial", names)
    if config.events.exchange == config.events.unrouted:
        yield _same("events.unrouted", "events.exchange")
    if config.ha.enabled and config.slack.mode == "socket":
        # Slack itself deals the events of an app out to all of its connections.
        problem = 'ha.enabled is for slack.mode = "rtm"; in Socket Mode run one pump'
        yield _Contradiction(problem, ("ha.enabled", "slack.mode"))
    if config.ha.enabled and config.broker.heartbeat < _LEAST_HEARTBEAT:
        problem = f"ha.enabled needs a broker.heartbeat of {_LEAST_HEARTBEAT} seconds or more"
        yield _Contradiction(problem, ("broker.heartbeat", "ha.enabled"))
    yield from _tls_contradictions(config.broker)
    taken: dict[str, str] = {}
    for name, queue in _queues(config):
        if queue in taken:
            yield _same(name, taken[queue])
        taken[queue] = name


def _same(name: str, other: str) -> _Contradiction:
    return _Contradiction(f"{name} and {other} must differ", (name, other))


def _queues(config: Config) -> list[tuple[str, str]]:
    queues = [
        ("outbound.queue", config.outbound.queue),
        ("outbound.dead_queue", config.outbound.dead_queue),
        ("events.unrouted", config.events.unrouted),
        ("events.stream", config.events.stream),
        ("ha.lock", config.ha.lock if config.ha.enabled else ""),
    ]
    return [(name, queue) for name, queue in queues if queue]


def _tls_contradictions(broker: Broker) -> Iterator[_Contradiction]:
    plain = [url for url in broker.urls if not url.reveal().startswith("amqps:")]
    for name in ("ca_file", "client_cert", "client_key"):
        if getattr(broker, name) and plain:
            problem = f"broker.{name} is for TLS: each broker URL must begin with amqps://"
            yield _Contradiction(problem, (f"broker.{name}",))
    if broker.client_key and not broker.client_cert:
        problem = "broker.client_key needs broker.client_cert"
        yield _Contradiction(problem, ("broker.client_key",))
    if broker.auth == "external" and not broker.client_cert:
        problem = 'broker.auth = "external" needs broker.client_cert'
        yield _Contradiction(problem, ("broker.auth",))
