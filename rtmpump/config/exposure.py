"""Files with secrets that all users of this machine may read or write."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from rtmpump.config import secrets
from rtmpump.config.sections import DEFAULT_URL, URL_KEYS, Config, kinds
from rtmpump.config.sources import Given, from_file


class Exposed(NamedTuple):
    """A file with a secret that all users of this machine may read or write."""

    key: str
    file: str
    mode: str


def exposed(loaded: Config, path: Path | None, env: Mapping[str, str]) -> list[Exposed]:
    """Return the files with secrets whose mode lets all users in; `path` is the loaded file.

    Credentials of systemd are left out: systemd protects their folder.
    """
    files = {
        "slack.token_file": loaded.slack.token_file,
        "broker.url_file": loaded.broker.url_file,
        "broker.client_key": loaded.broker.client_key or loaded.broker.client_cert,
    }
    in_file = from_file(path, {s: tuple(keys) for s, keys in kinds().items()}) if path else []
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
    is_default = one.value == DEFAULT_URL.reveal()
    return (
        one.name in ("slack.proxy", *URL_KEYS)
        and not is_default
        and secrets.holds_secret(one.value)
    )
