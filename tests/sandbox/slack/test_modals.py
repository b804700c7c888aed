"""Modals of the simulated workspace: opened by an app, filled by a person, answered by the app."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from slack_sdk import WebClient
from slack_sdk.errors import SlackApiError
from slack_sdk.webhook import WebhookClient

from rtmpump.sandbox.slack.person import Person
from rtmpump.sandbox.slack.workspace import Workspace
from tests.support.sandbox_clients import SocketApp


def words(text: str) -> dict[str, Any]:
    """Return a plain text object."""
    return {"type": "plain_text", "text": text}


def option(value: str) -> dict[str, Any]:
    """Return an option of a select menu."""
    return {"text": words(value.capitalize()), "value": value}


NAME = {"type": "plain_text_input", "action_id": "name"}
SIZE = {"type": "static_select", "action_id": "size", "options": [option("s"), option("l")]}
VIEW: dict[str, Any] = {
    "type": "modal",
    "callback_id": "order",
    "private_metadata": "secret",
    "title": words("Order"),
    "submit": words("Send"),
    "blocks": [
        {"type": "input", "block_id": "who", "label": words("Name"), "element": NAME},
        {"type": "section", "block_id": "what", "text": words("Size"), "accessory": SIZE},
    ],
}


@pytest.fixture
def workspace() -> Iterator[Workspace]:
    """One workspace."""
    with Workspace() as workspace:
        # However busy the machine is: what is late is tried by tests of its own.
        workspace.faults.ack_seconds = workspace.faults.trigger_ttl = 100.0
        yield workspace


@pytest.fixture
def app(workspace: Workspace) -> Iterator[SocketApp]:
    """An app with a connection of Socket Mode."""
    with SocketApp(workspace) as app:
        yield app


@pytest.fixture
def alice(workspace: Workspace) -> Person:
    """Somebody who uses the app."""
    return workspace.person()


def refusal(client: WebClient, method: str, **arguments: Any) -> str:
    """Return the error code that slack_sdk reports."""
    with pytest.raises(SlackApiError) as caught:
        client.api_call(method, json=arguments)
    return str(caught.value.response["error"])


def open_view(app: SocketApp, client: WebClient, alice: Person, view: Any = VIEW) -> Any:
    """Let Alice use a shortcut, and open a view for her; return what views.open answered."""
    alice.shortcut("order")
    return client.views_open(trigger_id=app.take()["trigger_id"], view=view)["view"]


def lie(workspace: Workspace, alice: Person, count: int) -> bool:
    """Wait until so many views are open."""
    return workspace.wait(lambda: len(alice.views) == count)


def test_a_submission_has_the_view_and_what_was_filled_in(
    workspace: Workspace, app: SocketApp, client: WebClient, alice: Person
) -> None:
    """The view that views.open answered, with its state; without an answer it closes."""
    opened = open_view(app, client, alice)
    assert opened["root_view_id"] == opened["id"] == alice.view.id
    assert opened["state"]["values"]["who"]["name"]["value"] is None
    alice.submit({"who": {"name": "Al"}, "what": {"size": "l"}})
    payload = app.take()
    assert (payload["type"], payload["user"]["id"]) == ("view_submission", "U0ALICE")
    assert payload["trigger_id"]
    view = payload["view"]
    assert (view["id"], view["hash"]) == (opened["id"], opened["hash"])
    assert (view["callback_id"], view["private_metadata"]) == ("order", "secret")
    assert view["state"]["values"] == {
        "who": {"name": {"type": "plain_text_input", "value": "Al"}},
        "what": {"size": {"type": "static_select", "selected_option": option("l")}},
    }
    assert workspace.wait(lambda: not alice.views)


def test_errors_leave_the_view_and_what_was_filled_in(
    workspace: Workspace, app: SocketApp, client: WebClient, alice: Person
) -> None:
    """Errors of inputs that are not there are a trouble, as at Slack."""
    open_view(app, client, alice)
    alice.submit({"who": {"name": "Al"}})
    app.answer({"response_action": "errors", "errors": {"who": "too short"}})
    assert workspace.wait(lambda: alice.view.errors == {"who": "too short"})
    alice.submit()
    app.answer({"response_action": "errors", "errors": {"what": "no input"}})
    assert workspace.wait(lambda: alice.view.trouble)
    assert (alice.view.errors, alice.view.values["who"]["name"]["value"]) == ({}, "Al")


def test_an_answer_can_update_push_and_clear(
    workspace: Workspace, app: SocketApp, client: WebClient, alice: Person
) -> None:
    """An updated view has the same id and keeps what is in it; a pushed one lies on top."""
    first = open_view(app, client, alice)
    alice.submit({"who": {"name": "Al"}})
    app.answer({"response_action": "update", "view": VIEW | {"title": words("Again")}})
    assert workspace.wait(lambda: alice.view.body["title"]["text"] == "Again")
    assert (alice.view.id, alice.view.values["who"]["name"]["value"]) == (first["id"], "Al")
    assert alice.view.body["hash"] != first["hash"]
    for depth in (2, 3):
        alice.submit({"who": {"name": "Al"}})
        app.answer({"response_action": "push", "view": VIEW})
        assert lie(workspace, alice, depth)
    top = alice.view.body
    assert (top["root_view_id"], top["previous_view_id"]) == (first["id"], alice.views[1].id)
    alice.submit({"who": {"name": "Al"}})
    app.answer({"response_action": "push", "view": VIEW})
    assert workspace.wait(lambda: alice.view.trouble)
    assert len(alice.views) == 3
    alice.submit()
    app.answer({"response_action": "clear"})
    assert workspace.wait(lambda: not alice.views)


@pytest.mark.parametrize("answer", ["text", {"response_action": "update", "view": {}}, {"x": 1}])
def test_a_senseless_answer_is_a_trouble(
    workspace: Workspace, app: SocketApp, client: WebClient, alice: Person, answer: object
) -> None:
    """The view stays, and Slack says that something went wrong."""
    open_view(app, client, alice)
    alice.submit({"who": {"name": "Al"}})
    app.answer(answer)
    assert workspace.wait(lambda: alice.view.trouble)


def test_a_trigger_is_good_once_and_for_three_seconds(
    workspace: Workspace, app: SocketApp, client: WebClient, alice: Person
) -> None:
    """Used, old and unknown ones have an error code each."""
    alice.shortcut("order")
    trigger = app.take()["trigger_id"]
    assert refusal(client, "views.open", trigger_id="1.2.3", view=VIEW) == "invalid_trigger_id"
    client.views_open(trigger_id=trigger, view=VIEW)
    assert refusal(client, "views.open", trigger_id=trigger, view=VIEW) == "exchanged_trigger_id"
    alice.shortcut("order")
    trigger = app.take()["trigger_id"]
    workspace.faults.trigger_ttl = 0.0
    assert refusal(client, "views.open", trigger_id=trigger, view=VIEW) == "expired_trigger_id"


def test_a_bad_view_is_refused_and_the_trigger_stays_good(
    app: SocketApp, client: WebClient, alice: Person
) -> None:
    """Slack says where the mistake is."""
    alice.shortcut("order")
    trigger = app.take()["trigger_id"]
    for wrong, where in (
        ({"type": "home"}, "type"),
        ({"title": None}, "title"),
        ({"title": words("x" * 25)}, "title"),
        ({"blocks": None}, "blocks"),
        ({"blocks": [{"type": "divider"}] * 101}, "blocks"),
        ({"submit": None}, "submit"),
    ):
        with pytest.raises(SlackApiError) as caught:
            client.api_call("views.open", json={"trigger_id": trigger, "view": VIEW | wrong})
        assert caught.value.response["error"] == "invalid_arguments"
        assert where in caught.value.response["response_metadata"]["messages"][0]
    large = VIEW | {"private_metadata": "x" * 250_000}
    assert refusal(client, "views.open", trigger_id=trigger, view=large) == "view_too_large"
    client.views_open(trigger_id=trigger, view=VIEW)


def test_an_app_can_update_and_push_by_itself(
    app: SocketApp, client: WebClient, alice: Person
) -> None:
    """views.update finds a view by either id and looks at the hash; views.push needs one below."""
    named = VIEW | {"external_id": "mine"}
    first = open_view(app, client, alice, named)
    other = VIEW | {"title": words("Other")}
    update = "views.update"
    assert refusal(client, update, view_id="V0NONE", view=other) == "not_found"
    assert refusal(client, update, view_id=first["id"], hash="x", view=other) == "hash_conflict"
    found = client.views_update(external_id="mine", hash=first["hash"], view=other)["view"]
    assert (found["id"], found["title"]["text"]) == (first["id"], "Other")
    client.views_update(view_id=first["id"], view=named)
    alice.press("size", "s")
    payload = app.take()
    assert payload["container"] == {"type": "view", "view_id": first["id"]}
    assert payload["view"]["state"]["values"]["what"]["size"]["selected_option"] == option("s")
    trigger = payload["trigger_id"]
    assert refusal(client, "views.push", trigger_id=trigger, view=named) == "duplicate_external_id"
    pushed = client.views_push(trigger_id=trigger, view=VIEW)["view"]
    assert [one.id for one in alice.views] == [first["id"], pushed["id"]]
    alice.close(all=True)
    alice.shortcut("order")
    assert refusal(client, "views.push", trigger_id=app.take()["trigger_id"], view=VIEW) == (
        "not_found"
    )


def test_a_submission_can_bring_a_response_url(
    workspace: Workspace, app: SocketApp, client: WebClient, alice: Person
) -> None:
    """For the channel that was chosen where the view asks for one; it is good for a message."""
    menu = {
        "type": "conversations_select",
        "action_id": "to",
        "response_url_enabled": True,
    }
    block = {"type": "input", "block_id": "where", "label": words("Where"), "element": menu}
    open_view(app, client, alice, VIEW | {"blocks": [block]})
    alice.submit({"where": {"to": "C0RANDOM"}})
    (found,) = app.take()["response_urls"]
    assert (found["channel_id"], found["block_id"]) == ("C0RANDOM", "where")
    assert found["action_id"] == "to"
    WebhookClient(found["response_url"]).send(text="hi", response_type="in_channel")
    assert app.take()["event"]["channel"] == "C0RANDOM"


def test_a_closed_view_is_told_if_the_app_wants_it(
    app: SocketApp, client: WebClient, alice: Person
) -> None:
    """view_closed comes only with `notify_on_close`."""
    open_view(app, client, alice)
    assert alice.close() is None
    open_view(app, client, alice, VIEW | {"notify_on_close": True})
    alice.close()
    payload = app.take()
    assert (payload["type"], payload["is_cleared"]) == ("view_closed", False)
    with pytest.raises(LookupError, match="no view open"):
        alice.submit()


def test_a_person_can_not_do_what_slack_does_not_let_them(
    app: SocketApp, client: WebClient, alice: Person
) -> None:
    """An input that must be filled, one that is not there, an option that is none."""
    open_view(app, client, alice)
    with pytest.raises(ValueError, match="must be filled: who"):
        alice.submit()
    with pytest.raises(LookupError, match="no element"):
        alice.submit({"who": {"age": "7"}})
    with pytest.raises(LookupError, match="no option"):
        alice.submit({"what": {"size": "m"}})
