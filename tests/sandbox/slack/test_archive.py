"""Facts about the history of the simulated workspace, as slack_sdk sees it."""

from __future__ import annotations

from typing import Any

import pytest
from slack_sdk import WebClient
from slack_sdk.errors import SlackApiError

from rtmpump.sandbox.slack.workspace import Workspace

GENERAL = "C0GENERAL"


def texts(answer: Any) -> list[str]:
    """Return the texts of the messages of an answer."""
    return [one["text"] for one in answer["messages"]]


def refusal(client: WebClient, method: str, **arguments: Any) -> Any:
    """Return the answer that slack_sdk reports as an error."""
    with pytest.raises(SlackApiError) as caught:
        client.api_call(method, params=arguments)
    return caught.value.response


def test_history_has_the_newest_first_without_channel_and_replies(
    workspace: Workspace, client: WebClient
) -> None:
    """A reply shows in its parent alone, as count and time."""
    parent = workspace.say("general", "parent")
    workspace.say("general", "other")
    reply = workspace.say("general", "reply", thread_ts=parent)
    answer = client.conversations_history(channel=GENERAL)
    assert texts(answer) == ["other", "parent"]
    assert not any("channel" in one or "event_ts" in one for one in answer["messages"])
    thread = {"thread_ts": parent, "reply_count": 1, "latest_reply": reply}
    assert thread.items() <= answer["messages"][1].items()
    assert not answer["has_more"]


def test_history_comes_in_pages_that_stand_still(workspace: Workspace, client: WebClient) -> None:
    """A later message moves no page; a newer app gets at most fifteen."""
    for n in range(40):
        workspace.say("general", str(n))
    got: list[str] = []
    workspace.archive.page_max = 15
    for page in client.conversations_history(channel=GENERAL, limit=200):
        got += texts(page)
        assert len(page["messages"]) <= 15
        workspace.say("general", "meanwhile")
    assert got == [str(n) for n in reversed(range(40))]


def test_a_time_range_is_open_unless_inclusive(workspace: Workspace, client: WebClient) -> None:
    """A message as old as oldest or latest is left out."""
    ts = [workspace.say("general", str(n)) for n in range(5)]
    asked: dict[str, Any] = {"channel": GENERAL, "oldest": ts[1], "latest": ts[3]}
    assert texts(client.conversations_history(**asked)) == ["2"]
    assert texts(client.conversations_history(**asked, inclusive=True)) == ["3", "2", "1"]


def test_replies_have_the_oldest_first_and_the_parent_always(
    workspace: Workspace, client: WebClient
) -> None:
    """On each page, whatever the time range."""
    parent = workspace.say("general", "parent")
    ts = [workspace.say("general", str(n), thread_ts=parent) for n in range(5)]
    whole = client.conversations_replies(channel=GENERAL, ts=parent)
    assert texts(whole) == ["parent", "0", "1", "2", "3", "4"]
    pages = client.conversations_replies(channel=GENERAL, ts=parent, oldest=ts[0], limit=2)
    assert [texts(page) for page in pages] == [["parent", "1", "2"], ["parent", "3", "4"]]
    assert refusal(client, "conversations.replies", channel=GENERAL, ts="1.2")["error"] == (
        "thread_not_found"
    )


def test_what_may_not_be_read_is_refused(workspace: Workspace, client: WebClient) -> None:
    """As Slack does: no such channel, not a member, no scope."""
    history = "conversations.history"
    assert refusal(client, history, channel="C0NONE")["error"] == "channel_not_found"
    workspace.archive.left.add(GENERAL)
    assert refusal(client, history, channel=GENERAL)["error"] == "not_in_channel"
    workspace.archive.scopes_missing.add("im")
    answer = refusal(client, history, channel="D0ALICE")
    assert (answer["error"], answer["needed"]) == ("missing_scope", "im:history")
    for wrong, code in (
        ({"oldest": "soon"}, "invalid_ts_oldest"),
        ({"limit": "1001"}, "invalid_limit"),
        ({"cursor": "x"}, "invalid_cursor"),
    ):
        assert refusal(client, history, channel="C0RANDOM", **wrong)["error"] == code


def test_users_conversations_lists_those_of_the_bot(
    workspace: Workspace, client: WebClient
) -> None:
    """By kind; without those that it left, and not without the scope."""
    workspace.archive.left.add(GENERAL)
    answer = client.users_conversations(types="public_channel,im")
    assert [one["id"] for one in answer["channels"]] == ["C0RANDOM", "D0ALICE"]
    workspace.archive.scopes_missing.add("im")
    assert refusal(client, "users.conversations", types="im")["needed"] == "im:read"


def test_a_reaction_is_added_once(workspace: Workspace, client: WebClient) -> None:
    """It is in the history; an impossible reaction is an error."""
    ts = workspace.say("general", "x")
    arguments: dict[str, Any] = {"channel": GENERAL, "timestamp": ts, "name": "thumbsup"}
    assert client.reactions_add(**arguments)["ok"]
    (message,) = client.conversations_history(channel=GENERAL)["messages"]
    assert message["reactions"] == [{"name": "thumbsup", "users": ["U0PUMP"], "count": 1}]
    for wrong, code in (
        ({}, "already_reacted"),
        ({"name": "not a name"}, "invalid_name"),
        ({"timestamp": "1.2"}, "message_not_found"),
        ({"channel": "C0NONE"}, "channel_not_found"),
    ):
        assert refusal(client, "reactions.add", **arguments | wrong)["error"] == code
