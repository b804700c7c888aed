"""Files with secrets whose mode lets all users in are found, each with its key."""

from __future__ import annotations

from pathlib import Path

import pytest

from rtmpump import config
from tests.support.config import EXAMPLE, load


def exposed(folder: Path, text: str, env: dict[str, str] | None = None) -> list[tuple[str, ...]]:
    """Return what is reported of these settings: key, file name and mode."""
    loaded = load(folder, text, env)
    found = config.exposed(loaded, folder / "config.toml", env or {})
    return [(one.key, Path(one.file).name, one.mode) for one in found]


@pytest.mark.parametrize(
    ("mode", "reported_mode"),
    [(0o600, ""), (0o640, ""), (0o440, ""), (0o644, "0644"), (0o604, "0604"), (0o602, "0602")],
)
def test_files_of_secrets_that_all_may_read(tmp_path: Path, mode: int, reported_mode: str) -> None:
    """Each is reported with its key and mode; the group may read, as it must in Kubernetes."""
    for name, content in (("token", "xoxb-1"), ("url", "amqps://u:p@h"), ("key", "-")):
        (tmp_path / name).write_text(content)
        (tmp_path / name).chmod(mode)
    text = (
        f"[slack]\ntoken_file = '{tmp_path}/token'\n[broker]\nurl_file = '{tmp_path}/url'\n"
        f"client_cert = '{tmp_path}/key'\n"
    )
    keys = {"slack.token_file": "token", "broker.url_file": "url", "broker.client_key": "key"}
    wanted = [(key, name, reported_mode) for key, name in keys.items()] if reported_mode else []
    assert exposed(tmp_path, text) == wanted
    assert exposed(tmp_path, text, {"CREDENTIALS_DIRECTORY": str(tmp_path)}) == []


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("[slack]\ntoken = 'xoxb-1'", "slack.token"),
        ("[slack]\nproxy = 'http://u:p@proxy:1'", "slack.proxy"),
        ("[broker]\nurl = 'amqp://u:p@h'", "broker.url"),
        ("[broker]\nurls = ['amqp://h', 'amqp://u:p@h']", "broker.urls"),
        ("[broker]\nurl = 'amqp://h'", ""),
        ("", ""),
    ],
)
def test_a_configuration_with_secrets_that_all_may_read(
    tmp_path: Path, text: str, key: str
) -> None:
    """It is reported if it holds a secret; the example with its guest holds none."""
    (tmp_path / "config.toml").touch(0o644)
    assert exposed(tmp_path, text) == ([(key, "config.toml", "0644")] if key else [])
    assert exposed(tmp_path, EXAMPLE.read_text()) == []
    (tmp_path / "config.toml").chmod(0o600)
    assert exposed(tmp_path, text) == []
