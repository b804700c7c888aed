"""How the configuration is found, read and checked as a whole."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

from msgspec.structs import replace

from rtmpump.config import secrets, values
from rtmpump.config.contradictions import contradictions
from rtmpump.config.secrets import Secret
from rtmpump.config.sections import (
    DEFAULT_SPOOL,
    DEFAULT_URL,
    URL_KEYS,
    Broker,
    Config,
    SpoolConfig,
    kinds,
    sections,
)
from rtmpump.config.sources import Given, from_env, from_file
from rtmpump.errors import ConfigError

_T = TypeVar("_T")
_PLACES: Final = (Path("config.toml"), Path("/etc/rtmpump/config.toml"))
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


def find(
    explicit: str | None, env: Mapping[str, str], places: tuple[Path, ...] = _PLACES
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


def load(path: Path | None, env: Mapping[str, str], *, need_token: bool = True) -> Config:
    """Read the file, then the environment over it, and check the whole.

    With `need_token` the token is searched in this order: slack.token, SLACK_API_TOKEN,
    slack.token_file, $CREDENTIALS_DIRECTORY/slack-token. In Socket Mode the app-level token is
    searched in the same way. Without `need_token` only the keys count, and they may be empty.

    Raises:
        ConfigError: something is wrong; it names the first mistake.
    """
    given = _given(path, env)
    config = Config(**{name: cls(**_values(name, given)) for name, cls in sections().items()})
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
    for problem, names in contradictions(config):
        where = next((given[name].where for name in names if name in given), "")
        raise ConfigError(problem, where=where)
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


def _given(path: Path | None, env: Mapping[str, str]) -> dict[str, Given]:
    """Return each value that is set, by its whole name; the environment wins."""
    names = {section: tuple(keys) for section, keys in kinds().items()}
    in_env = from_env(env, names)
    in_file = from_file(path, names) if path else []
    if any(one.name in URL_KEYS for one in in_env):
        # These keys are three ways to say one thing, so one in the environment replaces them all.
        in_file = [one for one in in_file if one.name not in URL_KEYS]
    return {one.name: one for one in in_file + in_env}


def _values(section: str, given: Mapping[str, Given]) -> dict[str, Any]:
    kind_of = kinds()[section]
    return {
        one.key: _value(one, kind_of[one.key]) for one in given.values() if one.section == section
    }


def _value(one: Given, kind: values.Kind[_T]) -> _T:
    try:
        return kind.read_text(one.value) if one.text else kind.read(one.value)
    except ConfigError as error:
        raise one.wrong(error) from None


def _place(given: Mapping[str, Given], name: str) -> Given:
    section, _, key = name.partition(".")
    return given.get(name) or Given(section, key, None, "")


def _with_path(spool: SpoolConfig, env: Mapping[str, str]) -> SpoolConfig:
    """Put the spool into systemd's StateDirectory= (systemd.exec(5)) unless a path is set."""
    folder = env.get("STATE_DIRECTORY", "").partition(":")[0]
    if not folder or spool.path != DEFAULT_SPOOL:
        return spool
    return replace(spool, path=Path(folder) / "spool.db")


def _with_urls(broker: Broker, given: Mapping[str, Given]) -> Broker:
    """Decide which nodes to use; a `url` equal to the default counts as not set."""
    is_set = (broker.url != DEFAULT_URL, bool(broker.urls), bool(broker.url_file))
    sources = [name for name, one in zip(URL_KEYS, is_set, strict=True) if one]
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
    if file in given and _value(given[file], values.Text()):
        return _value(given[file], secrets.TokenFile())
    credential = Path(env.get("CREDENTIALS_DIRECTORY", ""), sources.credential)
    if env.get("CREDENTIALS_DIRECTORY") and _exists(credential):
        one = Given("slack", sources.key, str(credential), "CREDENTIALS_DIRECTORY")
        return _value(one, secrets.TokenFile())
    problem = f"there is no Slack {'app-level ' * (sources is _APP_TOKEN)}token"
    raise _place(given, key).wrong(ConfigError(problem, fix=sources.fix))
