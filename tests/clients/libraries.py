"""The libraries that judge: which program stands for each, and how it is started.

The versions stand in `requirements.txt`, `requirements-slackclient.txt` and `package.json`, and
nowhere else.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, TypeAlias

HERE: Final = Path(__file__).parent
PROGRAMS: Final = HERE / "programs"
PYTHON: Final = HERE / "requirements.txt"
SLACKCLIENT: Final = HERE / "requirements-slackclient.txt"
NODE: Final = HERE / "package.json"

Face: TypeAlias = Literal["Socket Mode", "RTM"]
SANDBOX: Final = "simulated Slack"
GATEWAY: Final = "gateway"
SERVERS: Final = (SANDBOX, GATEWAY)


SIDE_BY_SIDE: Final = (
    "The library runs several listeners at once, so the order is that in which it hands out the"
    " frames (`on_message_listeners` and the like). Each event is handled once."
)
SLOW: Final = (
    "The library may need a minute to come back: it looks after its connection every few seconds,"
    " and gives it up after five looks that failed."
)
ENDS: Final = (
    "The library ends with an error when it tries to come back and nobody listens at the address."
    " A service manager has to start it again, as the judge did here."
)


@dataclass(frozen=True)
class Library:
    """One client of a library.

    `package` is what the registry calls it, `client` which of its clients this is ("" for the only
    one). `remarks` says, for a scenario, what the library does in a way of its own.
    """

    face: Face
    package: str
    program: str
    pins: Path
    client: str = ""
    remarks: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """What people call it."""
        return f"{self.package} ({self.client})" if self.client else self.package

    @property
    def version(self) -> str:
        """The version that its file pins."""
        return pinned(self.pins)[self.package]

    @property
    def path(self) -> Path:
        """Where its program is."""
        return PROGRAMS / self.program

    @property
    def may_end(self) -> bool:
        """Whether it ends where its server is away, and somebody has to start it again."""
        return ENDS in self.remarks.values()

    @property
    def is_javascript(self) -> bool:
        """Whether it needs Node.js."""
        return self.pins == NODE


LIBRARIES: Final = (
    Library(
        "Socket Mode", "slack_bolt", "bolt.py", PYTHON, "", {"events": SIDE_BY_SIDE, "cut": SLOW}
    ),
    Library(
        "Socket Mode",
        "slack_sdk",
        "socket_builtin.py",
        PYTHON,
        "socket_mode.builtin",
        {"events": SIDE_BY_SIDE, "cut": SLOW},
    ),
    Library(
        "Socket Mode",
        "slack_sdk",
        "socket_websockets.py",
        PYTHON,
        "socket_mode.websockets",
        {"events": SIDE_BY_SIDE},
    ),
    Library("Socket Mode", "@slack/bolt", "bolt.mjs", NODE),
    Library("Socket Mode", "@slack/socket-mode", "socket_mode.mjs", NODE),
    Library(
        "RTM", "slack_sdk", "rtm_v2.py", PYTHON, "rtm_v2", {"events": SIDE_BY_SIDE, "cut": SLOW}
    ),
    Library(
        "RTM", "slackclient", "slackclient2.py", SLACKCLIENT, "", {"refresh": ENDS, "kill": ENDS}
    ),
    Library("RTM", "@slack/rtm-api", "rtm_api.mjs", NODE),
)
ONE_A_FACE: Final = ("bolt.py", "rtm_v2.py", "bolt.mjs")
"""The programs that every run of the tests starts; `make clients` starts all."""


def pinned(pins: Path) -> dict[str, str]:
    """Return the packages of a file of pins, each with its version."""
    text = pins.read_text()
    if pins.suffix == ".json":
        found: dict[str, str] = json.loads(text)["dependencies"]
        return found
    return dict(re.findall(r"^([\w-]+)==(\S+)$", text, re.MULTILINE))
