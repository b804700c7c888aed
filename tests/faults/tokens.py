"""The tokens of a run, in files that the pump reads, and their rotation."""

from __future__ import annotations

from itertools import count
from pathlib import Path

from rtmpump.sandbox.slack.workspace import Workspace


class Tokens:
    """`file` holds the bot token, `app_file` the app-level one; `all` are those that ever were."""

    def __init__(self, folder: Path, workspace: Workspace) -> None:
        self.file = folder / "token"
        self.app_file = folder / "app-token"
        self.all = [workspace.token, workspace.app_token]
        self._numbers = count(2)
        write(self.file, workspace.token)
        write(self.app_file, workspace.app_token)

    def new(self, kind: str) -> str:
        """A token that nobody has yet: a bot's ("xoxb") or an app's ("xapp")."""
        token = f"{kind}-sandbox-{next(self._numbers)}"
        self.all.append(token)
        return token


def write(file: Path, token: str) -> None:
    """Put a token into a file in one step, as those do who rotate it."""
    new = file.with_suffix(".new")
    new.touch(mode=0o600)
    new.write_text(token)
    new.replace(file)
