"""Files with secrets that all users of this machine may read or write, and how to close them."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

from rtmpump.config import secrets
from rtmpump.config.mistakes import Mistakes
from rtmpump.config.sections import CLIENTS, DEFAULT_URL, URL_KEYS, Config, key_names
from rtmpump.config.sources import Given, from_file

_TOKENS: Final = ("slack.token", "slack.app_token")
# The credentials that the units hand over, by the key whose value they hold.
_CREDENTIALS: Final = {
    "slack.token": "slack-token",
    "slack.app_token": "slack-app-token",
    **dict.fromkeys(URL_KEYS, "broker-url"),
}
_SECRET_FILES: Final = (
    "slack.token_file",
    "slack.app_token_file",
    "broker.url_file",
    "broker.client_key",
    "gateway.tls_key",
)
# Where container engines mount secrets. They decide the mode, and nobody else is in there.
_MOUNTED: Final = Path("/run/secrets")


class Exposed(NamedTuple):
    """A file with a secret that all users of this machine may read or write."""

    key: str
    file: str
    mode: str
    fix: str


def files(loaded: Config, path: Path | None) -> dict[str, str]:
    """Return the files that the daemon reads, by their keys; `path`, the loaded file, by ""."""
    slack, broker = loaded.slack, loaded.broker
    named = {
        "": str(path or ""),
        "slack.token_file": slack.token_file,
        "slack.app_token_file": slack.app_token_file if slack.mode == "socket" else "",
        "slack.ca_file": slack.ca_file,
        "broker.url_file": broker.url_file,
        "broker.ca_file": broker.ca_file,
        "broker.client_cert": broker.client_cert,
        "broker.client_key": broker.client_key,
    }
    return {key: file for key, file in named.items() if file}


def gateway_files(loaded: Config, path: Path | None) -> dict[str, str]:
    """Return the files that the gateway reads, as `files` does."""
    gateway = loaded.gateway
    of_both = {
        key: file for key, file in files(loaded, path).items() if not key.startswith("slack.")
    }
    named = {
        "gateway.tls_cert": gateway.tls_cert,
        "gateway.tls_key": gateway.tls_key,
        **{f"{CLIENTS}.{client.name}.token_file": client.token_file for client in gateway.clients},
    }
    return of_both | {key: file for key, file in named.items() if file}


def exposed(loaded: Config, path: Path | None, env: Mapping[str, str]) -> list[Exposed]:
    """Return the files with secrets whose mode lets all users in; `path` is the loaded file.

    The fix is for the user of this process, and for a systemd unit if `env` is that of one.
    Credentials of systemd are left out, for systemd protects their folder, and so are the secrets
    that a container engine mounts.
    """
    named = gateway_files(loaded, None) | files(loaded, None)
    of_clients = [key for key in named if key.startswith(f"{CLIENTS}.")]
    held = {key: named[key] for key in (*_SECRET_FILES, *of_clients) if key in named}
    if "broker.client_key" not in named and "broker.client_cert" in named:
        held["broker.client_key"] = named["broker.client_cert"]
    in_file = from_file(path, key_names(), Mistakes()) if path else []
    holders = [one.name for one in in_file if _holds_secret(one)]
    if path and holders:
        held[holders[0]] = str(path)
    protected = (env.get("CREDENTIALS_DIRECTORY") or _MOUNTED, _MOUNTED)
    is_unit = "INVOCATION_ID" in env
    return [
        Exposed(key, file, mode, _fix(key, Path(file), is_unit=is_unit))
        for key, file in held.items()
        if not any(Path(file).is_relative_to(folder) for folder in protected)
        if (mode := secrets.mode_for_all(Path(file)))
    ]


def secret_keys(text: str) -> list[str]:
    """Return the keys of a TOML text whose values are secrets, as `section.key`."""
    return [
        f"{section}.{key}"
        for section, table in tomllib.loads(text).items()
        if isinstance(table, dict)
        for key, value in table.items()
        if _holds_secret(Given(section, key, value, ""))
    ]


def _holds_secret(one: Given) -> bool:
    is_clients = one.section.startswith(f"{CLIENTS}.") and one.key == "token"
    if is_clients or one.name in _TOKENS:
        return bool(one.value)
    is_default = one.value == DEFAULT_URL.reveal()
    return (
        one.name in ("slack.proxy", *URL_KEYS)
        and not is_default
        and secrets.holds_secret(one.value)
    )


def _fix(key: str, file: Path, *, is_unit: bool) -> str:
    """Say how to close a file without closing it for the daemon: a service's user is no owner."""
    close = f"chmod o= {file}"
    if os.geteuid() == 0:
        return f"{close}, if the user that runs rtmpump is its owner or in its group"
    if _stays_readable(file.stat()):
        return close
    credential = _CREDENTIALS.get(key.removesuffix("_file")) if is_unit else None
    if credential and key.endswith("_file"):
        return f"take {key} out, and give the unit LoadCredential={credential}:{file}; then {close}"
    if credential:
        prefix = "" if file.stem == "config" else f"{file.stem}."
        place = file.with_name(f"{prefix}{credential}")
        return f"move it to {place} (mode 0600, owner root), which the unit hands over"
    return f"give it to the group of the user that runs rtmpump: chgrp GROUP {file} && {close}"


def _stays_readable(file: os.stat_result) -> bool:
    """Return whether this user may read it as its owner or as one of its group."""
    if file.st_uid == os.geteuid():
        return bool(file.st_mode & 0o400)
    return file.st_gid in (os.getegid(), *os.getgroups()) and bool(file.st_mode & 0o040)
