"""What an operator does with a gateway that runs: new tokens, a look at it, a check beside it."""

from __future__ import annotations

import json
import signal
import ssl
from contextlib import closing
from pathlib import Path
from socket import create_connection
from typing import Any

import pytest
import trustme
import websocket

from tests.gateway.conftest import Publish, StartGateway
from tests.support.broker import Broker
from tests.support.cli import rtmpump
from tests.support.gateway import OTHER, TOKEN, GatewayProcess
from tests.support.waiting import wait_until

NEW = "Newest-Token-0123456789abcdef"


def token_file(folder: Path, name: str, token: str) -> dict[str, str]:
    """Write a file with a token; return the table of its program."""
    file = folder / f"token-{name}"
    file.write_text(f"{token}\n")
    file.chmod(0o600)
    return {"token_file": str(file)}


def reload(gateway: GatewayProcess, count: int = 1) -> None:
    """Do what `systemctl reload` does, and wait for its end."""
    gateway.signal(signal.SIGHUP)
    gateway.wait_log("reloaded", count)


def knows(gateway: GatewayProcess, token: str) -> bool:
    """Return whether the gateway takes a token."""
    answer = gateway.call("apps.connections.open", token)
    return bool(answer["ok"])


@pytest.mark.parametrize("bad", ["", "too-short", f"{OTHER}\n", None])
def test_a_new_token_counts_after_a_reload(
    start_gateway: StartGateway, tmp_path: Path, bad: str | None
) -> None:
    """At once, and the old one no longer; one that can't be used is refused, and the last stays."""
    tables = {"a": token_file(tmp_path, "a", TOKEN), "b": token_file(tmp_path, "b", OTHER)}
    gateway = start_gateway(clients=tables)
    (tmp_path / "token-a").write_text(f"xoxb-{NEW}\n")
    assert not knows(gateway, NEW)
    reload(gateway)
    assert [knows(gateway, one) for one in (NEW, TOKEN, OTHER)] == [True, False, True]
    replaced = gateway.logged("secret.replaced")
    assert [line["key"] for line in replaced] == ["gateway.clients.a.token_file"]
    if bad is None:
        (tmp_path / "token-a").unlink()
    else:
        (tmp_path / "token-a").write_text(bad)
    reload(gateway, 2)
    refused = gateway.wait_log("secret.refused")
    assert refused["key"] == "gateway.clients.a.token_file"
    assert refused["fix"] == "the old one stays"
    assert [knows(gateway, one) for one in (NEW, OTHER)] == [True, True]
    assert NEW not in gateway.log_text()


def test_two_programs_may_change_their_tokens_in_one_reload(
    start_gateway: StartGateway, tmp_path: Path
) -> None:
    """Each gets what the other had; what both would have is refused for both."""
    tables = {"a": token_file(tmp_path, "a", TOKEN), "b": token_file(tmp_path, "b", OTHER)}
    gateway = start_gateway(clients=tables)
    token_file(tmp_path, "a", OTHER)
    token_file(tmp_path, "b", TOKEN)
    reload(gateway)
    assert len(gateway.logged("secret.replaced")) == 2
    for name in ("a", "b"):
        token_file(tmp_path, name, NEW)
    reload(gateway, 2)
    assert [knows(gateway, one) for one in (TOKEN, OTHER, NEW)] == [True, True, False]
    problems = [line["problem"] for line in gateway.logged("secret.refused")]
    assert problems == [
        f"it is the token of {other} too; make one with: openssl rand -hex 24" for other in "ba"
    ]


def test_a_websocket_stays_when_its_token_goes(
    start_gateway: StartGateway, tmp_path: Path, broker: Broker, publish: Publish
) -> None:
    """Events still come on it, and are acknowledged; its ticket was good, and asks no more."""
    gateway = start_gateway(clients={"a": token_file(tmp_path, "a", TOKEN)})
    url = gateway.call("apps.connections.open")["url"]
    with closing(websocket.create_connection(url, timeout=30)) as socket:
        socket.recv()
        gateway.wait_log("gateway.queue_bound")
        token_file(tmp_path, "a", NEW)
        reload(gateway)
        publish("message", n=1)
        envelope = json.loads(socket.recv())
        assert envelope["payload"]["event"]["n"] == 1
        socket.send(json.dumps({"envelope_id": envelope["envelope_id"]}))
        wait_until(lambda: client_of(gateway, "a")["acknowledged"] == 1)
    assert not knows(gateway, TOKEN)


def test_a_new_certificate_counts_after_a_reload(
    start_gateway: StartGateway, tmp_path: Path
) -> None:
    """For the next connections; a pair that does not belong together is refused."""
    names = {"tls_cert": str(tmp_path / "cert.pem"), "tls_key": str(tmp_path / "key.pem")}

    def renew() -> ssl.SSLContext:
        authority = trustme.CA()
        pair = authority.issue_cert("127.0.0.1")
        pair.cert_chain_pems[0].write_to_path(names["tls_cert"])
        pair.private_key_pem.write_to_path(names["tls_key"])
        context = ssl.create_default_context()
        authority.configure_trust(context)
        return context

    def asked(context: ssl.SSLContext) -> str:
        plain = create_connection(("127.0.0.1", gateway.port), timeout=30)
        with context.wrap_socket(plain, server_hostname="127.0.0.1") as socket:
            socket.sendall(b"GET /livez HTTP/1.0\r\n\r\n")
            return b"".join(iter(lambda: socket.recv(4096), b"")).decode()

    first = renew()
    gateway = start_gateway(gateway=names)
    assert asked(first).endswith("ok\n")
    second = renew()
    reload(gateway)
    assert asked(second).endswith("ok\n")
    renew()
    Path(names["tls_key"]).write_text("no key")
    reload(gateway, 2)
    assert gateway.wait_log("secret.refused")["key"] == "gateway.tls_cert or tls_key"
    assert asked(second).endswith("ok\n")


def client_of(gateway: GatewayProcess, name: str) -> Any:
    """What `/status` says of a program."""
    return json.loads(gateway.get("/status")[1])["clients"][name]


def test_the_page_and_its_document(
    start_gateway: StartGateway, broker: Broker, publish: Publish
) -> None:
    """Who is connected, what waits and what was refused; no token, and nothing from elsewhere."""
    gateway = start_gateway(
        clients={"bot": {"token": TOKEN, "queue": "q"}, "other": {"token": NEW}}
    )
    gateway.wait_log("gateway.queue_bound")
    publish("message", n=1)
    wait_until(lambda: client_of(gateway, "bot")["waiting"] == 1)
    assert client_of(gateway, "other")["waiting"] is None
    url = gateway.call("apps.connections.open")["url"]
    with closing(websocket.create_connection(url, timeout=30)) as socket:
        for _ in range(2):
            socket.recv()
        socket.send("no JSON")
        wait_until(lambda: client_of(gateway, "bot")["refused"] == 1)
        bot = client_of(gateway, "bot")
        assert (bot["socket_mode"], bot["rtm"], bot["held"]) == (1, 0, 1)
        status, page = gateway.get("/")
        assert status == 200
        assert '<th scope="row">bot</th>' in page
        assert '<p class="verdict">ready</p>' in page
        assert "http://" not in page
        assert TOKEN not in page + gateway.get("/status")[1]


def test_check_knows_the_gateway_that_runs(start_gateway: StartGateway, tmp_path: Path) -> None:
    """Its port is no mistake, if the gateway that has it was started with the same file."""
    gateway = start_gateway()
    env = {"SLACK_API_TOKEN": "xoxb-1", "RTMPUMP_HTTP_LISTEN": ""}
    done = rtmpump(tmp_path, "check", "-c", str(gateway.config), env=env)
    port = f"127.0.0.1:{gateway.port}"
    assert f"port {port}: in use by the running gateway (pid {gateway.pid})" in done.stdout
    assert (done.returncode, done.stderr.count("can't listen")) == (0, 0)
    other = tmp_path / "other.toml"
    other.write_text(gateway.config.read_text())
    done = rtmpump(tmp_path, "check", "-c", str(other), env=env)
    assert done.returncode == 1
    assert f"gateway.listen: can't listen on {port}: Address already in use" in done.stderr


@pytest.mark.parametrize("path", ["/", "/status", "/metrics", "/livez", "/readyz"])
def test_who_looks_must_name_the_gateway(start_gateway: StartGateway, path: str) -> None:
    """A web page of a stranger's name that leads here can read nothing; programs may use a name."""
    gateway = start_gateway(gateway={"public_url": "https://bots.example/"})
    for ours in ("localhost:1", "127.0.0.1", "bots.example"):
        assert gateway.get(path, Host=ours)[0] == 200
    status, text = gateway.get(path, Host="evil.example")
    assert (status, "bot" in text) == (421, False)
    assert gateway.get("/api/auth.test", Host="any.example")[0] == 200
    with closing(create_connection(("127.0.0.1", gateway.port), timeout=30)) as check:
        check.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
        assert check.makefile("rb").readline() == b"HTTP/1.0 200 OK\r\n"
