"""Facts about the list of channels that Slack's Web API gives, over real sockets."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from typing import Any

import pytest

from rtmpump import config
from rtmpump.errors import Fate, LinkError
from rtmpump.links.slack.api_errors import ChannelsRefused
from rtmpump.links.slack.web_api import SlackApi
from rtmpump.sandbox.slack.workspace import Workspace

LIST = "conversations.list"


@pytest.fixture
def workspace() -> Iterator[Workspace]:
    """One workspace."""
    with Workspace() as workspace:
        yield workspace


def api_of(workspace: Workspace, **keys: Any) -> SlackApi:
    """The API of a workspace."""
    right: dict[str, Any] = {"token": config.Secret(workspace.token), "api_url": workspace.api_url}
    return SlackApi(config.Slack(**(right | keys)))


def failing(workspace: Workspace, *faults: Any, method: str = LIST) -> SlackApi:
    """The API whose next calls of `method` meet `faults`."""
    workspace.faults.api_errors[method] = deque(faults)
    return api_of(workspace)


def test_channels_come_from_all_pages() -> None:
    """Public and private ones by name, archived and direct ones left out."""
    channels = {f"c{number}": f"C{number}" for number in range(25)} | {"g": "G1", "U1": "D1"}
    with Workspace(channels=channels) as workspace:
        workspace.page_size = 10
        workspace.archived.add("C7")
        found = api_of(workspace).channels()
        assert found == {k: v for k, v in channels.items() if v not in ("C7", "D1")}
        assert [call.args["limit"] for call in workspace.calls] == ["200"] * 3


def test_a_long_list_goes_on_where_the_rate_limit_cut_it() -> None:
    """The pages before the 429 are not asked for again; a list that is done begins anew."""
    channels = {f"c{number}": f"C{number}" for number in range(30)}
    with Workspace(channels=channels) as workspace:
        workspace.page_size = 10
        api = failing(workspace, {"ok": True, "channels": [], "response_metadata": {}}, method=LIST)
        assert api.channels() == {}
        first = {"ok": True, "channels": [{"name": "x", "id": "C99"}]}
        first["response_metadata"] = {"next_cursor": "ZnJvbToxMA=="}
        workspace.faults.api_errors[LIST] = deque([first, "ratelimited"])
        with pytest.raises(LinkError, match="ratelimited"):
            api.channels()
        assert set(api.channels()) == {"x", *(f"c{number}" for number in range(10, 30))}
        assert api.channels() == channels


@pytest.mark.parametrize("mode", ["rtm", "socket"])
def test_the_list_is_of_the_workspace_where_that_is_known(workspace: Workspace, mode: str) -> None:
    """With the token of an organisation Slack wants to know which one."""
    app_token = config.Secret(workspace.app_token)
    api = api_of(workspace, mode=mode, app_token=app_token)
    api.sign_in()
    api.channels()
    assert workspace.calls[-1].args["team_id"] == workspace.team


def test_a_list_that_wants_a_workspace_is_asked_for_with_it(workspace: Workspace) -> None:
    """Before the sign-in auth.test says which; a second refusal is the last word."""
    api = failing(workspace, "missing_argument", method=LIST)
    assert api.channels()["general"] == "C0GENERAL"
    methods = [(call.method, call.args.get("team_id")) for call in workspace.calls]
    assert methods == [(LIST, None), ("auth.test", None), (LIST, workspace.team)]
    workspace.faults.api_errors[LIST] = deque(["missing_argument"])
    with pytest.raises(ChannelsRefused, match="missing_argument"):
        api.channels()


def test_an_organisation_is_no_workspace(workspace: Workspace) -> None:
    """Its id is not sent; what Slack says then is final."""
    organisation = {"ok": True, "team_id": "E0ORG", "user_id": "U1"}
    workspace.faults.api_errors["auth.test"] = deque([organisation])
    api = failing(workspace, "missing_argument", "missing_argument", method=LIST)
    with pytest.raises(ChannelsRefused, match="missing_argument") as caught:
        api.channels()
    assert "by their ids" in caught.value.detail
    assert all("team_id" not in call.args for call in workspace.calls)


def test_public_channels_are_enough(workspace: Workspace) -> None:
    """Without the scope for private channels the public ones are listed."""
    found = failing(workspace, "missing_scope", method=LIST).channels()
    assert found == {"general": "C0GENERAL", "random": "C0RANDOM"}
    assert [call.args["types"] for call in workspace.calls] == [
        "public_channel,private_channel",
        "public_channel",
    ]


def test_a_list_that_is_refused_says_so(workspace: Workspace) -> None:
    """No scope at all: ChannelsRefused, which names the scope; never TokenRefused."""
    refusal = {"ok": False, "error": "missing_scope", "needed": "channels:read"}
    with pytest.raises(ChannelsRefused, match="channels:read") as caught:
        failing(workspace, refusal, refusal, method=LIST).channels()
    assert (caught.value.reason, caught.value.fate) == ("missing_scope", Fate.REJECTED)
    with pytest.raises(ChannelsRefused, match="unknown_method"):
        failing(workspace, "unknown_method", method=LIST).channels()


def test_a_bad_token_is_for_connect_to_find(workspace: Workspace) -> None:
    """In a list of channels it is a LinkError to be retried: another token may come."""
    with pytest.raises(LinkError, match="token_revoked") as caught:
        failing(workspace, "token_revoked", method=LIST).channels()
    assert not isinstance(caught.value, ChannelsRefused)


def test_a_stop_ends_a_list_between_pages() -> None:
    """No further page is asked for."""
    stop = threading.Event()
    stop.set()
    with Workspace() as workspace:
        workspace.page_size = 1
        with pytest.raises(LinkError, match="stopped"):
            api_of(workspace).channels(stop)
        assert len(workspace.calls) == 1


ENDLESS = {"ok": True, "channels": [], "response_metadata": {"next_cursor": "ZnJvbTow"}}


@pytest.mark.parametrize("page", [{"ok": True}, {"ok": True, "channels": {}}, ENDLESS])
def test_a_list_without_an_end_is_a_bad_answer(workspace: Workspace, page: Any) -> None:
    """No channels, or a cursor that comes again: an error and no endless loop."""
    with pytest.raises(LinkError, match="bad_answer"):
        failing(workspace, *[page] * 5, method=LIST).channels()


def test_odd_channels_are_passed_over(workspace: Workspace) -> None:
    """What has no name or id as text is no channel."""
    odd = [None, 1, {}, {"name": "a"}, {"name": 1, "id": "C1"}, {"name": "ok", "id": "C2"}]
    page = {"ok": True, "channels": odd, "response_metadata": None}
    assert failing(workspace, page, method=LIST).channels() == {"ok": "C2"}
