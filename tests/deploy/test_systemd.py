"""Facts about the units, asked of systemd-analyze; nothing here starts or talks to systemd."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from rtmpump.daemon.supervisor import STOP_DEADLINE
from rtmpump.errors import EXIT_CONFIG, EXIT_USAGE
from tests.support.paths import ROOT

FOLDER = ROOT / "systemd"
GATEWAY = "rtmpump-gateway.service"
UNITS = ("rtmpump.service", "rtmpump@.service", GATEWAY)
# The daemons: what has a spool and Slack's tokens.
PUMPS = UNITS[:2]
PROGRAM = "/opt/rtmpump/bin/rtmpump"

each_unit = pytest.mark.parametrize("unit", UNITS)
needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="there is no systemd-analyze"
)


def analyze(*args: str | Path) -> subprocess.CompletedProcess[str]:
    """What systemd-analyze says, and with which exit code."""
    return subprocess.run(
        ["systemd-analyze", "--no-pager", *map(str, args)],
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )


def values(unit: str, key: str) -> list[str]:
    """All values of a key, in order."""
    text = (FOLDER / unit).read_text()
    return re.findall(rf"^{key}=(.*)$", text, re.MULTILINE)


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """The units as files that name a program that is there; ours may not be installed here."""
    for unit in UNITS:
        text = (FOLDER / unit).read_text()
        command = "gateway" if unit == GATEWAY else "run"
        assert f"ExecStart={PROGRAM} {command} -c /etc/rtmpump/" in text
        # An instance: systemd-analyze does not take a template alone.
        name = unit.replace("@", "@acme")
        (tmp_path / name).write_text(text.replace(PROGRAM, shutil.which("true") or ""))
    return tmp_path


@needs_systemd
@pytest.mark.parametrize("unit", ["rtmpump.service", "rtmpump@acme.service", GATEWAY])
def test_systemd_has_nothing_to_say_about_the_units(installed: Path, unit: str) -> None:
    """`systemd-analyze verify` is silent: no unknown key, no bad value."""
    done = analyze("verify", "--man=no", installed / unit)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_gateway_has_its_own_user_and_nothing_of_slack() -> None:
    """It keeps no state; where it may share the daemon's group, what that reads is hidden."""
    text = (FOLDER / GATEWAY).read_text()
    assert values(GATEWAY, "StateDirectory") == []
    assert values(GATEWAY, "User") == ["rtmpump-gateway"]
    hidden = values(GATEWAY, "InaccessiblePaths")[0].split()
    for pump in ("slack-token", "slack-app-token"):
        assert values("rtmpump.service", "LoadCredential").count(f"{pump}:/etc/rtmpump/{pump}") == 1
        assert f"-/etc/rtmpump/{pump}" in hidden
        assert f"Credential={pump}" not in text
    assert "-/var/lib/rtmpump" in hidden


@each_unit
def test_a_missing_secret_keeps_nothing_down(unit: str) -> None:
    """Each credential has a blank default, so that the program itself says what it misses."""
    names = [value.partition(":")[0] for value in values(unit, "LoadCredential")]
    assert names
    assert values(unit, "SetCredential") == [rf"{name}:\n" for name in names]


def test_the_gateway_is_as_closed_as_the_daemon() -> None:
    """No setting that shuts something is left out of one of the units."""
    lines = (
        {
            line
            for line in (FOLDER / unit).read_text().partition("LimitCORE=0")[2].splitlines()
            if "=" in line and not line.startswith("#")
        }
        for unit in ("rtmpump.service", GATEWAY)
    )
    assert len(set(map(frozenset, lines))) == 1


@needs_systemd
def test_verify_would_see_an_unknown_key(installed: Path) -> None:
    """The silence above means something: a key that systemd doesn't know is told."""
    unit = installed / "rtmpump.service"
    unit.write_text(unit.read_text().replace("WatchdogSec=", "WatchdogSecs="))
    assert "WatchdogSecs" in analyze("verify", "--man=no", unit).stderr


@needs_systemd
@each_unit
def test_the_exposure_is_low(unit: str) -> None:
    """`systemd-analyze security` says 1.5 or better, of 10."""
    done = analyze("security", "--offline=true", "--threshold=15", FOLDER / unit)
    assert done.returncode == 0, done.stdout


@each_unit
def test_how_it_starts_and_stops(unit: str) -> None:
    """It tells when it is ready, is watched, and has longer to stop than it allows itself."""
    assert values(unit, "Type") == ["notify"]
    assert 0 < int(values(unit, "WatchdogSec")[0]) <= 120
    assert int(values(unit, "TimeoutStopSec")[0]) >= STOP_DEADLINE + 5
    assert values(unit, "WantedBy") == ["multi-user.target"]


@each_unit
def test_when_it_starts_again(unit: str) -> None:
    """After each failure, for ever and not at once, but never on a configuration that is wrong."""
    assert values(unit, "Restart") == ["on-failure"]
    assert int(values(unit, "RestartSec")[0]) >= 1
    assert values(unit, "StartLimitIntervalSec") == ["0"]
    assert values(unit, "RestartPreventExitStatus") == [f"{EXIT_USAGE} {EXIT_CONFIG} 243"]


@each_unit
def test_it_can_speak_to_its_manager_and_to_the_network(unit: str) -> None:
    """The notify socket is AF_UNIX; a core dump, which would hold the token, is never written."""
    families = values(unit, "RestrictAddressFamilies")[0].split()
    assert set(families) == {"AF_UNIX", "AF_INET", "AF_INET6"}
    assert values(unit, "DynamicUser") == ["yes"]
    assert values(unit, "LimitCORE") == ["0"]


def test_the_template_differs_only_in_its_places() -> None:
    """Instances share no file: config, token and state have the instance's name."""
    plain, template = (
        [line for line in (FOLDER / unit).read_text().splitlines() if not line.startswith("#")]
        for unit in PUMPS
    )
    pairs = [(one, other) for one, other in zip(plain, template, strict=True) if one != other]
    assert [other for _, other in pairs] == [
        "Description=rtmpump: Slack to RabbitMQ and back (%i)",
        f"ExecStart={PROGRAM} run -c /etc/rtmpump/%i.toml",
        "LoadCredential=slack-token:/etc/rtmpump/%i.slack-token",
        "LoadCredential=slack-app-token:/etc/rtmpump/%i.slack-app-token",
        "LoadCredential=broker-url:/etc/rtmpump/%i.broker-url",
        "User=rtmpump-%i",
        "StateDirectory=rtmpump-%i",
        "WorkingDirectory=%S/rtmpump-%i",
    ]


@each_unit
def test_a_reload_is_the_signal_that_reads_secrets_again(unit: str) -> None:
    """SIGHUP; the process stays."""
    assert values(unit, "ExecReload") == ["/bin/kill -HUP $MAINPID"]
