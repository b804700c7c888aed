"""Why a connection to RabbitMQ did not come about: which refusal, whose, and what to do.

Law: user and virtual host are named, the password never.
"""

from __future__ import annotations

import os
import re
import socket
import ssl
from typing import Any, Final, NamedTuple

from pika import exceptions as amqp

from rtmpump.errors import LinkError
from rtmpump.links.rabbitmq.errors import translated

REFUSED: Final = ("auth", "not_allowed")
"""The reasons where another login may help."""
BETWEEN_NODES: Final = " | "
"""Between what several nodes answered; inside of an answer "; " is before what to do."""
_TLS_ALERT: Final = b"\x15\x03"
_AMQP: Final = b"AMQP"
_ACCESS_REFUSED: Final = 403
_NOT_ALLOWED: Final = 530
_ALERT_ABOUT_US: Final = re.compile(r"ALERT_\w*(CERTIFICATE|UNKNOWN_CA|HANDSHAKE_FAILURE)")


class BrokerAddress(NamedTuple):
    """Whom we wanted to reach, and as whom."""

    host: str
    port: int
    tls: bool
    user: str
    """ "" where the certificate is the login."""
    vhost: str

    @property
    def _login(self) -> str:
        return f"the user {self.user!r}" if self.user else "the user of our certificate"


def peer_of(node: Any) -> BrokerAddress:
    """Return the peer that pika's parameters name."""
    user = getattr(node.credentials, "username", "")
    return BrokerAddress(
        node.host, node.port, node.ssl_options is not None, user, node.virtual_host
    )


def not_reached(link: str, error: OSError) -> LinkError:
    """Return the error where no TCP connection came about."""
    if isinstance(error, socket.gaierror) or not error.errno:
        return translated(link, error)
    if isinstance(error, ConnectionRefusedError):
        return LinkError(link, "refused", "connection refused")
    return LinkError(link, "unreachable", os.strerror(error.errno).lower())


def not_opened(
    link: str, peer: BrokerAddress, cause: BaseException | None, heard: bytes | None
) -> LinkError:
    """Return the error where TLS or the handshake of AMQP failed.

    `cause` is what ended it; `heard` what the peer sent first, None where there was no TLS yet.
    """
    match cause:
        case amqp.ConnectionClosedByBroker():
            return _refused(link, peer, cause.reply_code, cause.reply_text)
        case amqp.AuthenticationError():
            other = "plain" if peer.user == "" else "external"
            return LinkError(
                link,
                "auth",
                f'the broker does not take this kind of login; set broker.auth = "{other}", or '
                "have the broker take ours (auth_mechanisms)",
            )
        case ssl.SSLCertVerificationError():
            return LinkError(link, "tls", _certificate(cause.verify_message))
        case ssl.SSLError() if _ALERT_ABOUT_US.search(cause.reason or ""):
            return LinkError(
                link,
                "tls",
                f"the broker refused our certificate ({cause.reason}); check broker.client_cert "
                "and broker.client_key",
            )
    if peer.tls and heard == b"" and isinstance(cause, ssl.SSLError | ConnectionResetError):
        # The alert that asks for a certificate is mostly overtaken by the end of the connection.
        fix = "does it ask for a certificate of ours? Set broker.client_cert and broker.client_key"
        return LinkError(link, "tls", f"the broker ended TLS after the handshake; {fix}")
    if heard is None and peer.tls:
        return _no_tls(link, cause)
    if not _is_amqp(heard or b""):
        return LinkError(link, "no_amqp", _no_amqp(peer, cause, heard or b""))
    return translated(link, cause or amqp.StreamLostError("the broker ended the connection"))


def none_opened(refusals: list[tuple[BrokerAddress, LinkError]]) -> LinkError:
    """Say why no node could be used: the nodes, and what each one answered."""
    nodes: dict[str, list[str]] = {}
    for peer, refusal in refusals:
        nodes.setdefault(refusal.detail, []).append(f"{peer.host}:{peer.port}")
    detail = BETWEEN_NODES.join(f"{', '.join(where)}: {what}" for what, where in nodes.items())
    last = refusals[-1][1]
    return LinkError(last.link, last.reason, detail)


def _refused(link: str, peer: BrokerAddress, code: int, text: str) -> LinkError:
    """Return the error for a broker that closed the connection instead of opening it."""
    said = f"({text})"
    vhost = f"the vhost {peer.vhost!r}"
    if code == _ACCESS_REFUSED:
        what = f"{peer._login} or its password" if peer.user else "our certificate as a login"
        fix = "check both in broker.url" if peer.user else "add its name as a user"
        if peer.user == "guest" and not peer.host.startswith(("localhost", "127.", "::1")):
            fix += "; guest may log in only from the broker's own machine"
        return LinkError(link, "auth", f"RabbitMQ refused {what}; {fix} {said}")
    if "limit" in text and "reached" in text:
        fix = "close others, or raise the limit"
        return LinkError(
            link,
            "not_allowed",
            f"a limit of connections is reached for {peer._login} or {vhost}; {fix} {said}",
        )
    if code == _NOT_ALLOWED and "not found" in text:
        fix = "make it with rabbitmqctl add_vhost, or name another in broker.url"
        return LinkError(link, "not_allowed", f"there is no {vhost[4:]}; {fix} {said}")
    if code == _NOT_ALLOWED:
        fix = "give it with rabbitmqctl set_permissions"
        return LinkError(
            link, "not_allowed", f"{peer._login} has no permission on {vhost}; {fix} {said}"
        )
    return translated(link, amqp.ConnectionClosedByBroker(code, text))


def _certificate(problem: str) -> str:
    fix = "have the broker renew it"
    if "hostname" in problem.lower() or "ip address" in problem.lower():
        fix = "name the broker in broker.url as its certificate does"
    elif "expired" not in problem and "not yet valid" not in problem:
        fix = "name the authority that signed it in broker.ca_file"
    return f"the broker's certificate is not good: {problem.rstrip('.')}; {fix}"


def _no_tls(link: str, cause: BaseException | None) -> LinkError:
    if isinstance(cause, TimeoutError):
        detail = "connected, but no TLS there: it answered nothing in time"
        return LinkError(link, "timeout", f"{detail}; for plain AMQP write amqp:// and 5672")
    said = getattr(cause, "reason", "") or getattr(cause, "strerror", "") or "it ended"
    detail = f"no TLS there ({said}); for plain AMQP write amqp:// and 5672"
    return LinkError(link, "tls", detail)


def _is_amqp(heard: bytes) -> bool:
    """Return whether this begins with `connection.start`: a method frame on channel 0."""
    return heard.startswith(b"\x01\x00\x00")


def _no_amqp(peer: BrokerAddress, cause: BaseException | None, heard: bytes) -> str:
    for_tls = "for TLS write amqps:// and 5671"
    if heard.startswith(_TLS_ALERT):
        return f"not AMQP there, but TLS; {for_tls}"
    if heard.startswith(b"HTTP/"):
        return "not AMQP there, but HTTP; AMQP's port is 5672, and 5671 with TLS"
    if heard.startswith(_AMQP):
        return (
            f"not AMQP 0-9-1 there, but AMQP {heard[5]}.{heard[6]}; RabbitMQ speaks both on 5672"
            if len(heard) > 6
            else "not AMQP 0-9-1 there"
        )
    ended = "nothing in time" if isinstance(cause, TimeoutError) else "nothing"
    what = f"it answered {ended if not heard else 'something else'}"
    return f"not AMQP there ({what}); {for_tls if not peer.tls else 'AMQP over TLS has port 5671'}"
