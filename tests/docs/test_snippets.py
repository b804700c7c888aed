"""Facts about the fenced blocks that are no shell: configuration, messages, YAML."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support import asyncapi
from tests.support.config import load
from tests.support.markdown import page, pages

DOCUMENT = asyncapi.Document(asyncapi.FILE.read_text())
PAGES = {language: [p.name for p in pages() if p.blocks(language)] for language in ("json", "yaml")}
CHANNELS = ("events", "commands", "results")
OURS = {"json", "yaml", "toml", "mermaid", "sh", "text", "python", "js"}
# Three dots stand for what is of no interest; where a time belongs, one is put in their place.
TIME = "2026-11-24T13:00:00.000Z"


def values(text: str) -> Iterator[Any]:
    """Yield the JSON values that stand one after the other in a block."""
    decoder, at = json.JSONDecoder(), 0
    text = text.strip().replace('"from": "…"', f'"from": "{TIME}"')
    text = text.replace('"to": "…"', f'"to": "{TIME}"')
    while at < len(text):
        value, at = decoder.raw_decode(text, at)
        at += len(text[at:]) - len(text[at:].lstrip())
        yield value


def test_each_block_has_a_language_that_a_test_knows() -> None:
    """Configuration, messages and shell lines are all looked at."""
    fences = {
        (one.name, line.strip()[3:])
        for one in pages()
        for line in [line for line in one.text.splitlines() if line.strip().startswith("```")][::2]
    }
    assert {(name, language) for name, language in fences if language not in OURS} == set()


@pytest.mark.parametrize("name", [one.name for one in pages() if one.blocks("toml")])
def test_a_configuration_is_valid(tmp_path: Path, name: str) -> None:
    """The program takes each TOML block as it stands."""
    for block in page(name).blocks("toml"):
        load(tmp_path, block.text, {"SLACK_APP_TOKEN": "xapp-1-A-1-b"})


@pytest.mark.parametrize("name", PAGES["json"])
def test_a_message_is_one_of_the_asyncapi_document(name: str) -> None:
    """Commands, results and the pump's own events are as the document for other services says."""
    for block in page(name).blocks("json"):
        for value in values(block.text):
            # "event" and "unusable" take anything.
            taken = {one for name in CHANNELS for one in DOCUMENT.taken_as(name, value)}
            assert taken - {"event", "unusable"}, value


@pytest.mark.parametrize("name", PAGES["yaml"])
def test_a_yaml_block_can_be_read(name: str) -> None:
    """It is YAML."""
    for block in page(name).blocks("yaml"):
        assert yaml.safe_load(block.text)
