"""The programs of the gateway: one table each, with the same care as the sections."""

from __future__ import annotations

from pathlib import Path

import pytest

from rtmpump import config
from rtmpump.config import Config
from rtmpump.errors import ConfigError
from tests.support.config import error_text, load, refused, table

ONE = "a" * 24
TWO = "b" * 24


def for_gateway(folder: Path, text: str) -> Config:
    """Load a configuration as the gateway does."""
    path = folder / "config.toml"
    path.write_text(text)
    return config.load(path, {}, need_token=False, need_clients=True)


def test_a_client_has_the_defaults_of_the_contract(tmp_path: Path) -> None:
    """A name and a token are enough; the prefix that Slack's libraries want is no part of it."""
    text = f'[gateway.clients.help-desk]\ntoken = "xoxb-{ONE}"\n'
    (client,) = for_gateway(tmp_path, text).gateway.clients
    assert (client.name, client.token.reveal()) == ("help-desk", ONE)
    assert (client.events, client.max_messages, client.send) == (("#",), 1_000_000, True)
    assert (client.api_methods, client.queue) == (frozenset(), "")
    assert client.queue_name == "rtm.gateway.help-desk"


def test_each_key_is_read(tmp_path: Path) -> None:
    """From a file, and without the token's file too where it is the daemon that reads."""
    (tmp_path / "token").write_text(f"xapp-{ONE}\n")
    text = (
        f'[gateway.clients.a]\ntoken_file = "{tmp_path / "token"}"\nevents = ["message.#", "a"]\n'
        'queue = "q"\nmax_messages = 5\napi_methods = ["views.open"]\nsend = false\n'
    )
    (client,) = for_gateway(tmp_path, text).gateway.clients
    assert client.token.reveal() == ONE
    assert (client.events, client.queue_name) == (("message.#", "a"), "q")
    assert (client.max_messages, client.send) == (5, False)
    assert client.api_methods == {"views.open"}
    (tmp_path / "token").unlink()
    assert len(load(tmp_path, text).gateway.clients) == 1


_WRONG = table(r"""
[gateway.clients.a]\ntokn = "x" | 2: gateway.clients.a.tokn: unknown key; did you mean gateway.clients.NAME.token?
[gateway.clients.a]\n[gateway.clients.b]\n\nzzz = 1 | 4: gateway.clients.b.zzz: unknown key; [gateway.clients.NAME] has token, token_file, events, queue, max_messages, api_methods, send
[gateway.clients.a]\nsend = 1 | 2: gateway.clients.a.send: must be true or false, found 1
[gateway.clients.a]\nevents = ["a b"] | 2: gateway.clients.a.events: must be a list of patterns such as "message.#", found 'a b'
[gateway.clients.a]\ntoken = "xoxb-aaaaaaaaaaaaaaaaaaaaaaa" | 2: gateway.clients.a.token: must have at least 24 characters behind xoxb- or xapp-; make one with: openssl rand -hex 24
[gateway.clients]\na = 5 | 2: gateway.clients.a: must be a table, found 5; write [gateway.clients.a] above its keys
[gateway]\nclients = 5 | 2: gateway.clients: must be a table, found 5
[gateway.clients."a b"] | 1: gateway.clients.a b: can't be a name; a name has 1 to 64 of the characters a-z, A-Z, 0-9, _ and -
[gateway]\nlisten = "0.0.0.0:9465" | 2: gateway.listen other than loopback needs gateway.tls_cert and gateway.tls_key
[gateway]\nlisten = "" | 2: gateway.listen: must not be empty
[gateway]\ntls_cert = "x" | 2: gateway.tls_cert and gateway.tls_key need each other
[gateway]\npublic_url = "ftp://x" | 2: gateway.public_url: must be a URL such as https://gateway.example, or empty
[gateway.clients.a]\nqueue = "rtm.gateway" | 2: gateway.clients.a.queue can't be rtm.gateway, which is ours
[gateway.clients.a]\nqueue = "rtm.outbound" | 2: gateway.clients.a.queue and outbound.queue must differ
[gateway.clients.a]\nqueue = "q"\n[gateway.clients.b]\nqueue = "q" | 4: gateway.clients.b.queue and gateway.clients.a.queue must differ
""")  # noqa: E501


@pytest.mark.parametrize(("text", "wanted"), _WRONG)
def test_wrong_clients(tmp_path: Path, text: str, wanted: str) -> None:
    """The error has the key, the line and the nearest right name, as in any section."""
    assert error_text(tmp_path, text.replace(r"\n", "\n")) == f"config.toml:{wanted}"


def test_two_names_never_have_one_token(tmp_path: Path) -> None:
    """Whatever stands before it."""
    text = f'[gateway.clients.a]\ntoken = "{ONE}"\n[gateway.clients.b]\ntoken = "xapp-{ONE}"\n'
    keys = "gateway.clients.b.token and gateway.clients.a.token"
    wanted = f"{keys} must differ: make one with: openssl rand -hex 24"
    assert error_text(tmp_path, text) == f"config.toml:4: {wanted}"
    assert ONE not in str(refused(tmp_path, text))


def test_all_mistakes_at_once(tmp_path: Path) -> None:
    """A client without a token, and one with two, where the gateway needs them."""
    (tmp_path / "t").write_text(TWO)
    text = (
        "[gateway.clients.a]\n[gateway.clients.b]\n"
        f'token = "{ONE}"\ntoken_file = "{tmp_path / "t"}"\n'
    )
    with pytest.raises(ConfigError) as caught:
        for_gateway(tmp_path, text)
    found = [(one.key, one.problem) for one in (caught.value, *caught.value.more)]
    assert found == [
        ("gateway.clients.a", "has no token"),
        ("gateway.clients.b.token_file", "stands beside token"),
    ]


def test_what_is_shown_has_no_token(tmp_path: Path) -> None:
    """`rtmpump check` shows the keys of the clients, and says where a token stands for all."""
    path = tmp_path / "config.toml"
    text = f'[gateway.clients.a]\ntoken = "{ONE}"\nevents = ["message"]\n'
    loaded = load(tmp_path, text)
    shown = config.origins(loaded, path, {})
    assert shown["gateway.clients.a.token"].value == "***"
    assert shown["gateway.clients.a.events"] == (["message"], f"{path}:3")
    path.chmod(0o644)
    (exposed,) = config.exposed(loaded, path, {})
    assert exposed.key == "gateway.clients.a.token"
