"""Facts about Slack's Web API, its errors and our words for them, over real sockets."""

from __future__ import annotations

import subprocess
import sys
import threading
import traceback
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rtmpump import config
from rtmpump.errors import ConfigError, LinkError, RtmpumpError, TokenRefused
from rtmpump.links.slack import api_errors
from rtmpump.links.slack.web_api import SignIn, SlackApi
from rtmpump.sandbox.ports import free_port
from rtmpump.sandbox.slack.faults import Hang, HttpAnswer, Reset
from rtmpump.sandbox.slack.workspace import Workspace
from tests.support.peer import peer
from tests.support.silence import Silence, resolve_to
from tests.support.tls import make_pair

FATAL = [
    "not_authed", "invalid_auth", "account_inactive", "token_revoked", "token_expired",
    "not_allowed_token_type", "missing_scope", "no_permission", "org_login_required",
    "access_denied", "accesslimited", "two_factor_setup_required", "enterprise_is_restricted",
    "ekm_access_denied", "is_bot", "method_deprecated", "unknown_method", "invalid_arguments",
]  # fmt: skip
MIGRATIONS = ["migration_in_progress", "team_added_to_org"]
TRANSIENT = ["request_timeout", "service_unavailable", "fatal_error", "internal_error"]
JSON = {"Content-Type": "application/json"}


@pytest.fixture
def workspace() -> Iterator[Workspace]:
    """One workspace."""
    with Workspace() as workspace:
        yield workspace


def settings(workspace: Workspace, **keys: Any) -> config.Slack:
    """The configuration for a workspace."""
    right: dict[str, Any] = {"token": config.Secret(workspace.token), "api_url": workspace.api_url}
    return config.Slack(**(right | keys))


def api_of(workspace: Workspace, **keys: Any) -> SlackApi:
    """The API of a workspace."""
    return SlackApi(settings(workspace, **keys))


def failing(workspace: Workspace, *faults: Any, method: str = "rtm.connect") -> SlackApi:
    """The API whose next calls of `method` meet `faults`."""
    workspace.faults.api_errors[method] = deque(faults)
    return api_of(workspace)


def link_error(api: SlackApi) -> LinkError:
    """What `connect` raises."""
    with pytest.raises(LinkError) as caught:
        api.sign_in()
    return caught.value


def test_connect_tells_url_and_names(workspace: Workspace) -> None:
    """The URL whole, the ids and names of workspace and bot."""
    answer = api_of(workspace).sign_in()
    assert answer == SignIn(answer.url, workspace.team, workspace.bot, "Sandbox", "pump")
    assert answer.url.reveal().startswith(f"ws://127.0.0.1:{workspace.port}/websocket/")
    assert answer.url.reveal().endswith(f"?v=5&team={workspace.team}")


@pytest.mark.parametrize(("aware", "sent"), [(True, "1"), (False, None)])
def test_batch_presence_is_asked_for_when_set(
    workspace: Workspace, aware: bool, sent: str | None
) -> None:
    """batch_presence_aware is 1 or left out."""
    api_of(workspace, batch_presence_aware=aware).sign_in()
    assert workspace.calls[0].args.get("batch_presence_aware") == sent


def test_auth_test_tells_who_the_token_is(workspace: Workspace) -> None:
    """The members of auth.test, and a wrong token is refused."""
    assert api_of(workspace).auth_test()["user_id"] == workspace.bot
    with pytest.raises(TokenRefused):
        api_of(workspace, token=config.Secret("xoxb-other")).auth_test()


@pytest.mark.parametrize("code", FATAL)
def test_fatal_codes_refuse_the_token(workspace: Workspace, code: str) -> None:
    """Slack's word and a fix, and the exit code of a bad configuration."""
    with pytest.raises(TokenRefused) as caught:
        failing(workspace, code).sign_in()
    assert (caught.value.code, caught.value.exit_code) == (code, 78)
    assert ("classic app" if code == "not_allowed_token_type" else " ") in caught.value.fix


@pytest.mark.parametrize("code", MIGRATIONS + TRANSIENT)
def test_listed_codes_are_retried(workspace: Workspace, code: str) -> None:
    """Their code is the reason; a migration asks for a longer wait."""
    error = link_error(failing(workspace, code))
    assert (error.link, error.reason, error.at_once) == ("slack", code, False)
    assert error.retry_after == (30.0 if code in MIGRATIONS else None)


@pytest.mark.parametrize(
    ("code", "reason"),
    [("new_trouble", "new_trouble"), ("New.Trouble-é", "new_trouble__"), ("x" * 99, "x" * 50)],
)
def test_unknown_codes_are_retried_and_cleaned(
    workspace: Workspace, code: str, reason: str
) -> None:
    """A code that is not listed becomes a word for metrics, and the detail says it is unknown."""
    error = link_error(failing(workspace, code))
    assert error.reason == reason
    assert "not a known error" in error.detail


DATE = "Wed, 21 Oct 2026 07:28:00 GMT"
ODD = [{}, *({"Retry-After": word} for word in ("soon", "-1", "99999999999", DATE))]


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "7"}, 7.0),
        ({"retry-after": "7"}, 7.0),
        ({"Retry-After": "0"}, 0.0),
        *((headers, 30.0) for headers in ODD),
    ],
)
@pytest.mark.parametrize("body", ['{"ok": false, "error": "ratelimited"}', "<html>slow down"])
def test_a_429_tells_how_long_to_wait(
    workspace: Workspace, headers: dict[str, str], seconds: float, body: str
) -> None:
    """Retry-After in seconds, 30 where it is missing or odd, whatever the body."""
    error = link_error(failing(workspace, HttpAnswer(429, headers, body)))
    assert (error.reason, error.retry_after) == ("ratelimited", seconds)


def test_an_answer_that_comes_for_ever_times_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """A byte now and then is no answer, neither of the head nor of the body."""
    monkeypatch.setattr("rtmpump.links.slack.http.WHOLE", 0.2)
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n"
    for answers in ((b"x",), (head + b"{",)):
        with peer(*answers, every=0.05) as port:
            slack = config.Slack(
                token=config.Secret("xoxb-1"), api_url=f"http://127.0.0.1:{port}/api/"
            )
            api = SlackApi(slack, timeout=1)
            assert link_error(api).reason == "timeout"


def test_silent_addresses_have_one_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many the name has; Slack surely did not take the call."""
    with Silence(8) as silence:
        resolve_to(monkeypatch, "many.example", silence.hosts)
        slack = config.Slack(
            token=config.Secret("xoxb-1"), api_url=f"http://many.example:{silence.port}/api/"
        )
        with pytest.raises(api_errors.CallFailed) as caught:
            SlackApi(slack, timeout=1).auth_test()
    assert (caught.value.reason, caught.value.certain) == ("timeout", True)


def test_without_a_thread_a_call_is_tried_again(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Slack surely did not take it, and the text says what is missing."""

    def none(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    api = api_of(workspace)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", none)
        with pytest.raises(api_errors.CallFailed) as caught:
            api.auth_test()
    assert (caught.value.reason, caught.value.certain) == ("scarce", True)
    assert api.auth_test()["ok"]


def test_ratelimited_may_come_as_200(workspace: Workspace) -> None:
    """Without a header the wait is 30 seconds."""
    assert link_error(failing(workspace, "ratelimited")).retry_after == 30.0


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (HttpAnswer(500, {}, "<html>oops"), "http_500"),
        (HttpAnswer(503, {}, ""), "http_503"),
        (HttpAnswer(503, JSON, '{"ok": false, "error": "service_unavailable"}'),
         "service_unavailable"),
        (HttpAnswer(500, JSON, '{"ok": false, "error": "invalid_auth"}'), "invalid_auth"),
        (HttpAnswer(404, {}, "<html>"), "http_404"),
        (HttpAnswer(200, {}, "<html>portal"), "bad_answer"),
        (HttpAnswer(200, {}, ""), "bad_answer"),
        (HttpAnswer(200, JSON, "[]"), "bad_answer"),
        (HttpAnswer(200, JSON, "[1]"), "bad_answer"),
        (HttpAnswer(200, JSON, '"text"'), "bad_answer"),
        (HttpAnswer(200, JSON, "null"), "bad_answer"),
        (HttpAnswer(200, JSON, "{}"), "bad_answer"),
        (HttpAnswer(200, JSON, '{"ok": true}'), "bad_url"),
        (HttpAnswer(200, JSON, '{"ok": false, "error": {"code": 1}}'), "bad_answer"),
        (HttpAnswer(200, JSON, b"\xff\xfe"), "bad_answer"),
        (HttpAnswer(200, {"Content-Type": "text/html; charset=klingon"}, "{}"), "bad_answer"),
        (HttpAnswer(500, {"Content-Type": "text/html; charset=klingon"}, "{}"), "bad_answer"),
        (HttpAnswer(200, {"Content-Type": "application/gzip"}, b"\x1f\x8b"), "bad_answer"),
        (HttpAnswer(200, JSON, "[" * 100_000), "bad_answer"),
        (HttpAnswer(200, {"Content-Length": "99"}, "{}"), "unreachable"),
        (HttpAnswer(200, JSON, '{"ok": true, "url": "ws://127.0.0.1/", "team": [], "self": {}}'),
         "bad_answer"),
    ],
)  # fmt: skip
def test_answers_that_are_not_slacks_are_retried(
    workspace: Workspace, answer: HttpAnswer, reason: str
) -> None:
    """HTML, half bodies, odd JSON, odd charsets: a LinkError, never a crash, never fatal."""
    assert link_error(failing(workspace, answer)).reason == reason


@pytest.mark.parametrize(
    "url",
    ["https://x/", "wss://", "wss://[", "ws://h:99999/", "//host/", "ws:host", 7, None, {}, ""],
)
def test_only_websocket_urls_are_taken(workspace: Workspace, url: object) -> None:
    """Anything else is bad_url, and the URL is not quoted."""
    answer = {"ok": True, "url": url, "team": {"id": "T1"}, "self": {"id": "U1"}}
    error = link_error(failing(workspace, answer))
    assert error.reason == "bad_url"
    assert not url or str(url) not in str(error)


def test_a_connection_that_fails_is_unreachable(workspace: Workspace) -> None:
    """Nobody listens, or the connection is reset: the host is named."""
    api = SlackApi(config.Slack(api_url=f"http://127.0.0.1:{free_port()}/api/"))
    assert str(link_error(api)) == "slack: unreachable (127.0.0.1: Connection refused)"
    assert link_error(failing(workspace, Reset())).reason == "unreachable"


def test_silence_is_a_timeout(workspace: Workspace) -> None:
    """No answer within the time."""
    workspace.faults.api_errors["rtm.connect"].append(Hang(60))
    assert link_error(SlackApi(settings(workspace), timeout=1)).reason == "timeout"


def test_tls_trusts_the_ca_file_alone(tmp_path: Path) -> None:
    """With it all works; without it the error is tls and names the host."""
    server, ca_file = make_pair(tmp_path, "127.0.0.1")
    with Workspace(tls=server) as workspace:
        assert api_of(workspace, ca_file=ca_file).sign_in().url.reveal().startswith("wss://")
        error = link_error(api_of(workspace))
        assert error.reason == "tls"
        assert error.detail.startswith("127.0.0.1: unable to get local issuer")


def test_tls_checks_the_host_name(tmp_path: Path) -> None:
    """A trusted certificate of another host is refused."""
    server, ca_file = make_pair(tmp_path, "other.example")
    with Workspace(tls=server) as workspace:
        error = link_error(api_of(workspace, ca_file=ca_file))
        assert (error.reason, "127.0.0.1" in error.detail) == ("tls", True)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(workspace: Workspace, status: int) -> None:
    """Else the token would go wherever it leads to."""
    with Workspace(token=workspace.token) as elsewhere:
        where = {"Location": f"{elsewhere.api_url}rtm.connect"}
        error = link_error(failing(workspace, HttpAnswer(status, where, "")))
        assert error.reason == f"http_{status}"
        assert elsewhere.calls == []


@pytest.mark.parametrize("status", [200, 500])
def test_an_answer_without_end_is_given_up(workspace: Workspace, status: int) -> None:
    """After 16 MiB, whatever its status."""
    answer = HttpAnswer(status, JSON, b" " * (17 << 20))
    error = link_error(failing(workspace, answer))
    assert (error.reason, "over 16 MiB" in error.detail) == ("unreachable", True)


def test_the_url_of_a_connection_shows_nowhere(workspace: Workspace) -> None:
    """Its ticket opens the workspace for half a minute."""
    answer = api_of(workspace).sign_in()
    assert "websocket/" not in f"{answer} {answer!r} {answer.url}"
    assert "websocket/" in answer.url.reveal()


def test_a_plain_api_gives_no_plain_url_to_elsewhere(workspace: Workspace) -> None:
    """Here plain http is fine, but ws:// to another machine only if `insecure` allows it."""
    workspace.faults.connect_url = "ws://slack.example/x"
    assert link_error(api_of(workspace)).reason == "bad_url"
    answer = api_of(workspace, insecure=True).sign_in()
    assert answer.url.reveal() == "ws://slack.example/x"


def test_an_https_api_gives_no_plain_url_to_elsewhere(tmp_path: Path) -> None:
    """ws:// is for loopback, where no other machine can listen."""
    server, ca_file = make_pair(tmp_path, "127.0.0.1")
    with Workspace(tls=server) as workspace:
        api = api_of(workspace, ca_file=ca_file)
        workspace.faults.connect_url = "ws://slack.example/x"
        assert link_error(api).reason == "bad_url"
        for url in ("ws://127.0.0.1/x", "ws://[::1]/", "ws://localhost/", "wss://slack.example/"):
            workspace.faults.connect_url = url
            assert api.sign_in().url.reveal() == url


def test_a_ca_file_without_certificates_is_a_config_error(
    workspace: Workspace, tmp_path: Path
) -> None:
    """It names the key."""
    (tmp_path / "ca.pem").write_text("nothing")
    for name in ("ca.pem", "missing.pem"):
        with pytest.raises(ConfigError) as caught:
            api_of(workspace, ca_file=str(tmp_path / name)).sign_in()
        assert caught.value.key == "slack.ca_file"


def test_the_proxy_is_used(workspace: Workspace) -> None:
    """The workspace plays the proxy for a host that isn't there."""
    proxy = config.Secret(f"http://user:pass@127.0.0.1:{workspace.port}")
    away = f"http://127.0.0.1:{free_port()}/api/"
    assert api_of(workspace, api_url=away, proxy=proxy).sign_in().team == workspace.team


def test_proxies_of_the_environment_follow_the_usual_rules(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """https_proxy is for https URLs alone, http_proxy for http ones, no_proxy wins."""
    dead = f"http://127.0.0.1:{free_port()}"
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.setenv("HTTPS_PROXY", dead)
    assert api_of(workspace).sign_in()
    monkeypatch.setenv("http_proxy", dead)
    assert link_error(api_of(workspace)).reason == "unreachable"
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    assert api_of(workspace).sign_in()


TOKEN = "xoxb-1234-very-secret"


@pytest.mark.parametrize(
    "fault",
    [
        {"ok": False, "error": TOKEN},
        {"ok": False, "error": "missing_scope", "needed": TOKEN},
        {"ok": False, "error": "ratelimited", "hint": TOKEN},
        {"ok": True, "url": f"https://x/{TOKEN}"},
        HttpAnswer(500, {}, f"<html>Bearer {TOKEN}"),
        HttpAnswer(200, {}, f"<html>Bearer {TOKEN}"),
        HttpAnswer(429, {"Retry-After": TOKEN}, TOKEN),
        HttpAnswer(200, {"Content-Type": f"text/html; charset={TOKEN}"}, "{}"),
        Reset(),
        "invalid_auth",
    ],
)
def test_no_text_of_an_error_holds_the_token(
    fault: Any, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Even where the peer quotes it: not in str, repr, arguments, traceback or any log line."""
    caplog.set_level(0)
    with Workspace(token=TOKEN) as workspace:
        with pytest.raises(RtmpumpError) as caught:
            failing(workspace, fault).sign_in()
        error = caught.value
        lines = [str(error), repr(error), repr(error.args), repr(vars(error))]
        lines += traceback.format_exception(error)
        lines += [caplog.text, *capfd.readouterr()]
        text = "\n".join(lines).lower()
        assert TOKEN not in text
        assert TOKEN.replace("-", "_") not in text


def test_a_token_that_no_header_can_hold_is_not_told() -> None:
    """http.client quotes a header that it refuses; we don't."""
    with Workspace() as workspace, pytest.raises(LinkError) as caught:
        api_of(workspace, token=config.Secret(f"{TOKEN}\nx")).sign_in()
    assert TOKEN not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("response", [{"ok": False, "error": "invalid_auth"}, "invalid_auth"])
def test_a_response_may_be_a_dict_or_text(response: object) -> None:
    """slack_sdk's own type says so; a dict is read, text is no code."""
    answer = api_errors.read_answer(response)
    assert answer.status == 200
    assert answer.data == (response if isinstance(response, dict) else {})


def test_slack_sdk_is_imported_at_the_first_call() -> None:
    """It is slow, and most commands of the program never call Slack."""
    code = "import sys, rtmpump.links.slack.web_api; sys.exit('slack_sdk' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
