"""What is posted comes back as Slack shows it: in the answer, the event and the history."""

from __future__ import annotations

from slack_sdk import WebClient

from rtmpump.sandbox.slack.workspace import Workspace
from tests.support.sandbox_clients import SocketApp, connect, refusal

GENERAL = "C0GENERAL"
SECTION = {"type": "section", "text": {"type": "mrkdwn", "text": "*x*"}}


def test_blocks_and_bot_come_back_everywhere(workspace: Workspace, client: WebClient) -> None:
    """In answer, RTM event, Socket Mode event and history; `channel_type` in Socket Mode alone."""
    with connect(workspace) as rtm, SocketApp(workspace) as app:
        answer = client.chat_postMessage(
            channel="#general", text="t", blocks=[SECTION], attachments=[{"text": "a"}]
        )
        event, inner = rtm.get(), app.take()["event"]
    assert answer["channel"] == GENERAL
    message = answer["message"]
    assert message["blocks"] == [SECTION | {"block_id": "b1"}]
    assert message["attachments"] == [{"text": "a", "id": 1, "fallback": "[no preview available]"}]
    assert (message["bot_id"], message["app_id"]) == ("B0PUMP", "A0SANDBOX")
    assert message["bot_profile"]["user_id"] == workspace.bot
    assert event == message | {"channel": GENERAL, "event_ts": answer["ts"]}
    assert inner == event | {"channel_type": "channel"}
    assert client.conversations_history(channel=GENERAL)["messages"] == [message]


def test_channel_type_says_what_kind_of_channel_it_is(workspace: Workspace) -> None:
    """A person's message has it too, and no bot."""
    with SocketApp(workspace) as app:
        for channel, kind in (("random", "channel"), ("secret", "group"), ("U0ALICE", "im")):
            workspace.say(channel, "x")
            event = app.take()["event"]
            assert (event["channel_type"], "bot_id" in event) == (kind, False)


def test_a_broadcast_is_one_event_with_its_root(workspace: Workspace, client: WebClient) -> None:
    """The same in answer, event, history and replies; its parent counts it."""
    parent = workspace.say("general", "parent")
    with connect(workspace) as rtm:
        answer = client.chat_postMessage(
            channel=GENERAL, text="b", thread_ts=parent, reply_broadcast=True
        )
        event = rtm.get()
        assert rtm.hear_nothing()
    assert (event["subtype"], event["parent_user_id"]) == ("thread_broadcast", "U0ALICE")
    assert (event["root"]["text"], event["root"]["latest_reply"]) == ("parent", answer["ts"])
    newest, root = client.conversations_history(channel=GENERAL)["messages"]
    assert newest == answer["message"]
    assert root == event["root"]
    whole = client.conversations_replies(channel=GENERAL, ts=parent)["messages"]
    assert whole == [root, newest]


def test_a_reply_says_whose_thread_it_is_in(workspace: Workspace, client: WebClient) -> None:
    """A quiet reply has no root; the parent of an unknown thread is not invented."""
    parent = workspace.say("general", "parent")
    reply = client.chat_postMessage(channel=GENERAL, text="r", thread_ts=parent)["message"]
    assert (reply["parent_user_id"], "root" in reply) == ("U0ALICE", False)
    lost = client.chat_postMessage(
        channel=GENERAL, text="r", thread_ts="1.000001", reply_broadcast=True
    )["message"]
    assert (lost["subtype"], "root" in lost) == ("thread_broadcast", False)


def test_a_message_over_rtm_reaches_socket_mode(workspace: Workspace) -> None:
    """An app with both hears over Socket Mode what it said over RTM."""
    with connect(workspace) as rtm, SocketApp(workspace) as app:
        rtm.say("hi")
        assert app.take()["event"]["ts"] == rtm.get()["ts"]


def test_chat_update_changes_the_message(workspace: Workspace, client: WebClient) -> None:
    """The event has both versions; blocks stay unless they are taken away."""
    ts = client.chat_postMessage(channel=GENERAL, text="old", blocks=[SECTION])["ts"]
    with SocketApp(workspace) as app:
        answer = client.chat_update(channel=GENERAL, ts=ts, text="new")
        event = app.take()["event"]
        client.chat_update(channel=GENERAL, ts=ts, text="bare", blocks=[])
        second = app.take()["event"]
    assert (answer["text"], answer["message"]["edited"]["user"]) == ("new", workspace.bot)
    assert (event["subtype"], event["hidden"]) == ("message_changed", True)
    assert (event["previous_message"]["text"], event["message"]["text"]) == ("old", "new")
    assert event["message"]["ts"] == ts != event["ts"]
    assert event["message"]["blocks"] == second["previous_message"]["blocks"]
    assert "blocks" not in second["message"]
    (message,) = client.conversations_history(channel=GENERAL)["messages"]
    assert message == second["message"]


def test_only_own_messages_can_be_changed(workspace: Workspace, client: WebClient) -> None:
    """Each mistake has its own error code."""
    other = workspace.say("general", "x")
    own = client.chat_postMessage(channel=GENERAL, text="x")["ts"]
    good = {"channel": GENERAL, "ts": own, "text": "y"}
    for wrong, code in (
        ({"ts": other}, "cant_update_message"),
        ({"ts": "1.2"}, "message_not_found"),
        ({"channel": "C0NONE"}, "channel_not_found"),
        ({"text": ""}, "no_text"),
        ({"blocks": "x"}, "invalid_blocks"),
    ):
        assert refusal(client, "chat.update", **good | wrong) == code
    assert refusal(client, "chat.delete", channel=GENERAL, ts=other) == "cant_delete_message"


def test_chat_delete_takes_the_message_away(workspace: Workspace, client: WebClient) -> None:
    """The event says which one it was."""
    ts = client.chat_postMessage(channel=GENERAL, text="x")["ts"]
    with connect(workspace) as rtm:
        client.chat_delete(channel=GENERAL, ts=ts)
        event = rtm.get()
    assert (event["subtype"], event["deleted_ts"]) == ("message_deleted", ts)
    assert event["previous_message"]["text"] == "x"
    assert client.conversations_history(channel=GENERAL)["messages"] == []


def test_a_reaction_is_an_event(workspace: Workspace, client: WebClient) -> None:
    """reaction_added names who reacted, to what, and who had said that; a refused one is none."""
    ts = workspace.say("general", "x")
    with connect(workspace) as rtm, SocketApp(workspace) as app:
        client.reactions_add(channel=GENERAL, timestamp=ts, name="eyes")
        refusal(client, "reactions.add", channel=GENERAL, timestamp=ts, name="eyes")
        event = rtm.get()
        assert app.take()["event"] == event
        assert rtm.hear_nothing()
    assert event == {
        "type": "reaction_added",
        "user": workspace.bot,
        "reaction": "eyes",
        "item_user": "U0ALICE",
        "item": {"type": "message", "channel": GENERAL, "ts": ts},
        "event_ts": event["event_ts"],
    }
