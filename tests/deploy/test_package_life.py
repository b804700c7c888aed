"""Facts about the deb in a Debian of its own: installed, upgraded, removed, purged."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.debian_root import DebianRoot
from tests.support.packages import Packages

UNITS = "rtmpump.service rtmpump@*.service rtmpump-gateway.service"
RELOADED = "--system daemon-reload"
# What a person and the daemons leave behind: changed configuration, secrets, a member of the group,
# units enabled, spools.
USE = """
usermod --append --groups rtmpump daemon
cd /etc/rtmpump && echo "# mine" >>config.toml
for secret in slack-token acme.slack-token; do
  echo xoxb-1 >$secret && chown root:rtmpump $secret && chmod 640 $secret
done
wants=/etc/systemd/system/multi-user.target.wants && mkdir -p $wants
ln -s /usr/lib/systemd/system/rtmpump.service $wants
ln -s /usr/lib/systemd/system/rtmpump-gateway.service $wants
mkdir gateway && echo made-up-token >gateway/bot && chown root:rtmpump gateway/bot
ln -s /usr/lib/systemd/system/rtmpump@.service $wants/rtmpump@acme.service
mkdir -p /var/lib/private
for state in rtmpump rtmpump-acme; do
  mkdir /var/lib/private/$state && ln -s private/$state /var/lib/$state
  echo spool >/var/lib/$state/spool.db
done
"""
# It needs no RabbitMQ to listen; it ends well when it is told to.
GATEWAY = """
cd /tmp && touch log
rtmpump gateway -c gateway.toml >log 2>&1 &
until grep -q gateway.listening log; do kill -0 $!; sleep 0.2; done
kill $! && wait $!
rm gateway.toml log
"""
LINKS = {
    f"etc/systemd/system/multi-user.target.wants/rtmpump{which}.service"
    for which in ("", "@acme", "-gateway")
}
STATES = {f"var/lib/private/rtmpump{of}/spool.db" for of in ("", "-acme")}


@pytest.fixture
def root(tmp_path: Path) -> Iterator[DebianRoot]:
    """A Debian; it takes much of the disk, so it goes with the test."""
    made = DebianRoot(tmp_path / "root")
    yield made
    shutil.rmtree(made.folder, ignore_errors=True)


@pytest.mark.timeout(1800)
def test_the_life_of_the_package(root: DebianRoot, packages: Packages, tmp_path: Path) -> None:
    """Installed, used, upgraded, removed, installed again, purged: as Debian's users expect."""
    root.make()
    before = root.paths()
    shutil.copy(packages.deb, root.folder / "one.deb")
    shutil.copy(packages.newer(tmp_path), root.folder / "newer.deb")
    installed(root)
    works(root)
    root.run(USE)
    upgraded(root)
    removed(root)
    purged(root)
    assert root.paths() == before | {"one.deb", "newer.deb"} | {"var/lib/private"}


def installed(root: DebianRoot) -> None:
    """The user, the rights, the bytecode; nothing is enabled or started: there is no token yet."""
    root.run("dpkg -i /one.deb")
    assert root.asked_of_systemctl() == [RELOADED]
    assert [path for path in root.paths() if path in LINKS] == []
    passwd = root.run("getent passwd rtmpump").strip().split(":")
    assert passwd[5:] == ["/nonexistent", "/usr/sbin/nologin"]
    mode = "stat -c '%U:%G %a' /etc/rtmpump /etc/rtmpump/config.toml"
    assert root.run(mode).splitlines() == ["root:rtmpump 755", "root:rtmpump 640"]
    assert any(path.endswith(".pyc") for path in root.paths() if "lib/rtmpump/rtmpump" in path)
    assert root.run("dpkg --verify rtmpump") == ""


def works(root: DebianRoot) -> None:
    """It starts, finds its configuration, is completed, and imports nothing that is not its own."""
    root.run("mkdir /tmp/evil && echo 'raise SystemExit(99)' | tee /tmp/evil/{click,json,rich}.py")
    asked = root.run("cd /tmp/evil && rtmpump --version", PYTHONPATH="/tmp/evil")
    assert asked.startswith("rtmpump ")
    checked = root.run("cd /tmp && ! rtmpump check 2>&1")
    assert checked.startswith("rtmpump: /etc/rtmpump/config.toml:")
    needed = root.run("cd /tmp && ! rtmpump gateway 2>&1")
    assert needed.startswith("rtmpump: /etc/rtmpump/config.toml: gateway: no program is configured")
    client = "[gateway.clients.bot]\ntoken = '" + 24 * "a" + "'\n"
    (root.folder / "tmp/gateway.toml").write_text(client)
    root.run(GATEWAY)
    completed = root.run(
        "source /usr/share/bash-completion/completions/rtmpump; complete -p rtmpump; "
        "COMP_WORDS=(rtmpump dead dr) COMP_CWORD=2; _rtmpump_completion rtmpump; "
        'echo "${COMPREPLY[@]}"'
    )
    assert completed.splitlines()[-1] == "drop"
    root.run("rm -r /tmp/evil")


def upgraded(root: DebianRoot) -> None:
    """What runs is restarted, if the machine allows it; what was changed in /etc stays so."""
    config = root.folder / "etc/rtmpump/config.toml"
    mine = config.read_text()
    root.asked_of_systemctl()
    root.run("dpkg --force-confold -i /newer.deb")
    assert root.asked_of_systemctl() == [RELOADED, f"try-restart {UNITS}"]
    assert config.read_text() == mine
    assert root.run("stat -c '%U:%G %a' /etc/rtmpump/config.toml") == "root:rtmpump 640\n"
    policy = root.folder / "usr/sbin/policy-rc.d"
    policy.write_text("#!/bin/sh\nexit 101\n")
    policy.chmod(0o755)
    root.run("/var/lib/dpkg/info/rtmpump.postinst configure 0.0.1")
    assert root.asked_of_systemctl() == [RELOADED]
    policy.unlink()


def removed(root: DebianRoot) -> None:
    """It is stopped first. Configuration, secrets and spool stay for the next install."""
    root.run("dpkg -r rtmpump")
    assert root.asked_of_systemctl() == [f"stop {UNITS}", RELOADED]
    left = root.paths()
    secrets = {f"etc/rtmpump/{secret}" for secret in ("slack-token", "gateway/bot")}
    assert {"etc/rtmpump/config.toml", *secrets, *STATES} <= left
    assert [path for path in left if path.startswith(("usr/lib/rtmpump", "usr/bin/rtmpump"))] == []
    root.run("dpkg --force-confold -i /newer.deb")
    assert left >= LINKS
    assert "# mine" in (root.folder / "etc/rtmpump/config.toml").read_text()


def purged(root: DebianRoot) -> None:
    """Nothing of it is left: no secret, no spool, no user, no link that leads nowhere."""
    dangling = root.dangling()
    root.run("dpkg -P rtmpump")
    assert [path for path in root.paths() if "rtmpump" in path] == []
    assert root.dangling() <= dangling
    root.run("! getent passwd rtmpump && ! getent group rtmpump")
