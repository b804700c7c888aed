"""Facts about deploy/asyncapi.yaml itself: what AsyncAPI 3.0 asks of every document.

Source: the specification, https://www.asyncapi.com/docs/reference/specification/v3.0.0, and its
AMQP bindings 0.3.0.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest

from tests.support.asyncapi import FILE, Document, load
from tests.support.paths import ROOT

pytestmark = pytest.mark.quick

FIELDS = {
    "": "asyncapi id info servers defaultContentType channels operations components",
    "info": "title version description termsOfService contact license tags externalDocs",
    "channels": "address messages title summary description servers parameters tags externalDocs"
    " bindings",
    "operations": "action channel title summary description security tags externalDocs bindings"
    " traits messages reply",
    "components/messages": "headers payload correlationId contentType name title summary"
    " description tags externalDocs bindings examples traits",
    "components/parameters": "enum default description examples location",
}
EXCHANGE = {"name", "type", "durable", "autoDelete", "vhost"}
QUEUE = {"name", "durable", "exclusive", "autoDelete", "vhost"}
_FIELDS = "expiration userId cc priority deliveryMode mandatory bcc timestamp ack"
OPERATION = set(_FIELDS.split())
_WORDS = """
    $ref type properties required additionalProperties dependencies description pattern format
    minLength maxLength minimum minItems maxItems items const enum default examples allOf anyOf
    not if then else propertyNames minProperties
"""
SCHEMA_WORDS = set(_WORDS.split())


@pytest.fixture(scope="module")
def document() -> Document:
    """The document."""
    return load()


def entries(document: Document) -> Iterator[tuple[str, str, Any]]:
    """Each object whose fields the specification lists: where, name, object."""
    for where in FIELDS:
        if where in ("", "info"):
            yield where, where, document.root if not where else document.at(where)
        else:
            for name, entry in document.at(where).items():
                yield where, name, entry


def schemas(node: Any) -> Iterator[dict[str, Any]]:
    """A schema and those in it."""
    if not isinstance(node, dict):
        return
    yield node
    for key in ("items", "additionalProperties", "propertyNames", "not", "if", "then", "else"):
        yield from schemas(node.get(key))
    for child in (*node.get("properties", {}).values(), *node.get("allOf", ())):
        yield from schemas(child)
    for child in node.get("anyOf", ()):
        yield from schemas(child)


def test_it_is_asyncapi_3_and_has_the_version_of_the_package(document: Document) -> None:
    """A reader knows which release it tells of."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert document.root["asyncapi"] == "3.0.0"
    assert document.root["info"]["version"] == project["version"]


def test_each_object_has_only_fields_that_the_specification_knows(document: Document) -> None:
    """Others begin with "x-"."""
    for where, name, entry in entries(document):
        unknown = {key for key in entry if not key.startswith("x-")} - set(FIELDS[where].split())
        assert not unknown, f"{where}/{name}"


def test_each_reference_finds_something_and_each_component_is_used(document: Document) -> None:
    """Nothing is missing and nothing is left over."""
    used = set(document.every("$ref"))
    for reference in used:
        document.at(reference)
    for kind in ("messages", "parameters", "schemas", "securitySchemes"):
        for name in document.at(f"components/{kind}"):
            assert f"#/components/{kind}/{name}" in used


def test_the_parameters_of_a_channel_are_those_of_its_address(document: Document) -> None:
    """Both ways; a channel without an address has none."""
    for channel in document.root["channels"].values():
        assert set(re.findall(r"{(\w+)}", channel["address"] or "")) == set(
            channel.get("parameters", {})
        )


def test_each_channel_is_served_by_an_operation(document: Document) -> None:
    """The pump sends there, receives there, or answers there; and nowhere else."""
    served = set()
    for operation in document.root["operations"].values():
        assert operation["action"] in ("send", "receive")
        served.add(operation["channel"]["$ref"])
        served.update(ref["$ref"] for ref in [operation.get("reply", {}).get("channel")] if ref)
    assert served == {f"#/channels/{name}" for name in document.root["channels"]}


def test_each_channel_but_those_of_replies_is_bound_to_amqp(document: Document) -> None:
    """As an exchange or as a queue, which then has the name of the address; never as both."""
    for name, channel in document.root["channels"].items():
        if name in ("results", "answers"):
            assert channel["address"] is None
            continue
        amqp = channel["bindings"]["amqp"]
        assert amqp["bindingVersion"] == "0.3.0"
        if amqp["is"] == "queue":
            assert set(amqp["queue"]) <= QUEUE
            assert amqp["queue"]["name"] == channel["address"]
        else:
            assert amqp["is"] == "routingKey"
            assert set(amqp["exchange"]) <= EXCHANGE
        assert ("queue" in amqp) != ("exchange" in amqp)


def test_the_bindings_of_operations_and_messages_have_only_known_fields(
    document: Document,
) -> None:
    """Those of the AMQP bindings 0.3.0."""
    known = {"operations": OPERATION, "components/messages": {"contentEncoding", "messageType"}}
    for where, names in known.items():
        for entry in document.at(where).values():
            amqp = entry.get("bindings", {}).get("amqp", {})
            assert set(amqp) <= names | {"bindingVersion"}


def test_each_schema_is_one_of_draft_07_without_misspelt_words(document: Document) -> None:
    """A word that no validator knows would be passed over in silence."""
    for name, schema in document.root["components"]["schemas"].items():
        jsonschema.Draft7Validator.check_schema(schema)
        for part in schemas(schema):
            assert set(part) <= SCHEMA_WORDS, name


def test_each_example_is_a_message_as_its_schemas_tell(document: Document) -> None:
    """Payload and headers, where it has them."""
    for name, message in document.root["components"]["messages"].items():
        for example in message.get("examples", ()):
            base = f"components/messages/{name}"
            assert not document.problems(f"{base}/payload", example["payload"])
            if "headers" in example:
                assert not document.problems(f"{base}/headers", example["headers"])


def test_a_channel_lists_its_messages_by_reference(document: Document) -> None:
    """As the specification asks: each refers to a message among the components."""
    for name in document.root["channels"]:
        for pointer in document.messages(name).values():
            assert pointer.startswith("components/messages/")


def test_it_is_plain_text_of_short_lines() -> None:
    """It is read by people too."""
    text = FILE.read_text()
    assert "\t" not in text
    assert max(map(len, text.splitlines())) <= 100
