"""docs/clients.md: what each library did before each server, and the two settings that it needs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from tests.clients import scenarios
from tests.clients.judge import scenarios_of
from tests.clients.libraries import ENDS, GATEWAY, LIBRARIES, SERVERS, Face, Library
from tests.support.paths import ROOT

PAGE: Final = ROOT / "docs" / "clients.md"

Outcomes = Mapping[str, str]
"""For each scenario how it failed; "" if it passed."""

_HEAD: Final = """\
# Clients

Slack's own client libraries, unchanged, before two servers: the simulated Slack of the tests, and a
[gateway](gateway.md) with RabbitMQ and a pump in Socket Mode behind it.
`make clients` runs all of them, each as a process of its own, and makes this page.

`yes` in a cell means that all of the scenario came true, with nothing set but
[the two settings](#the-two-settings). A number is a remark below the table, and a dash means that
this server or this protocol has no such thing.

| scenario | what must come true |
|---|---|
"""
_WHAT: Final = {
    "connect": "it connects, and the first event after `hello` is there",
    "events": "20 events come in their order, each once",
    "sends": "5 messages are answered: three in a thread, one of those a broadcast",
    "slash": "a slash command is answered inside the acknowledgement",
    "modal": "a form opens by its trigger, and an error is shown beside its input",
    "select": "the options of an external select come from the program",
    "ping": "a ping of RTM is answered",
    "refresh": "Slack asks for a new connection, or the gateway is restarted",
    "cut": "the TCP connection is reset",
    "kill": "the gateway is killed with -9, and started again",
}
_AFTER_WHAT: Final = """\

After the last three the program is back by itself. In Socket Mode all that was said before, in the
gap and after has been handled; over RTM, what was said from its return on.
"""
_SETTINGS: Final = """
## The two settings

A program needs the address of the API and the token. `SLACK_API_URL` is that of the gateway,
`http://127.0.0.1:9465/api/`. `SLACK_BOT_TOKEN` is `xoxb-` and the token that the program has in the
gateway's configuration; `SLACK_APP_TOKEN` is `xapp-` and the same token.
"""


def written(outcomes: Mapping[tuple[str, str], Outcomes]) -> str:
    """Return the page; `outcomes` has those of each program and server."""
    parts = [_HEAD, *(f"| {name} | {what} |\n" for name, what in _WHAT.items()), _AFTER_WHAT]
    faces: tuple[Face, ...] = ("Socket Mode", "RTM")
    parts += [_table(face, outcomes) for face in faces]
    parts += [_SETTINGS, *(_settings(one) for one in LIBRARIES)]
    return "".join(parts)


def _table(face: Face, outcomes: Mapping[tuple[str, str], Outcomes]) -> str:
    columns = list(scenarios.RTM if face == "RTM" else scenarios.SOCKET_MODE)
    libraries = [one for one in LIBRARIES if one.face == face]
    remarks = list(dict.fromkeys(text for one in libraries for text in one.remarks.values()))
    lines = [
        f"\n## {face}\n",
        f"| library | version | server | {' | '.join(columns)} |",
        f"|---|---|---|{'---|' * len(columns)}",
    ]
    for library in libraries:
        for server in SERVERS:
            cells = [
                _cell(library, server, name, outcomes[library.program, server], remarks)
                for name in columns
            ]
            name = f"`{library.name}` | {library.version} | {server}"
            lines.append(f"| {name} | {' | '.join(cells)} |")
    if remarks:
        lines += ["", *(f"{number}. {text}" for number, text in enumerate(remarks, 1))]
    return "\n".join(lines) + "\n"


def _cell(
    library: Library, server: str, scenario: str, outcomes: Outcomes, remarks: list[str]
) -> str:
    if scenario not in scenarios_of(library, server):
        return "-"
    if outcomes[scenario]:
        return "**no**"
    remark = library.remarks.get(scenario, "")
    is_told = remark and (server == GATEWAY or remark != ENDS)
    return f"yes ({remarks.index(remark) + 1})" if is_told else "yes"


def _settings(library: Library) -> str:
    language = "js" if library.is_javascript else "python"
    return f"\n`{library.name}`:\n\n```{language}\n{snippet(library)}\n```\n"


def snippet(library: Library) -> str:
    """Return the lines of a program that make the client, and the imports that they need."""
    text = library.path.read_text()
    lines = text.partition("The two settings:")[2].partition("\n")[2].partition("\n\n")[0]
    made = "\n".join(_dedented(lines))
    imports = [
        line
        for line in text.splitlines()
        if re.match(r"from |import ", line)
        and "bot" not in line.split()[1:2]
        and _is_used(line, made)
    ]
    return "\n".join([*imports, "", made])


def _dedented(lines: str) -> list[str]:
    margin = len(lines) - len(lines.lstrip(" "))
    return [line[margin:] for line in lines.splitlines()]


def _is_used(line: str, made: str) -> bool:
    names = re.findall(r"\w+", re.sub(r'from "[^"]+"|from [\w.]+ import|import', "", line))
    return any(re.search(rf"\b{name}\b", made) for name in names)
