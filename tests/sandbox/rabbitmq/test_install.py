"""Facts about finding RabbitMQ, and about installing it: with a pretended apt-get alone."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rtmpump.errors import ServiceUnreachable
from rtmpump.sandbox import live_line
from rtmpump.sandbox.live_line import LiveLine
from rtmpump.sandbox.rabbitmq import install

WRAPPER = '#!/bin/sh\necho "Only root or rabbitmq should run ${SCRIPT}"\n'


def program(folder: Path, name: str, text: str) -> Path:
    """Write a script to disk."""
    file = folder / name
    file.write_text(text)
    file.chmod(0o755)
    return file


def run_install(folder: Path, apt_get: str) -> tuple[int, str]:
    """Run the installation with `apt_get` instead of the real one; return exit code and output."""
    program(folder, "apt-get", f'#!/bin/sh\necho "$*"\n{apt_get}\n')
    done = subprocess.run(
        ["/bin/sh", "-c", install._INSTALL, "install", folder / "policy", "some-package"],
        env={"PATH": f"{folder}:{os.environ['PATH']}", "POLICY": str(folder / "policy")},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout


def test_the_server_found_is_no_wrapper() -> None:
    """Any user can run it, and rabbitmqctl is beside it."""
    server = install.find()
    assert os.access(server, os.X_OK)
    assert os.access(server.with_name("rabbitmqctl"), os.X_OK)
    assert "Only root or rabbitmq" not in server.read_text()


def test_nothing_is_installed_when_it_is_there() -> None:
    """If RabbitMQ is installed, find_or_install logs nothing."""
    out = io.StringIO()
    assert install.find_or_install(LiveLine(out)) == install.find()
    assert out.getvalue() == ""


def test_ensure_is_silent_where_nothing_is_to_do() -> None:
    """`python -m …sandbox.rabbitmq.node --ensure` is what the Makefile calls; else it is usage."""
    module = [sys.executable, "-m", "rtmpump.sandbox.rabbitmq.node"]
    done = subprocess.run([*module, "--ensure"], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")
    wrong = subprocess.run([*module, "--nonsense"], capture_output=True, text=True, check=False)
    assert (wrong.returncode, "--ensure" in wrong.stderr) == (2, True)


def test_a_machine_without_it_gets_one_clear_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wrapper alone does not count; where there is no apt-get the error says what to do."""
    program(tmp_path, "rabbitmq-server", WRAPPER)
    monkeypatch.delenv("RABBITMQ_SERVER", raising=False)
    monkeypatch.setattr(install, "_PLACES", ())
    monkeypatch.setattr(install, "_search_path", lambda: str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ServiceUnreachable, match="--broker-url"):
        install.find()
    with pytest.raises(ServiceUnreachable, match="--broker-url"):
        install.find_or_install(LiveLine(io.StringIO()))


def test_a_generic_layout_on_path_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A link on PATH is followed to the folder where rabbitmqctl is."""
    (tmp_path / "sbin").mkdir()
    (tmp_path / "bin").mkdir()
    real = program(tmp_path / "sbin", "rabbitmq-server", "#!/bin/sh\n")
    (tmp_path / "bin" / "rabbitmq-server").symlink_to(real)
    monkeypatch.delenv("RABBITMQ_SERVER", raising=False)
    monkeypatch.setattr(install, "_PLACES", ())
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    assert install.find() == real


def test_no_service_starts_while_installing(tmp_path: Path) -> None:
    """The policy that forbids it (exit code 101) is there for that time, and gone after it."""
    code, said = run_install(tmp_path, '"$POLICY"; echo "policy says $?"')
    assert code == 0
    assert said.count("policy says 101") == 2
    assert "install -y --no-install-recommends some-package" in said
    assert not (tmp_path / "policy").exists()


def test_an_installation_says_what_it_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before it, while apt-get works without a word, and after it."""
    made = (
        f'printf "#!/bin/sh\\n" >{tmp_path}/rabbitmq-server; chmod 755 {tmp_path}/rabbitmq-server'
    )
    program(tmp_path, "apt-get", f'#!/bin/sh\ncase "$*" in *install*) {made};; esac\n')
    monkeypatch.delenv("RABBITMQ_SERVER", raising=False)
    monkeypatch.setattr(install, "_PLACES", ())
    monkeypatch.setattr(install, "_POLICY", str(tmp_path / "policy"))
    monkeypatch.setattr(install, "_search_path", lambda: str(tmp_path))
    monkeypatch.setattr(install, "_way_to_root", list)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(live_line, "_PLAIN_EVERY", 1000.0)
    out = io.StringIO()
    live = LiveLine(out)
    assert install.find_or_install(live) == tmp_path / "rabbitmq-server"
    live.close()
    lines = out.getvalue().splitlines()
    assert lines[0].startswith("RabbitMQ is not installed: installing the package")
    assert lines[2:] == ["apt-get installs rabbitmq-server…", "RabbitMQ is installed"]


def test_a_failed_installation_leaves_no_policy(tmp_path: Path) -> None:
    """Its exit code is apt-get's; a failed update alone is no failure."""
    code, _ = run_install(tmp_path, "exit 7")
    assert code == 7
    assert not (tmp_path / "policy").exists()
    code, _ = run_install(tmp_path, 'case "$*" in *update) exit 7;; esac')
    assert code == 0


def test_a_policy_of_the_machine_stays(tmp_path: Path) -> None:
    """One that is there is neither changed nor removed."""
    policy = program(tmp_path, "policy", "#!/bin/sh\nexit 104\n")
    code, said = run_install(tmp_path, '"$POLICY"; echo "policy says $?"')
    assert (code, said.count("policy says 104")) == (0, 2)
    assert policy.read_text() == "#!/bin/sh\nexit 104\n"


def test_the_server_that_is_named_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """RABBITMQ_SERVER, a link too; of Erlang's programs those that lie beside it."""
    enter = program(tmp_path, "enter", "#!/bin/sh\n")
    for name in ("rabbitmq-server", "rabbitmqctl", "epmd"):
        (tmp_path / name).symlink_to(enter)
    monkeypatch.setenv("RABBITMQ_SERVER", str(tmp_path / "rabbitmq-server"))
    assert install.find() == tmp_path / "rabbitmq-server"
    assert install.find_or_install(LiveLine(io.StringIO())) == tmp_path / "rabbitmq-server"
    assert install.epmd() == str(tmp_path / "epmd")
    monkeypatch.setenv("RABBITMQ_SERVER", "")
    assert install.find() != tmp_path / "rabbitmq-server"


def test_a_wrong_name_is_said_and_nothing_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where there is no program, no rabbitmqctl beside it, or it switches to another user."""
    server = tmp_path / "rabbitmq-server"
    monkeypatch.setenv("RABBITMQ_SERVER", str(server))
    with pytest.raises(ServiceUnreachable, match="/rabbitmq-server is no program; set RABBITMQ_"):
        install.find_or_install(LiveLine(io.StringIO()))
    program(tmp_path, "rabbitmq-server", WRAPPER)
    with pytest.raises(ServiceUnreachable, match="/rabbitmqctl is no program; set RABBITMQ_"):
        install.find()
    program(tmp_path, "rabbitmqctl", WRAPPER)
    with pytest.raises(ServiceUnreachable, match="switches to the user rabbitmq; set RABBITMQ_"):
        install.find()
