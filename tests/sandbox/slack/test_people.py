"""Facts about the people of the simulated workspace, as slack_sdk sees them."""

from __future__ import annotations

from slack_sdk import WebClient

from rtmpump.sandbox.slack.workspace import Workspace
from tests.support.sandbox_clients import refusal


def test_users_have_names(workspace: Workspace, client: WebClient) -> None:
    """Those of `users`, of direct channels, and the bot; the list comes in pages."""
    workspace.users["U0CAROL"] = "carol"
    workspace.channels["U0DAVE"] = "D0DAVE"
    workspace.page_size = 2
    names = [one["name"] for page in client.users_list() for one in page["members"]]
    assert names == ["alice", "bob", "carol", "u0dave", "pump"]
    bot = client.users_info(user=workspace.bot)["user"]
    assert (bot["is_bot"], bot["profile"]["bot_id"]) == (True, "B0PUMP")
    assert client.users_info(user="U0CAROL")["user"]["profile"]["display_name"] == "carol"
    assert refusal(client, "users.info", user="U0NOBODY") == "user_not_found"
    assert refusal(client, "users.list", cursor="x") == "invalid_cursor"


def test_team_and_bot_can_be_asked_for(workspace: Workspace, client: WebClient) -> None:
    """Their ids are those of auth.test."""
    who = client.auth_test()
    assert client.team_info()["team"]["id"] == who["team_id"] == workspace.team
    bot = client.bots_info(bot=who["bot_id"])["bot"]
    assert (bot["user_id"], bot["app_id"]) == (workspace.bot, "A0SANDBOX")
    assert refusal(client, "bots.info", bot="B0NONE") == "bot_not_found"
    assert refusal(client, "team.info", team="T0NONE") == "team_not_found"


def test_members_are_all_or_the_two_of_a_direct_channel(
    workspace: Workspace, client: WebClient
) -> None:
    """The bot is no member of a channel that it left."""
    members = "conversations.members"
    assert client.conversations_members(channel="D0ALICE")["members"] == ["U0ALICE", "U0PUMP"]
    workspace.archive.left.add("C0GENERAL")
    assert client.conversations_members(channel="C0GENERAL")["members"] == ["U0ALICE", "U0BOB"]
    assert len(client.conversations_members(channel="C0RANDOM", limit=1)["members"]) == 1
    assert refusal(client, members, channel="C0NONE") == "channel_not_found"


def test_a_direct_channel_can_be_opened(workspace: Workspace, client: WebClient) -> None:
    """The one that there is, a new one for one user, and one for several."""
    old = client.conversations_open(users="U0ALICE")
    assert (old["channel"], old["already_open"]) == ({"id": "D0ALICE"}, True)
    new = client.conversations_open(users=["U0BOB"])["channel"]["id"]
    assert client.conversations_open(channel=new)["no_op"] is True
    assert client.chat_postMessage(channel="U0BOB", text="x")["channel"] == new
    many = client.conversations_open(users=["U0ALICE", "U0BOB"], return_im=True)["channel"]
    assert (many["is_mpim"], many["name"]) == (True, "mpdm-alice--bob-1")
    (listed,) = client.conversations_list(types="mpim")["channels"]
    assert listed["id"] == many["id"]
    for wrong, code in (
        ({}, "users_list_not_supplied"),
        ({"users": "U0NOBODY"}, "user_not_found"),
        ({"channel": "C0GENERAL"}, "method_not_supported_for_channel_type"),
        ({"channel": "D0NONE"}, "channel_not_found"),
        ({"users": ",".join(["U0BOB"] * 9)}, "too_many_users"),
    ):
        assert refusal(client, "conversations.open", **wrong) == code
