"""Facts about the Web API of the simulated workspace, as slack_sdk sees it."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
import websocket
from slack_sdk.errors import SlackApiError

from rtmpump.sandbox.slack.workspace import Workspace
from tests.support.sandbox_clients import RtmClient, web_client


@pytest.fixture
def workspace() -> Iterator[Workspace]:
    """One workspace with two channels a page."""
    with Workspace() as workspace:
        workspace.page_size = 2
        yield workspace


def ask(workspace: Workspace, method: str, **request: Any) -> Any:
    """Call without slack_sdk, to choose where token and arguments go."""
    call = urllib.request.Request(workspace.api_url + method, **request)  # noqa: S310
    with urllib.request.urlopen(call, timeout=100) as answer:  # noqa: S310
        return json.load(answer)


def failure(workspace: Workspace, method: str, **arguments: Any) -> str:
    """Return the error code that slack_sdk reports."""
    with pytest.raises(SlackApiError) as caught:
        web_client(workspace).api_call(method, data=arguments)
    return str(caught.value.response["error"])


def test_auth_test_names_team_and_bot(workspace: Workspace) -> None:
    """The method auth.test answers whose token it is."""
    answer = web_client(workspace).auth_test()
    assert (answer["team_id"], answer["user_id"]) == ("T0SANDBOX", "U0PUMP")


def test_a_missing_or_wrong_token_has_slacks_error() -> None:
    """not_authed without a token, invalid_auth with another one, as HTTP 200."""
    with Workspace(token="xoxb-right") as workspace:
        assert ask(workspace, "auth.test")["error"] == "not_authed"
        workspace_of_another = web_client(workspace)
        workspace_of_another.token = "xoxb-wrong"
        with pytest.raises(SlackApiError, match="invalid_auth"):
            workspace_of_another.auth_test()


@pytest.mark.parametrize(
    "request_parts",
    [
        {"headers": {"Authorization": "Bearer xoxb-sandbox"}},
        {"data": b"token=xoxb-sandbox"},
        {
            "data": b'{"token": "xoxb-sandbox"}',
            "headers": {"Content-Type": "application/json; charset=utf-8"},
        },
    ],
)
def test_the_token_may_come_as_header_form_or_json(
    workspace: Workspace, request_parts: dict[str, Any]
) -> None:
    """GET with a Bearer header, POST of a form, POST of JSON: all are accepted."""
    assert ask(workspace, "auth.test", **request_parts)["ok"] is True


@pytest.mark.parametrize(
    ("kind", "body", "code"),
    [
        ("application/json", b"{", "invalid_json"),
        ("application/json", b"[1]", "json_not_object"),
        ("text/plain", b"x", "invalid_post_type"),
        ("application/x-www-form-urlencoded", b"a=\xff", "invalid_form_data"),
    ],
)
def test_a_body_that_cannot_be_read_is_refused(
    workspace: Workspace, kind: str, body: bytes, code: str
) -> None:
    """As Slack does, and the call is none."""
    bearer = {"Authorization": f"Bearer {workspace.token}", "Content-Type": kind}
    assert ask(workspace, "auth.test", data=body, headers=bearer)["error"] == code
    assert workspace.calls == []


def test_unknown_and_retired_methods_are_errors(workspace: Workspace) -> None:
    """rtm.start is deprecated; what is no method is unknown."""
    assert failure(workspace, "rtm.start") == "method_deprecated"
    assert failure(workspace, "no.such_method") == "unknown_method"


def test_rtm_connect_answers_url_self_and_team(workspace: Workspace) -> None:
    """The documented members are there, and nothing has to be guessed."""
    answer = web_client(workspace).api_call("rtm.connect")
    assert answer["self"]["id"] == workspace.bot
    assert answer["team"]["id"] == workspace.team
    assert answer["url"].startswith(f"ws://127.0.0.1:{workspace.port}/websocket/")


def test_a_url_works_once(workspace: Workspace) -> None:
    """The second use of a URL gets error 1 in place of hello, then a close."""
    with RtmClient(workspace) as first:
        assert first.get()["type"] == "hello"
        again = websocket.create_connection(first.url, timeout=100)
        refused = json.loads(again.recv())
        assert refused == {"type": "error", "error": {"code": 1, "msg": "Socket URL has expired"}}
        assert again.recv() == ""
        assert first.hear_nothing()


def test_the_ticket_of_rtm_is_in_the_path_and_that_of_socket_mode_in_the_query(
    workspace: Workspace,
) -> None:
    """slack-go replaces the query of an RTM URL; without that of Socket Mode nobody connects."""
    url = web_client(workspace).api_call("rtm.connect")["url"].partition("?")[0]
    client = websocket.create_connection(f"{url}?batch_presence_aware=1", timeout=100)
    assert json.loads(client.recv())["type"] == "hello"
    client.close()
    opened = web_client(workspace).apps_connections_open(app_token=workspace.app_token)["url"]
    refused = websocket.create_connection(opened.partition("?")[0], timeout=100)
    assert json.loads(refused.recv())["error"]["code"] == 1


def test_a_url_expires(workspace: Workspace) -> None:
    """With a time to live of 0 every URL is too old."""
    workspace.faults.url_ttl = 0
    with RtmClient(workspace) as client:
        assert client.get()["error"]["code"] == 1


def test_conversations_list_pages_with_a_cursor(workspace: Workspace) -> None:
    """Pages of at most page_size; the cursors lead to every channel once."""
    first = web_client(workspace).conversations_list(types="public_channel,private_channel")
    names = [[channel["name"] for channel in page["channels"]] for page in first]
    assert names == [["general", "random"], ["secret"]]


def test_conversations_list_shows_public_channels_unless_asked(workspace: Workspace) -> None:
    """The default of `types` is public_channel; im has a user and no name."""
    client = web_client(workspace)
    default = client.conversations_list()["channels"]
    assert [channel["id"] for channel in default] == ["C0GENERAL", "C0RANDOM"]
    direct = client.conversations_list(types="im")["channels"]
    assert [(channel["id"], channel["user"]) for channel in direct] == [("D0ALICE", "U0ALICE")]


def test_conversations_list_obeys_limit_and_exclude_archived(workspace: Workspace) -> None:
    """A limit below page_size makes smaller pages; archived channels can be left out."""
    workspace.archived.add("C0GENERAL")
    client = web_client(workspace)
    assert len(client.conversations_list(limit=1)["channels"]) == 1
    active = client.conversations_list(exclude_archived=True)["channels"]
    assert [channel["id"] for channel in active] == ["C0RANDOM"]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ({"limit": 0}, "invalid_limit"),
        ({"limit": "many"}, "invalid_limit"),
        ({"cursor": "%%%"}, "invalid_cursor"),
        ({"cursor": "bm9uc2Vuc2U="}, "invalid_cursor"),
        ({"types": "secret_channel"}, "invalid_types"),
    ],
)
def test_conversations_list_refuses_nonsense(
    workspace: Workspace, arguments: dict[str, Any], code: str
) -> None:
    """Each argument has its own error code."""
    assert failure(workspace, "conversations.list", **arguments) == code


def test_conversations_info_knows_ids(workspace: Workspace) -> None:
    """A known id has a channel; a name or another id is channel_not_found."""
    found = web_client(workspace).conversations_info(channel="G0SECRET")["channel"]
    assert (found["name"], found["is_private"]) == ("secret", True)
    assert failure(workspace, "conversations.info", channel="general") == "channel_not_found"


def test_calls_are_recorded_without_the_token(workspace: Workspace) -> None:
    """The record has method and arguments in order; no token in it."""
    web_client(workspace).conversations_list(limit=1)
    ask(workspace, "auth.test", data=b"token=xoxb-sandbox")
    assert [call.method for call in workspace.calls] == ["conversations.list", "auth.test"]
    assert workspace.calls[0].args["limit"] == "1"
    assert workspace.token not in str(workspace.calls)


def test_one_connection_takes_several_calls(workspace: Workspace) -> None:
    """HTTP keep-alive works, as http.client uses it."""
    import http.client

    line = http.client.HTTPConnection("127.0.0.1", workspace.port, timeout=100)
    for _ in range(3):
        line.request("POST", "/api/auth.test", headers={"Authorization": "Bearer xoxb-sandbox"})
        assert json.load(line.getresponse())["ok"] is True
    line.close()
