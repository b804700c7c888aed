"""The nodes of the configuration, as pika's parameters: login, heartbeat, TLS."""

from __future__ import annotations

import ssl

import pika

from rtmpump.config import Broker, Secret
from rtmpump.errors import ConfigError
from rtmpump.links.scarcity import scarce
from rtmpump.links.tls import client_context


def parameters(url: Secret, broker: Broker, name: str) -> pika.URLParameters:
    """Make pika's parameters for one node.

    Raises:
        ConfigError: something that only pika or TLS can check is wrong.
    """
    node = _plain_parameters(url)
    node.heartbeat = broker.heartbeat
    node.blocked_connection_timeout = None
    node.client_properties = {"connection_name": f"rtmpump {name}", "product": "rtmpump"}
    if node.ssl_options is not None:
        node.ssl_options = pika.SSLOptions(_tls(broker, name), node.host)
    if broker.auth == "external":
        node.credentials = pika.credentials.ExternalCredentials()
    return node


def _plain_parameters(url: Secret) -> pika.URLParameters:
    try:
        return pika.URLParameters(url.reveal())
    except Exception:
        # pika's own text may quote the URL, and with it the password.
        raise ConfigError(
            "is no AMQP URL", key="broker.url", fix="write amqp://user:password@host:5672/vhost"
        ) from None


def _tls(broker: Broker, link: str) -> ssl.SSLContext:
    try:
        with scarce(link):
            context = client_context(broker.ca_file)
            if broker.client_cert:
                context.load_cert_chain(broker.client_cert, broker.client_key or None)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            f"can't be loaded: {error}",
            key="broker.ca_file, client_cert or client_key",
            fix="give PEM files that belong together",
        ) from error
    return context
