"""Reads deploy/asyncapi.yaml, and says what is wrong with a message by its schemas."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import jsonschema
import pika
import yaml
from jsonschema.validators import extend

from tests.support.paths import ROOT

FILE = ROOT / "deploy" / "asyncapi.yaml"
_PROPERTIES = (
    "content_type",
    "content_encoding",
    "delivery_mode",
    "priority",
    "correlation_id",
    "reply_to",
    "expiration",
    "message_id",
    "timestamp",
    "type",
    "user_id",
    "app_id",
)


def _pattern(_validator: object, pattern: str, instance: object, _schema: object) -> Iterator[Any]:
    """JSON Schema has the patterns of ECMA-262, whose "$" is not before a last newline."""
    python = pattern.replace("$", r"\Z")
    if isinstance(instance, str) and re.search(python, instance, re.ASCII) is None:
        yield jsonschema.ValidationError(f"{instance!r} does not match {pattern!r}")


# Its stub has no types.
_Validator: Any = extend(  # type: ignore[no-untyped-call]
    jsonschema.Draft7Validator, {"pattern": _pattern}
)


class Document:
    """The document; a pointer is a path in it, like `components/schemas/Done`."""

    def __init__(self, text: str) -> None:
        self.root: dict[str, Any] = yaml.safe_load(text)

    def at(self, pointer: str) -> Any:
        """What stands at a pointer, or at the one it refers to; KeyError if nothing does."""
        node: Any = self.root
        for part in pointer.removeprefix("#/").split("/"):
            node = self.resolve(node)[part]
        return self.resolve(node)

    def resolve(self, node: Any) -> Any:
        """What a reference refers to; all else as it is."""
        if isinstance(node, dict) and isinstance(node.get("$ref"), str):
            return self.at(node["$ref"])
        return node

    def problems(self, pointer: str, instance: object) -> list[str]:
        """What the schema at a pointer says against a value."""
        # Beside "$ref" draft 07 passes over all else, so that the references find the document.
        validator = _Validator({**self.root, "$ref": f"#/{pointer}"})
        return [f"{pointer}: {error.message}" for error in validator.iter_errors(instance)]

    def channels(self) -> list[dict[str, Any]]:
        """All channels."""
        return list(self.root["channels"].values())

    def messages(self, channel: str) -> dict[str, str]:
        """Names and pointers of the messages of a channel."""
        found = self.at(f"channels/{channel}/messages")
        return {name: node["$ref"].removeprefix("#/") for name, node in found.items()}

    def taken_as(self, channel: str, payload: object) -> list[str]:
        """Names of the channel's messages that such a payload can be."""
        return [
            name
            for name, pointer in self.messages(channel).items()
            if not self.problems(f"{pointer}/payload", payload)
        ]

    def whole_problems(
        self, message: str, payload: object, properties: pika.BasicProperties
    ) -> list[str]:
        """What is wrong with a real message: payload, headers and properties."""
        base = f"components/messages/{message}"
        found = self.problems(f"{base}/payload", payload)
        if "headers" in self.at(base):
            found += self.problems(f"{base}/headers", dict(properties.headers or {}))
        return found + self.problems(f"{base}/x-amqp-properties", basic(properties))

    def every(self, key: str) -> Iterator[Any]:
        """The values of all keys of this name, anywhere."""
        return (value for name, value in _walk(self.root) if name == key)


def load() -> Document:
    """Reads the document as it is shipped."""
    return Document(FILE.read_text())


def basic(properties: pika.BasicProperties) -> dict[str, Any]:
    """The AMQP basic properties that are set, without the headers."""
    values = {name: getattr(properties, name) for name in _PROPERTIES}
    return {name: value for name, value in values.items() if value is not None}


def _walk(node: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(node, Mapping):
        for key, value in node.items():
            yield key, value
            yield from _walk(value)
    elif isinstance(node, list):
        for value in node:
            yield from _walk(value)
