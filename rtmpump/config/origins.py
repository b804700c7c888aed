"""Where each value of a loaded configuration comes from, for people."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

from rtmpump.config.mistakes import Mistakes
from rtmpump.config.secrets import Secret, is_place, shown_url
from rtmpump.config.sections import (
    CLIENTS,
    URL_KEYS,
    Config,
    Slack,
    client_credential,
    key_names,
    kinds,
)
from rtmpump.config.sources import Given, from_env, from_file
from rtmpump.config.values import MASK

_TOKENS: Final = (
    ("slack.token", "SLACK_API_TOKEN", "slack-token"),
    ("slack.app_token", "SLACK_APP_TOKEN", "slack-app-token"),
)
_DEFAULT: Final = "default"


class ShownValue(NamedTuple):
    """A value as people may see it, and the place that it comes from."""

    value: object
    where: str


def origins(
    loaded: Config, path: Path | None, env: Mapping[str, str], *, has_tokens: bool = True
) -> dict[str, ShownValue]:
    """Return the values that differ from their defaults, and always the tokens and the broker.

    Without `has_tokens` those of Slack are left out. `path` and `env` are what the configuration
    was loaded from. Tokens show as `***`, URLs without their password.
    """
    places = _places(path, env)
    default = Config()
    shown = {
        name: ShownValue(_shown(value), places[name].where)
        for name, value in _values(loaded).items()
        if name in places and name not in URL_KEYS and value != _values(default)[name]
    }
    for token, variable, credential in _TOKENS[: 2 if loaded.slack.mode == "socket" else 1]:
        key = places.get(token)
        others = _token_place(loaded.slack, env, token, variable, credential)
        if has_tokens:
            shown[token] = ShownValue(MASK, key.where if key and key.value else others)
    urls = [shown_url(url) for url in loaded.broker.urls]
    where = _url_place(loaded, places, env)
    shown["broker.url"] = ShownValue(urls[0] if len(urls) == 1 else urls, where)
    ordered = {name: shown[name] for name in _values(loaded) if name in shown}
    return ordered | _of_clients(places) | _credentials_of_clients(loaded, places)


def _credentials_of_clients(loaded: Config, places: Mapping[str, Given]) -> dict[str, ShownValue]:
    """Return the tokens that systemd handed over."""
    return {
        f"{CLIENTS}.{client.name}.token": ShownValue(
            MASK, f"credential {client_credential(client.name)}"
        )
        for client in loaded.gateway.clients
        if client.token_file and f"{CLIENTS}.{client.name}.token_file" not in places
    }


def _of_clients(places: Mapping[str, Given]) -> dict[str, ShownValue]:
    """Return all that is set for the gateway's clients."""
    return {
        name: ShownValue(_shown_given(one), one.where)
        for name, one in places.items()
        if one.section.startswith(f"{CLIENTS}.") and one.key
    }


def _shown_given(one: Given) -> object:
    value = one.value
    # A token may stand in the place of its file.
    if one.key == "token" or (one.key == "token_file" and not is_place(Path(str(value)))):
        return MASK
    return [str(item) for item in value] if isinstance(value, list) else _shown(value)


def _places(path: Path | None, env: Mapping[str, str]) -> dict[str, Given]:
    in_file = from_file(path, key_names(), Mistakes()) if path else []
    return {one.name: one for one in [*in_file, *from_env(env, key_names(), Mistakes())]}


def _values(config: Config) -> dict[str, object]:
    return {
        f"{section}.{key}": getattr(getattr(config, section), key)
        for section, keys in kinds().items()
        for key in keys
    }


def _url_place(loaded: Config, places: Mapping[str, Given], env: Mapping[str, str]) -> str:
    if file := loaded.broker.url_file:
        folder = env.get("CREDENTIALS_DIRECTORY", "")
        is_credential = folder and Path(file).is_relative_to(folder)
        return f"credential {Path(file).name}" if is_credential else file
    keys = ("broker.urls", "broker.url") if len(loaded.broker.urls) > 1 else ("broker.url",)
    return next((places[key].where for key in (*keys, "broker.urls") if key in places), _DEFAULT)


def _token_place(
    slack: Slack, env: Mapping[str, str], token: str, variable: str, credential: str
) -> str:
    """Return which source other than its key gave a token, in the order of `load`."""
    if env.get(variable, "").strip():
        return variable
    file: str = getattr(slack, f"{token.partition('.')[2]}_file")
    return file or f"credential {credential}"


def _shown(value: object) -> object:
    if isinstance(value, Secret):
        return shown_url(value) if "://" in value.reveal() else str(value)
    if isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, tuple | frozenset):
        return sorted(str(item) for item in value)
    return str(value)
