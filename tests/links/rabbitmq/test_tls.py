"""Facts about TLS on the way to RabbitMQ: a real node, its certificates and ours, SASL EXTERNAL."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from rtmpump.errors import LinkError
from rtmpump.sandbox.ports import free_port
from rtmpump.sandbox.rabbitmq.node import RabbitNode
from rtmpump.sandbox.slack.workspace import Workspace
from tests.links.rabbitmq.test_connection import ended, made
from tests.support.broker import Broker
from tests.support.broker_node import add_user, set_permissions
from tests.support.pump import PumpProcess
from tests.support.tls import make_pair

USER = "pump.example"
PAST = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)


class SecureNode:
    """A node with a TLS port that takes certificates for logins, and what is needed to use it."""

    def __init__(self, folder: Path) -> None:
        self.authority = trustme.CA()
        self.folder = folder
        self.ca = str(folder / "ca.pem")
        self.authority.cert_pem.write_to_path(self.ca)
        self.port = free_port()
        self.show(self.certificate("127.0.0.1"))
        node = str(folder / "node.pem")
        settings = {
            "listeners.ssl.1": f"127.0.0.1:{self.port}",
            "ssl_options.cacertfile": self.ca,
            "ssl_options.certfile": node,
            "ssl_options.keyfile": node,
            "ssl_options.verify": "verify_peer",
            "ssl_options.fail_if_no_peer_cert": "false",
            "auth_mechanisms.1": "EXTERNAL",
            "auth_mechanisms.2": "PLAIN",
            "ssl_cert_login_from": "common_name",
        }
        self.node = RabbitNode(config=settings, plugins=("rabbitmq_auth_mechanism_ssl",))

    def certificate(self, host: str, **more: object) -> trustme.LeafCert:
        """One that the node's authority signed."""
        return self.authority.issue_cert(host, **more)  # type: ignore[arg-type]

    def show(self, certificate: trustme.LeafCert) -> None:
        """Have the node show this one to whom connects from now on."""
        certificate.private_key_and_cert_chain_pem.write_to_path(str(self.folder / "node.pem"))

    def reload(self, certificate: trustme.LeafCert) -> None:
        """Return the node, started."""
        self.show(certificate)
        self.node.evaluate("ssl:clear_pem_cache()")

    def ours(self, name: str) -> str:
        """Return the file of a client's certificate with this name in it."""
        file = self.folder / f"{name}.pem"
        file.touch(mode=0o600)
        leaf = self.certificate(name, common_name=name)
        leaf.private_key_and_cert_chain_pem.write_to_path(str(file))
        return str(file)

    def url(self, login: str = "guest:guest@", host: str = "127.0.0.1") -> str:
        """Of its TLS port."""
        return f"amqps://{login}{host}:{self.port}/%2F"


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureNode]:
    """Run a node that knows a user by the name in its certificate."""
    one = SecureNode(tmp_path_factory.mktemp("secure"))
    with one.node:
        add_user(one.node, USER, "never-used")
        set_permissions(one.node, "/", USER, ".*", ".*", ".*")
        yield one


def error_line(error: LinkError) -> str:
    """Return the text of an error: one line without the password."""
    assert str(error).isprintable()
    assert "guest:" not in str(error)
    return str(error)


def test_a_certificate_is_a_login(secure: SecureNode) -> None:
    """SASL EXTERNAL: no user and no password in the URL."""
    rabbit, _ = made(
        secure.url(""), auth="external", ca_file=secure.ca, client_cert=secure.ours(USER)
    )
    rabbit.run()


def test_a_certificate_of_nobody_is_no_login(secure: SecureNode) -> None:
    """The broker knows no such user; the line says that it may be the certificate."""
    cert = secure.ours("stranger.example")
    error = ended(secure.url(""), auth="external", ca_file=secure.ca, client_cert=cert)
    assert error.reason == "auth"
    assert "certificate" in error_line(error)


def test_a_password_works_over_tls_without_a_certificate_of_ours(secure: SecureNode) -> None:
    """As the defaults have it."""
    made(secure.url(), ca_file=secure.ca)[0].run()


def test_a_host_of_another_name_is_refused(secure: SecureNode) -> None:
    """The certificate is for 127.0.0.1, and localhost is another name."""
    error = ended(secure.url(host="localhost"), ca_file=secure.ca)
    assert error.reason == "tls"
    assert "localhost" in error_line(error)


def test_an_authority_that_nobody_named_is_refused(secure: SecureNode) -> None:
    """Without broker.ca_file the system's authorities count, and the node's is none of them."""
    error = ended(secure.url())
    assert error.reason == "tls"
    assert "certificate" in error_line(error)


def test_an_expired_certificate_is_refused(secure: SecureNode) -> None:
    """It is tried again, because it may be renewed; then it works at once."""
    day = datetime.timedelta(days=1)
    secure.reload(secure.certificate("127.0.0.1", not_before=PAST, not_after=PAST + day))
    error = ended(secure.url(), ca_file=secure.ca)
    assert (error.reason, error.fate.value) == ("tls", "retry")
    assert "expired" in error_line(error)
    secure.reload(secure.certificate("127.0.0.1"))
    made(secure.url(), ca_file=secure.ca)[0].run()


def test_tls_is_never_left_out(secure: SecureNode) -> None:
    """A peer that speaks plain AMQP where TLS was asked for is refused, not taken as it is."""
    error = ended(f"amqps://guest:guest@127.0.0.1:{secure.node.port}/%2F", ca_file=secure.ca)
    assert error.reason in ("tls", "lost", "timeout")
    error_line(error)


def test_a_pump_that_is_known_by_its_certificate(secure: SecureNode, tmp_path: Path) -> None:
    """TLS on both sides, with authorities of their own, and no password anywhere."""
    slack = tmp_path / "slack"
    slack.mkdir()
    server, ca_file = make_pair(slack, "127.0.0.1")
    broker = {"ca_file": secure.ca, "client_cert": secure.ours(USER), "auth": "external"}
    with (
        Workspace(token="xoxb-over-tls-0123456789", tls=server) as workspace,
        PumpProcess(
            tmp_path, workspace, secure.url(""), broker=broker, slack={"ca_file": ca_file}
        ) as pump,
        Broker(secure.node.url) as guest,
    ):
        pump.wait_ready()
        queue = guest.queue(("rtm.events", "probe"))
        workspace.emit({"type": "probe"})
        assert guest.get(queue).key == "probe"
        assert guest.ask({"channel": "general", "text": "x"})["ok"]
        assert not [line for line in pump.log_lines() if line["level"] == "warning"]
