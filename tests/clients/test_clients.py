"""Facts about Slack's own libraries before both servers: one of each face, in every run."""

from __future__ import annotations

import pytest

from rtmpump.sandbox.rabbitmq.node import RabbitNode
from tests.clients.installed import NotHere, command
from tests.clients.judge import judge
from tests.clients.libraries import LIBRARIES, ONE_A_FACE, SERVERS, Library

CHOSEN = [one for one in LIBRARIES if one.program in ONE_A_FACE]


# Another worker may install all libraries of a kind before this one gets its turn to.
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("library", CHOSEN, ids=lambda one: one.program)
def test_a_library_runs_unchanged(library: Library, server: str, node: RabbitNode) -> None:
    """All that its face knows: `make clients` does so with every library."""
    node.start()
    try:
        outcomes = judge(library, server, node)
    except NotHere as reason:
        pytest.skip(str(reason))
    assert {name: how for name, how in outcomes.items() if how} == {}


def test_where_there_is_no_node_a_library_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests then skip it with these words, and `make clients` does without it."""
    monkeypatch.setenv("PATH", "")
    for library in LIBRARIES:
        if library.is_javascript:
            with pytest.raises(NotHere, match="there is no node here: apt-get install nodejs npm"):
                command(library)
