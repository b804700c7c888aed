"""What the tests of programs in other languages share, and those of the packages."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.packages import Packages, skip_where_none_can_be_built
from tests.support.paths import ROOT
from tests.support.running import Running, Start

EXAMPLES = ROOT / "deploy" / "examples"
UNREACHABLE = ("ENOTFOUND", "EAI_AGAIN", "ECONNREFUSED", "ECONNRESET", "ETIMEDOUT", "ENETUNREACH")


@pytest.fixture(scope="module")
def node_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Node.js examples, with their package installed."""
    for tool in ("node", "npm"):
        if shutil.which(tool) is None:
            pytest.skip(f"there is no {tool} here: apt-get install nodejs npm")
    folder = tmp_path_factory.mktemp("examples") / "node"
    shutil.copytree(EXAMPLES / "node", folder, ignore=shutil.ignore_patterns("node_modules"))
    command = ["npm", "install", "--no-audit", "--no-fund", "--prefer-offline"]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=500)
    except subprocess.TimeoutExpired:
        pytest.skip("the npm registry is too slow from here")
    if done.returncode and any(sign in done.stderr for sign in UNREACHABLE):
        pytest.skip("the npm registry is not reachable from here")
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="session")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Packages:
    """All packages, built once for all workers of pytest."""
    skip_where_none_can_be_built()
    base = tmp_path_factory.getbasetemp()
    return Packages(base.parent if "PYTEST_XDIST_WORKER" in os.environ else base)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts a program with AMQP_URL; it is ended with the test."""
    with ExitStack() as stack:

        def begin(command: list[str], broker_url: str) -> Running:
            folder = Path(tempfile.mkdtemp(dir=tmp_path))
            running = Running(command, broker_url, folder)
            stack.callback(running.end)
            return running

        yield begin
