"""Facts about alerts, runbook and dashboard: they hold together, and name only what we expose."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from rtmpump.core.standstill import COMMANDS, PUBLISHING, READING
from rtmpump.gateway.counts import GatewayCounts
from rtmpump.http.exposition import exposition
from rtmpump.metrics import LINKS, STANDBY_LINKS, Metrics
from tests.support.paths import ROOT

DEPLOY = ROOT / "deploy"
PROMETHEUS = DEPLOY / "prometheus"
RULES = PROMETHEUS / "alerts.yml"
DASHBOARD = DEPLOY / "grafana" / "dashboards" / "rtmpump.json"
PARTS_OF_HISTOGRAMS = ("_bucket", "_sum", "_count")

needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="there is no promtool (Debian: prometheus)"
)


class FullSpool:
    """A measure of a spool that holds something."""

    events = 3
    bytes = 4096
    events_max_bytes = 1 << 20
    oldest_received_ms = 1_000


def exposed() -> dict[str, set[str]]:
    """Each sample of pump and gateway once everything has happened, with its labels' names."""
    metrics = Metrics()
    metrics.spool = FullSpool
    metrics.commands_waiting = lambda: 5
    for count in (metrics.confirmed, metrics.returned, metrics.nacked):
        count()
    metrics.received("message")
    metrics.dropped("spool_full")
    metrics.confirm_latency(0.1)
    metrics.command("message", "ok")
    metrics.command_latency(0.1)
    metrics.result_undeliverable()
    metrics.answer("answered")
    metrics.link(LINKS[0], True)
    metrics.reconnect(LINKS[0], "reset")
    metrics.slack_rtt(0.1)
    metrics.blocked(True)
    metrics.active = True
    metrics.gap("goodbye", 0, 1)
    metrics.dead_letters_waiting = 3
    metrics.stopped = lambda: {trip: ["reason"] for trip in (READING, PUBLISHING, COMMANDS)}
    found: dict[str, set[str]] = {}
    page = exposition(metrics.snapshot) + exposed_by_the_gateway()
    for line in page.decode().splitlines():
        if not line.startswith("#"):
            name, _, rest = line.partition("{")
            labels = re.findall(r'(\w+)="', rest) if rest else []
            found.setdefault(name.split()[0], set()).update(labels)
    return found


def exposed_by_the_gateway() -> bytes:
    """The metrics of a gateway in which everything has happened."""
    counts = GatewayCounts()
    counts.connections.labels("bot", "rtm").set(1)
    counts.envelopes.labels("bot", "sent")
    counts.calls.labels("bot", "ok")
    counts.refused.labels("bot", "no_json")
    counts.dropped.labels("bot")
    counts.waiting.labels("bot").set(1)
    counts.most.labels("bot").set(2)
    # prometheus_client says of each counter since when it counts, which nobody looks at.
    lines = counts.exposition(is_up=True, is_ready=True).splitlines(keepends=True)
    return b"".join(line for line in lines if b"_created" not in line)


def family(name: str) -> str:
    """The metric that a sample belongs to."""
    for part in PARTS_OF_HISTOGRAMS:
        name = name.removesuffix(part)
    return name


def alerts() -> dict[str, dict[str, Any]]:
    """All alerts by name."""
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"]}


def dashboard() -> dict[str, Any]:
    """The dashboard."""
    loaded: dict[str, Any] = json.loads(DASHBOARD.read_text())
    return loaded


def panels() -> list[dict[str, Any]]:
    """Its panels without the headings."""
    return [panel for panel in dashboard()["panels"] if panel["type"] != "row"]


def dashboard_exprs() -> list[str]:
    """All that its panels and its marks ask for."""
    marks = [mark["expr"] for mark in dashboard()["annotations"]["list"]]
    return [target["expr"] for panel in panels() for target in panel["targets"]] + marks


def named(exprs: list[str]) -> set[str]:
    """The samples of ours that expressions name."""
    return set(re.findall(r"\brtmpump_\w+", " ".join(exprs)))


def labels_used(expr: str) -> set[tuple[str, str]]:
    """Each (sample, label) of the selectors of an expression."""
    selectors = re.findall(r"\b(rtmpump_\w+)\{([^}]*)\}", expr)
    return {
        (name, label) for name, inside in selectors for label in re.findall(r"(\w+)\s*[=!]", inside)
    }


def all_exprs() -> list[str]:
    """What alerts and dashboard ask for."""
    return [rule["expr"] for rule in alerts().values()] + dashboard_exprs()


def test_rules_and_dashboard_name_only_what_is_exposed() -> None:
    """A metric that was renamed would make an alert that never fires."""
    assert named(all_exprs()) - exposed().keys() == set()


def test_selectors_name_only_labels_that_are_there() -> None:
    """A label that isn't there would match nothing; `instance` comes from Prometheus."""
    there = exposed()
    used = {pair for expr in all_exprs() for pair in labels_used(expr)}
    assert ("rtmpump_link_up", "link") in used
    wrong = [(n, label) for n, label in used if label not in there[n] | {"instance"}]
    assert wrong == []


def test_every_metric_is_on_the_dashboard() -> None:
    """What is counted can be seen."""
    shown = {family(name) for name in named(dashboard_exprs())}
    assert {family(name) for name in exposed()} == shown


def test_the_names_of_links_in_rules_are_ours() -> None:
    """A rule for a link that there is not would never fire."""
    matchers = re.findall(r'link(=~?)"([^"]+)"', " ".join(a["expr"] for a in alerts().values()))
    assert matchers
    for _, pattern in matchers:
        for word in pattern.split("|"):
            assert word in {*LINKS, *STANDBY_LINKS}, pattern


def test_each_alert_says_how_bad_it_is_and_has_a_runbook_entry() -> None:
    """And the entry has commands; the runbook has no entry without an alert."""
    text = (DEPLOY / "RUNBOOK.md").read_text()
    entries = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL))
    assert set(entries) == set(alerts())
    for name, rule in alerts().items():
        assert rule["labels"]["severity"] in {"critical", "warning", "info"}
        assert rule["annotations"]["runbook"] == f"deploy/RUNBOOK.md#{name.lower()}"
        assert rule["annotations"]["summary"]
        for part in ("**Meaning.**", "**Look at.**", "```sh\n", "**Do.**"):
            assert part in entries[name], (name, part)


def test_the_reasons_of_losses_in_the_runbook_are_those_of_the_code() -> None:
    """Each reason that events are dropped for is explained, or is left out by the rule."""
    pumps = ROOT / "rtmpump" / "pumps"
    code = "".join(file.read_text() for file in pumps.glob("*.py"))
    reasons = set(re.findall(r'metrics\.dropped\(\s*"(\w+)"', code))
    assert reasons
    told = (DEPLOY / "RUNBOOK.md").read_text()
    assert [r for r in reasons - {"ignored", "unrouted"} if f"`{r}`" not in told] == []


def test_each_alert_has_a_test_in_which_it_fires() -> None:
    """A rule nobody has seen firing may never fire."""
    tests = (PROMETHEUS / "alerts_test.yml").read_text()
    fired = set(re.findall(r'alertname="(\w+)"', tests))
    assert fired == set(alerts())


@needs_promtool
def test_the_rules_do_what_their_tests_say() -> None:
    """`promtool test rules`: each fires on its fault, and none on a day on which all is well."""
    done = promtool("test", "rules", "alerts_test.yml")
    assert done.returncode == 0, done.stdout + done.stderr


@needs_promtool
def test_prometheus_understands_the_dashboard(tmp_path: Path) -> None:
    """Each of its expressions parses, with values in the place of Grafana's variables."""
    values = {"$__rate_interval": "5m", "$instance": ".*"}
    rules = []
    for place, expr in enumerate(dashboard_exprs()):
        for name, value in values.items():
            expr = expr.replace(name, value)
        rules.append({"record": f"panel:{place}", "expr": expr})
    file = tmp_path / "rules.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    done = promtool("check", "rules", str(file))
    assert done.returncode == 0, done.stdout + done.stderr


@needs_promtool
def test_prometheus_takes_its_configuration() -> None:
    """`promtool check config` also checks the rules that it names."""
    done = promtool("check", "config", "prometheus.yml")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "rules found" in done.stdout


def test_panels_are_whole() -> None:
    """Each has a title, a line of explanation, its own id and place, and a data source."""
    ids = [panel["id"] for panel in dashboard()["panels"]]
    assert len(ids) == len(set(ids))
    cells = [
        (x, y)
        for place in (panel["gridPos"] for panel in dashboard()["panels"])
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) == 23
    for panel in panels():
        assert panel["title"]
        assert panel["description"]
        assert panel["datasource"]["uid"] == "${datasource}"
        assert all("$instance" in target["expr"] for target in panel["targets"])


def test_grafana_is_provisioned_with_what_is_there() -> None:
    """The data source is compose's Prometheus, and the dashboards come from the mounted folder."""
    provisioning = DEPLOY / "grafana" / "provisioning"
    source = yaml.safe_load((provisioning / "datasources" / "prometheus.yml").read_text())
    assert source["datasources"][0]["url"] == "http://prometheus:9090"
    provider = yaml.safe_load((provisioning / "dashboards" / "rtmpump.yml").read_text())
    assert provider["providers"][0]["options"]["path"] == "/var/lib/grafana/dashboards"


def promtool(*args: str) -> subprocess.CompletedProcess[str]:
    """What promtool says; file names are those of deploy/prometheus."""
    return subprocess.run(
        ["promtool", *args],
        cwd=PROMETHEUS,
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
