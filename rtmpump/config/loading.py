"""How the configuration is found, read and checked as a whole."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

from msgspec.structs import replace

from rtmpump.config import secrets, values
from rtmpump.config.contradictions import contradictions
from rtmpump.config.mistakes import Mistakes
from rtmpump.config.secrets import Secret
from rtmpump.config.sections import (
    CLIENTS,
    DEFAULT_SPOOL,
    DEFAULT_URL,
    URL_KEYS,
    Broker,
    Config,
    GatewayClient,
    Slack,
    SpoolConfig,
    client_credential,
    client_kinds,
    key_names,
    kinds,
    sections,
)
from rtmpump.config.sources import Given, from_env, from_file
from rtmpump.errors import ConfigError

_T = TypeVar("_T")
PLACES: Final = (Path("config.toml"), Path("/etc/rtmpump/config.toml"))
"""Where the file is looked for that nobody named."""
_LOOKED_FOR: Final = " and ".join(map(str, PLACES))
# Besides those that end with `_file`.
_PATHS: Final = (
    "broker.client_cert",
    "broker.client_key",
    "gateway.tls_cert",
    "gateway.tls_key",
    "spool.path",
)
_TLS: Final = "http is for this machine only, unless slack.insecure = true"


class _Read(NamedTuple):
    """What was read: the file, if there is one, the environment, and each value that is set."""

    path: Path | None
    env: Mapping[str, str]
    given: Mapping[str, Given]

    def place(self, name: str) -> Given:
        """Return a value; one that is not set has no place."""
        section, _, key = name.rpartition(".")
        return self.given.get(name) or Given(section, key, None, "")


class _TokenSources(NamedTuple):
    """Where one token comes from beside its own key; `foreign` is how the other token begins."""

    key: str
    variable: str
    credential: str
    foreign: str

    def missing(self, env: Mapping[str, str], *, has_file: bool) -> ConfigError:
        """Return the error for a token that no source has."""
        problem = f"there is no Slack {'app-level ' * (self.key == 'app_token')}token"
        if Path(env.get("CREDENTIALS_DIRECTORY", "/"), self.credential).exists():
            file = "the unit's file for it is missing or empty"
            problem += f", the credential {self.credential} is blank ({file})"
        key = f"slack.{self.key}"
        fix = f"set {self.variable}, {key}, {key}_file or the systemd credential {self.credential}"
        others = [name for name in _OTHER_NAMES if self.key == "token" and env.get(name)]
        if others:
            fix = f"rename {others[0]}, which is set, to {self.variable}, or {fix}"
        if not has_file:
            problem += f" and no configuration file ({_LOOKED_FOR} were looked for)"
            fix = f"write one with `rtmpump init`, or {fix}"
        return ConfigError(problem, fix=fix)


_BOT_TOKEN: Final = _TokenSources("token", "SLACK_API_TOKEN", "slack-token", "xapp-")
_APP_TOKEN: Final = _TokenSources("app_token", "SLACK_APP_TOKEN", "slack-app-token", "xox")
_BROKER_URL: Final = "broker-url"
# What other programs call the bot token (Bolt, slackclient).
_OTHER_NAMES: Final = ("SLACK_BOT_TOKEN", "SLACK_TOKEN")


def find(
    explicit: str | None, env: Mapping[str, str], places: tuple[Path, ...] = PLACES
) -> Path | None:
    """Return the file to load: `explicit`, $RTMPUMP_CONFIG, or the first of `places` that exists.

    None means defaults and environment only.

    Raises:
        ConfigError: a file that was named does not exist.
    """
    for name, where in ((explicit, "--config"), (env.get("RTMPUMP_CONFIG"), "RTMPUMP_CONFIG")):
        if name:
            if not _exists(Path(name)):
                raise ConfigError(f"no such file: {name}", where=where)
            return Path(name)
    return next((place for place in places if _exists(place)), None)


def load(
    path: Path | None,
    env: Mapping[str, str],
    *,
    need_token: bool = True,
    need_clients: bool = False,
    folder: str = "",
) -> Config:
    """Read the file, then the environment over it, and check the whole.

    With `need_token` the token is searched in this order: slack.token, SLACK_API_TOKEN,
    slack.token_file, $CREDENTIALS_DIRECTORY/slack-token. In Socket Mode the app-level token is
    searched in the same way. Without `need_token` only the keys count, and they may be empty. A
    credential that is blank counts as none. With `folder` the relative paths of other files begin
    there and become whole; else they begin where the process is.

    With `need_clients`, which is for the gateway, each of its clients must have a token, and those
    that stand in files are read. One that has neither `token` nor `token_file` has the credential
    of its name, which is then its `token_file`.

    Raises:
        ConfigError: something is wrong; the first mistake, and the others as its `more`.
    """
    mistakes = Mistakes()
    given = {name: _based(one, folder) for name, one in _given(path, env, mistakes).items()}
    read = _Read(path, env, given)
    config = Config(
        **{name: cls(**_values(name, given, mistakes)) for name, cls in sections().items()}
    )
    slack, broker = config.slack, config.broker
    with mistakes.collected():
        broker = _with_urls(config.broker, read)
    if not (slack.insecure or secrets.is_protected(slack.api_url)):
        problem = ConfigError("must begin with https://", fix=_TLS)
        mistakes.add(read.place("slack.api_url").wrong(problem))
    if need_token:
        slack = _with_tokens(slack, read, mistakes)
    clients = _clients(read, mistakes, need_tokens=need_clients)
    spool = _with_path(config.spool, env)
    config = replace(
        config,
        slack=slack,
        broker=broker,
        spool=replace(spool, path=Path(folder, spool.path)),
        gateway=replace(config.gateway, clients=clients),
    )
    for contradiction in contradictions(config):
        # A value that could not be read stands there as its default, which contradicts nothing.
        if not mistakes.keys.intersection(contradiction.names):
            names = (name for name in contradiction.names if name in given)
            where = next((given[name].where for name in names), "")
            mistakes.add(ConfigError(contradiction.problem, where=where))
    mistakes.raise_all()
    return config


def _exists(path: Path) -> bool:
    """Return whether a file exists; if it can't be checked it counts, and `load` says why."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return True


def _given(path: Path | None, env: Mapping[str, str], mistakes: Mistakes) -> dict[str, Given]:
    """Return each value that is set, by its whole name; the environment wins."""
    names = key_names()
    in_file = from_file(path, names, mistakes) if path else []
    in_env = from_env(env, names, mistakes)
    if any(one.name in URL_KEYS for one in in_env):
        # These keys are three ways to say one thing, so one in the environment replaces them all.
        in_file = [one for one in in_file if one.name not in URL_KEYS]
    return {one.name: one for one in in_file + in_env}


def _based(one: Given, folder: str) -> Given:
    is_path = one.key.endswith("_file") or one.name in _PATHS
    if not folder or not is_path or not isinstance(one.value, str) or not one.value:
        return one
    return one._replace(value=str(Path(folder, one.value)))


def _clients(read: _Read, mistakes: Mistakes, *, need_tokens: bool) -> tuple[GatewayClient, ...]:
    """Return the gateway's clients in the order of their names."""
    clients: list[GatewayClient] = []
    for one in read.given.values():
        name = one.section.removeprefix(f"{CLIENTS}.")
        if one.key or name == one.section:
            continue
        good = _values(one.section, read.given, mistakes, client_kinds())
        client = GatewayClient(name=name, **good)
        if need_tokens and not mistakes.keys & {f"{one.section}.token"}:
            with mistakes.collected():
                file, token = _client_token(client, one, read)
                client = replace(client, token=token, token_file=file)
        clients.append(client)
    return tuple(sorted(clients, key=lambda client: client.name))


def _client_token(client: GatewayClient, table: Given, read: _Read) -> tuple[str, Secret]:
    """Return the file of a client's token, "" for none, and the token."""
    file = read.place(f"{table.section}.token_file")
    if client.token and client.token_file:
        raise file.wrong(ConfigError("stands beside token", fix="keep one of them"))
    if client.token_file:
        return client.token_file, _value(file, secrets.GatewayTokenFile())
    if client.token:
        return "", client.token
    name = client_credential(client.name)
    if credential := _credential(name, read.env):
        one = Given(table.section, "token_file", str(credential), "CREDENTIALS_DIRECTORY")
        return str(credential), _value(one, secrets.GatewayTokenFile())
    fix = f"set token or token_file, or hand over the systemd credential {name}"
    raise ConfigError("has no token", key=table.section, where=table.where, fix=fix)


def _values(
    section: str,
    given: Mapping[str, Given],
    mistakes: Mistakes,
    kind_of: Mapping[str, values.Kind[Any]] | None = None,
) -> dict[str, Any]:
    kind_of = kinds()[section] if kind_of is None else kind_of
    good: dict[str, Any] = {}
    for one in given.values():
        if one.section == section and one.key:
            with mistakes.collected():
                good[one.key] = _value(one, kind_of[one.key])
    return good


def _value(one: Given, kind: values.Kind[_T]) -> _T:
    try:
        return kind.read_text(one.value) if one.text else kind.read(one.value)
    except ConfigError as error:
        raise one.wrong(error) from None


def _with_path(spool: SpoolConfig, env: Mapping[str, str]) -> SpoolConfig:
    """Put the spool into systemd's StateDirectory= (systemd.exec(5)) unless a path is set."""
    folder = env.get("STATE_DIRECTORY", "").partition(":")[0]
    if not folder or spool.path != DEFAULT_SPOOL:
        return spool
    return replace(spool, path=Path(folder) / "spool.db")


def _with_urls(broker: Broker, read: _Read) -> Broker:
    """Decide which nodes to use; a `url` equal to the default counts as not set."""
    is_set = (broker.url != DEFAULT_URL, bool(broker.urls), bool(broker.url_file))
    sources = [name for name, one in zip(URL_KEYS, is_set, strict=True) if one]
    if len(sources) > 1:
        problem = ConfigError(f"stands beside {sources[0]}", fix="keep one of them")
        raise read.place(sources[1]).wrong(problem)
    urls = broker.urls or (broker.url,)
    if broker.url_file:
        urls = _value(read.place("broker.url_file"), secrets.UrlFile())
    elif not sources and (credential := _credential(_BROKER_URL, read.env)):
        one = Given("broker", "url_file", str(credential), "CREDENTIALS_DIRECTORY")
        urls = _value(one, secrets.UrlFile())
        broker = replace(broker, url_file=str(credential))
    return replace(broker, url=urls[0], urls=urls)


def _with_tokens(slack: Slack, read: _Read, mistakes: Mistakes) -> Slack:
    """Fill in the tokens that the mode needs, each from the first source that has one."""
    for sources in (_BOT_TOKEN, _APP_TOKEN)[: 2 if slack.mode == "socket" else 1]:
        if f"slack.{sources.key}" not in mistakes.keys:
            with mistakes.collected():
                slack = replace(slack, **{sources.key: _right_token(sources, read)})
    return slack


def _right_token(sources: _TokenSources, read: _Read) -> Secret:
    token = _token(sources, read)
    if token.reveal().startswith(sources.foreign):
        problem = f"begins with {sources.foreign}, so it is the other token of the app"
        fix = "the bot token begins with xoxb-, the app-level token with xapp-"
        raise read.place(f"slack.{sources.key}").wrong(ConfigError(problem, fix=fix))
    return token


def _credential(name: str, env: Mapping[str, str]) -> Path | None:
    """Return a credential that systemd hands over (systemd.exec(5)); None if there is none.

    The units give one that is missing a blank default, for a missing file would keep them down.
    """
    credential = Path(env.get("CREDENTIALS_DIRECTORY", ""), name)
    if not env.get("CREDENTIALS_DIRECTORY") or not _exists(credential):
        return None
    return None if secrets.is_blank(credential) else credential


def _token(sources: _TokenSources, read: _Read) -> Secret:
    """Return the token of the first source that has one."""
    key, file = read.place(f"slack.{sources.key}"), read.place(f"slack.{sources.key}_file")
    if key.value is not None and (token := _value(key, secrets.Token())):
        return token
    if variable := read.env.get(sources.variable, "").strip():
        return _value(Given("slack", sources.key, variable, sources.variable), secrets.Token())
    if file.value is not None and _value(file, values.Text()):
        return _value(file, secrets.TokenFile())
    if credential := _credential(sources.credential, read.env):
        one = Given("slack", sources.key, str(credential), "CREDENTIALS_DIRECTORY")
        return _value(one, secrets.TokenFile())
    raise key.wrong(sources.missing(read.env, has_file=read.path is not None))
