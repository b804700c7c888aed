"""What the tests of the configuration share."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from rtmpump import config
from rtmpump.config import Config
from rtmpump.errors import EXIT_CONFIG, ConfigError
from tests.support.paths import ROOT

EXAMPLE = ROOT / "config.example.toml"
TOKEN = "xoxb-17653672481-kRtYzq"
ENV = {"SLACK_API_TOKEN": TOKEN}


def load(folder: Path, text: str = "", env: Mapping[str, str] | None = None) -> Config:
    """Load `text` as the file `config.toml` of `folder`, with ENV and `env`."""
    path = folder / "config.toml"
    path.write_text(text, encoding="utf-8", newline="")
    return config.load(path, ENV | dict(env or {}))


def refused(folder: Path, text: str = "", env: Mapping[str, str] | None = None) -> ConfigError:
    """Load what is wrong and give the error."""
    with pytest.raises(ConfigError) as error:
        load(folder, text, env)
    assert error.value.exit_code == EXIT_CONFIG
    return error.value


def error_text(folder: Path, text: str = "", env: Mapping[str, str] | None = None) -> str:
    """Load what is wrong and give the error's line, the folder taken out."""
    return str(refused(folder, text, env)).replace(f"{folder}/", "")


def at(loaded: Config, name: str) -> Any:
    """Return the value of `section.key`."""
    section, key = name.split(".")
    return getattr(getattr(loaded, section), key)


def table(text: str) -> list[Any]:
    """Split lines of cells with ` | ` between into the cases of a parametrised test."""
    rows = [line.split(" | ") for line in text.strip().splitlines()]
    return [pytest.param(*(cell.strip() for cell in row), id=" ".join(row[:2])) for row in rows]
