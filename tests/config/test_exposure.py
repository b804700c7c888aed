"""Files with secrets whose mode lets all users in are found, each with its key."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
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


@contextmanager
def nobody() -> Iterator[None]:
    """Be a user that owns no file and is in no group, as the user of a service is."""
    groups = os.getgroups()
    os.setgroups([])
    os.setegid(61184)
    os.seteuid(61184)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(groups)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """Give a folder that every user may look into; the folders of pytest are its own user's."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def fix(folder: Path, text: str, env: dict[str, str] | None = None) -> str:
    """Return what is advised for these settings."""
    (folder / "config.toml").touch(0o644)
    loaded = load(folder, text, env)
    (one,) = config.exposed(loaded, folder / "config.toml", env or {})
    return one.fix


UNIT = {"INVOCATION_ID": "0"}


def test_the_owner_closes_the_file(tmp_path: Path) -> None:
    """He can still read it then; root is told that the daemon's user must be able to."""
    told = f"chmod o= {tmp_path}/config.toml"
    if os.geteuid() == 0:
        told += ", if the user that runs rtmpump is its owner or in its group"
    assert fix(tmp_path, "[slack]\ntoken = 'xoxb-1'") == told


@pytest.mark.parametrize(
    ("text", "env", "wanted"),
    [
        ("[slack]\ntoken = 'xoxb-1'", UNIT, "move it to FOLDER/slack-token (mode 0600"),
        ("[broker]\nurl = 'amqp://u:p@h'", UNIT, "move it to FOLDER/broker-url (mode 0600"),
        ("[slack]\ntoken = 'xoxb-1'", {}, "give it to the group of the user that runs rtmpump"),
        (
            "[slack]\ntoken_file = 'FOLDER/secret'",
            UNIT,
            "take slack.token_file out, and give the unit LoadCredential=slack-token:FOLDER/secret",
        ),
    ],
)
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_the_advice_never_takes_the_daemon_down(
    open_folder: Path, text: str, env: dict[str, str], wanted: str
) -> None:
    """A daemon that reads a file as one of "all users" would not start after a bare chmod."""
    (open_folder / "secret").write_text("xoxb-1")
    (open_folder / "config.toml").write_text("")
    (open_folder / "secret").chmod(0o644)
    place = str(open_folder)
    loaded = load(open_folder, text.replace("FOLDER", place), env)
    with nobody():
        (one,) = config.exposed(loaded, open_folder / "config.toml", env)
    assert one.fix.startswith(wanted.replace("FOLDER", place))


def test_a_secret_that_a_container_engine_mounted_is_not_ours_to_close(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Compose mounts it with a mode that all may read."""
    monkeypatch.setattr("rtmpump.config.exposure._MOUNTED", tmp_path / "secrets")
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "token").write_text("xoxb-1")
    assert exposed(tmp_path, f"[slack]\ntoken_file = '{tmp_path}/secrets/token'") == []
