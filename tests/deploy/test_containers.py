"""Facts about Dockerfile, compose.yaml and the Kubernetes manifests, as far as no Docker is needed.

Neither images nor clusters are run here: what is checked is that files fit together, that the
daemon takes the settings they give it, and that the health check does what it says.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from rtmpump import config
from rtmpump.daemon.supervisor import STOP_DEADLINE
from tests.support.http_answers import answering
from tests.support.paths import ROOT

DEPLOY = ROOT / "deploy"
KUBERNETES = DEPLOY / "kubernetes"
ALL = "0.0.0.0"  # noqa: S104 - nothing is bound to it
PROBES = {"livenessProbe": "/livez", "readinessProbe": "/readyz", "startupProbe": "/livez"}


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions, continued lines joined, comments left out."""
    text = re.sub(r"^#.*\n", "", (DEPLOY / "Dockerfile").read_text(), flags=re.MULTILINE)
    lines = re.sub(r"\\\n", " ", text).splitlines()
    return [(line.split(" ", 1)[0], line.split(" ", 1)[1].strip()) for line in lines if line]


def last_stage() -> list[tuple[str, str]]:
    """The instructions that make the image itself."""
    all_of_them = instructions()
    begins = max(place for place, (word, _) in enumerate(all_of_them) if word == "FROM")
    return all_of_them[begins:]


def image_env() -> dict[str, str]:
    """The variables of ours that the image sets."""
    given = next(rest for word, rest in last_stage() if word == "ENV")
    pairs = dict(pair.split("=", 1) for pair in given.split())
    return {name: value for name, value in pairs.items() if name.startswith("RTMPUMP_")}


def health_check() -> list[str]:
    """The program and the arguments of HEALTHCHECK."""
    given = next(rest for word, rest in last_stage() if word == "HEALTHCHECK")
    command: list[str] = json.loads(given.partition(" CMD ")[2])
    return [sys.executable, *command[1:]]


def compose() -> dict[str, Any]:
    """compose.yaml; its variables are left as they are."""
    loaded: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    return loaded


def manifests() -> list[dict[str, Any]]:
    """All objects that `kubectl apply -k` would make."""
    files = yaml.safe_load((KUBERNETES / "kustomization.yaml").read_text())["resources"]
    texts = [(KUBERNETES / file).read_text() for file in files]
    return [one for text in texts for one in yaml.safe_load_all(text)]


def manifest(kind: str) -> dict[str, Any]:
    """The one object of a kind."""
    (found,) = [one for one in manifests() if one["kind"] == kind]
    return found


def pod() -> dict[str, Any]:
    """What the set says of each of its pods."""
    spec: dict[str, Any] = manifest("StatefulSet")["spec"]["template"]["spec"]
    return spec


def claims_of_the_set() -> list[dict[str, Any]]:
    """The volumes that each pod has for itself."""
    templates: list[dict[str, Any]] = manifest("StatefulSet")["spec"]["volumeClaimTemplates"]
    return templates


def container() -> dict[str, Any]:
    """Its one container."""
    (only,) = pod()["containers"]
    found: dict[str, Any] = only
    return found


@pytest.mark.parametrize(("status", "code"), [(200, 0), (503, 1)])
def test_the_health_check_asks_livez(status: int, code: int) -> None:
    """It ends with 0 for an answer of 200, else with 1; also where 0.0.0.0 is listened on."""
    with answering(status) as (address, asked):
        for listen in (address, address.replace("127.0.0.1", ALL)):
            done = subprocess.run(
                health_check(),
                env={"RTMPUMP_HTTP_LISTEN": listen},
                capture_output=True,
                check=False,
                timeout=100,
            )
            assert done.returncode == code, done.stderr
    assert asked == ["/livez", "/livez"]


def test_the_health_check_fails_when_nobody_answers() -> None:
    """A port that nobody listens on is no health."""
    with answering(200) as (address, _):
        pass
    env = {"RTMPUMP_HTTP_LISTEN": address}
    done = subprocess.run(health_check(), env=env, capture_output=True, check=False, timeout=100)
    assert done.returncode == 1


def test_the_image_is_slim_and_not_roots() -> None:
    """The last stage has no source and no build tools, and a numeric user that isn't 0."""
    words = dict(last_stage())
    assert words["FROM"].endswith("-slim")
    assert words["USER"] == "10001:10001"
    assert words["COPY"] == "--from=build /opt/rtmpump /opt/rtmpump"
    assert json.loads(words["ENTRYPOINT"]) == ["rtmpump"]
    assert words["STOPSIGNAL"] == "SIGTERM"


def made_by_hand(root: Path) -> list[str]:
    """Run what the last stage runs, with its paths and its /etc in a folder."""
    (root / "etc").mkdir()
    for file in ("passwd", "group", "shadow", "gshadow"):
        (root / "etc" / file).touch()
    (run,) = (rest for word, rest in last_stage() if word == "RUN")
    for program in ("groupadd", "useradd"):
        run = run.replace(f"{program} ", f"{program} --prefix {root} ", 1)
    run = re.sub(r"(install .*)/var", rf"\1{root}/var", run)
    subprocess.run(["sh", "-ec", run], check=True, capture_output=True, timeout=100)
    return [(root / "etc" / file).read_text().strip() for file in ("passwd", "group")]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make users")
def test_the_image_has_the_user_and_an_empty_folder_for_the_spool(tmp_path: Path) -> None:
    """User and group have the numbers of USER; no dotfile of a home lies in the spool's folder."""
    passwd, group = made_by_hand(tmp_path)
    user, group_number = dict(last_stage())["USER"].split(":")
    assert passwd.split(":")[2:4] == [user, group_number]
    assert group.split(":")[2] == group_number
    folder = tmp_path / "var/lib/rtmpump"
    assert list(folder.iterdir()) == []
    found = folder.stat()
    assert (found.st_uid, found.st_gid, found.st_mode & 0o777) == (10001, 10001, 0o700)


def test_each_line_that_builds_the_image_keeps_its_health_check() -> None:
    """Podman's own format of images has none, so Podman is told to take Docker's."""
    lines = re.findall(r"^#   (\w+ build .*)$", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE)
    assert [line.split()[0] for line in lines] == ["docker", "podman"]
    assert "--format docker" in lines[1]
    assert "BUILDAH_FORMAT=docker" in (DEPLOY / "compose.yaml").read_text()


def test_the_image_has_the_versions_of_the_constraints() -> None:
    """Each package that is fetched is held to them, the one that builds too."""
    runs = " && ".join(rest for word, rest in instructions() if word == "RUN")
    fetches = [run for run in runs.split("&&") if re.search(r"\bpip (install|wheel)\b", run)]
    assert len(fetches) == 3
    assert all("-c constraints.txt" in run or "--no-index" in run for run in fetches)


def test_what_is_copied_into_the_build_is_there_and_not_ignored() -> None:
    """The ignore file lets through exactly what the Dockerfile copies."""
    copied = {
        source
        for word, rest in instructions()
        if word == "COPY" and "--from" not in rest
        for source in rest.split()[:-1]
    }
    lines = (DEPLOY / "Dockerfile.dockerignore").read_text().split()
    assert copied == {line[1:] for line in lines if line.startswith("!")}
    assert lines[0] == "*"
    assert all((ROOT / source).exists() for source in copied)


def test_no_file_holds_a_secret() -> None:
    """No token and no password but those that say what to put there."""
    files = [DEPLOY / "Dockerfile", DEPLOY / "compose.yaml", *KUBERNETES.rglob("*.yaml")]
    text = "".join(file.read_text() for file in files)
    tokens = set(re.findall(r"(?:xox[a-z]|xapp)-[\w-]+", text))
    assert tokens == {"xoxb-replace-me", "xapp-replace-me"}
    passwords = set(re.findall(r"amqps?://[^:\s]+:([^@]+)@", text))
    assert passwords == {"replace-me", "${RABBITMQ_PASSWORD:?choose one}"}


def test_the_daemon_takes_what_compose_gives_it(tmp_path: Path) -> None:
    """Image and compose together are a whole configuration; a wrong name would be an error."""
    given = image_env() | compose()["services"]["rtmpump"]["environment"]
    for variable, kind in (("SLACK_TOKEN_FILE", "xoxb"), ("SLACK_APP_TOKEN_FILE", "xapp")):
        (tmp_path / kind).write_text(f"{kind}-from-a-file")
        given[f"RTMPUMP_{variable}"] = str(tmp_path / kind)
    given["RTMPUMP_BROKER_URL"] = re.sub(r"\$\{.*?\}", "pw", given["RTMPUMP_BROKER_URL"])
    loaded = config.load(None, given)
    assert loaded.slack.token.reveal() == "xoxb-from-a-file"
    assert loaded.slack.app_token.reveal() == "xapp-from-a-file"
    assert loaded.broker.urls[0].reveal() == "amqp://rtmpump:pw@rabbitmq:5672/%2F"
    assert str(loaded.spool.path) == "/var/lib/rtmpump/spool.db"


def test_compose_fits_together() -> None:
    """Volumes, secrets and mounted files are there, and each port is for this machine only."""
    whole = compose()
    for name, service in whole["services"].items():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            there = (DEPLOY / source).exists() if source[0] == "." else source in whole["volumes"]
            assert there, (name, source)
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:"), (name, port)
        assert set(service.get("secrets", [])) <= whole["secrets"].keys()
        assert service["restart"] == "unless-stopped"
    build = whole["services"]["rtmpump"]["build"]
    assert (DEPLOY / build["context"] / build["dockerfile"]).resolve() == DEPLOY / "Dockerfile"


def test_compose_gives_time_to_stop_and_a_disk_for_the_spool() -> None:
    """More than the daemon's own deadline; the spool outlives the container."""
    pump = compose()["services"]["rtmpump"]
    assert int(pump["stop_grace_period"].rstrip("s")) >= STOP_DEADLINE + 5
    assert f"spool:{Path(image_env()['RTMPUMP_SPOOL_PATH']).parent}" in pump["volumes"]
    assert compose()["services"]["rabbitmq"]["image"].startswith("rabbitmq:4")


def test_prometheus_asks_the_name_that_the_daemon_listens_on() -> None:
    """The daemon answers to no other name."""
    pump = compose()["services"]["rtmpump"]
    scrape = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
    job, *others = scrape["scrape_configs"]
    assert others == [], "the gateway is no part of it unless somebody wants it"
    assert job["static_configs"][0]["targets"] == [pump["environment"]["RTMPUMP_HTTP_LISTEN"]]
    assert pump["environment"]["RTMPUMP_HTTP_LISTEN"].split(":")[0] == pump["hostname"]


def test_kubernetes_objects_are_of_known_kinds() -> None:
    """Each is of the API version that its kind has today, named alike and labelled."""
    versions = {one["kind"]: one["apiVersion"] for one in manifests()}
    assert versions == {
        "ConfigMap": "v1",
        "Service": "v1",
        "StatefulSet": "apps/v1",
        "PodDisruptionBudget": "policy/v1",
    }
    assert {one["metadata"]["name"] for one in manifests()} == {"rtmpump"}


def test_selectors_find_the_pod() -> None:
    """Set, budget, service and spreading select what the template is labelled with."""
    labels = manifest("StatefulSet")["spec"]["template"]["metadata"]["labels"]
    for kind in ("StatefulSet", "PodDisruptionBudget"):
        assert manifest(kind)["spec"]["selector"]["matchLabels"].items() <= labels.items()
    assert manifest("Service")["spec"]["selector"].items() <= labels.items()
    (spread,) = pod()["topologySpreadConstraints"]
    assert spread["labelSelector"]["matchLabels"].items() <= labels.items()
    assert manifest("StatefulSet")["spec"]["serviceName"] == manifest("Service")["metadata"]["name"]


def test_two_pumps_share_an_app_of_socket_mode_and_each_has_a_spool() -> None:
    """In RTM more than one replica would be more than one active pump, were it not for [ha]."""
    spec = manifest("StatefulSet")["spec"]
    settings = tomllib.loads(manifest("ConfigMap")["data"]["config.toml"])
    assert (spec["replicas"], settings["ha"]) == (2, {"enabled": False})
    assert settings["slack"]["mode"] == "socket"
    assert spec["podManagementPolicy"] == "Parallel"
    assert manifest("PodDisruptionBudget")["spec"]["maxUnavailable"] == 1
    assert pod()["terminationGracePeriodSeconds"] >= STOP_DEADLINE + 5


def test_what_is_mounted_is_a_volume_and_each_volume_has_its_source() -> None:
    """Names of volumes, claim, config map and secret agree."""
    volumes = {volume["name"]: volume for volume in pod()["volumes"]}
    claims = {claim["metadata"]["name"] for claim in claims_of_the_set()}
    assert {mount["name"] for mount in container()["volumeMounts"]} == volumes.keys() | claims
    assert volumes["config"]["configMap"]["name"] == manifest("ConfigMap")["metadata"]["name"]
    secret = yaml.safe_load((KUBERNETES / "secret.example.yaml").read_text())
    assert volumes["secrets"]["secret"]["secretName"] == secret["metadata"]["name"]


def test_the_daemon_takes_what_kubernetes_gives_it(tmp_path: Path) -> None:
    """Config map, secret and variables together are a whole configuration."""
    given = image_env() | {one["name"]: one["value"] for one in container()["env"]}
    secret = yaml.safe_load((KUBERNETES / "secret.example.yaml").read_text())["stringData"]
    mounts = {mount["name"]: mount["mountPath"] for mount in container()["volumeMounts"]}
    file = tmp_path / "config.toml"
    file.write_text(manifest("ConfigMap")["data"]["config.toml"])
    assert given.pop("RTMPUMP_CONFIG") == f"{mounts['config']}/config.toml"
    keys = {"SLACK_TOKEN_FILE": "slack-token", "SLACK_APP_TOKEN_FILE": "slack-app-token"}
    for variable, key in (keys | {"BROKER_URL_FILE": "broker-url"}).items():
        assert given[f"RTMPUMP_{variable}"] == f"{mounts['secrets']}/{key}"
        (tmp_path / key).write_text(secret[key])
        given[f"RTMPUMP_{variable}"] = str(tmp_path / key)
    loaded = config.load(file, given)
    assert loaded.slack.token.reveal() == "xoxb-replace-me"
    assert loaded.broker.urls[0].reveal() == secret["broker-url"]
    assert str(loaded.spool.path).startswith(f"{mounts['spool']}/")


def test_the_spool_fits_on_its_volume() -> None:
    """The claim is larger than spool.max_bytes."""
    (claim,) = claims_of_the_set()
    asked = claim["spec"]["resources"]["requests"]["storage"]
    assert (asked, config.SpoolConfig().max_bytes) == ("2Gi", 1 << 30)


def test_probes_ask_the_port_that_is_listened_on() -> None:
    """Restarts depend on /livez alone, so a broker that is down restarts nothing."""
    assert [port["name"] for port in container()["ports"]] == ["http"]
    number = container()["ports"][0]["containerPort"]
    listen = {one["name"]: one["value"] for one in container()["env"]}["RTMPUMP_HTTP_LISTEN"]
    assert listen == f"0.0.0.0:{number}"
    for probe, path in PROBES.items():
        assert container()[probe]["httpGet"] == {"path": path, "port": "http"}


def test_the_pod_has_no_rights_that_it_does_not_need() -> None:
    """The restricted profile of Kubernetes' pod security standards, and no API token."""
    inside = container()["securityContext"]
    assert inside["allowPrivilegeEscalation"] is False
    assert inside["readOnlyRootFilesystem"] is True
    assert inside["capabilities"] == {"drop": ["ALL"]}
    assert pod()["securityContext"]["runAsNonRoot"] is True
    assert pod()["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod()["automountServiceAccountToken"] is False
    user = dict(last_stage())["USER"].split(":")
    numbers = [pod()["securityContext"][key] for key in ("runAsUser", "runAsGroup")]
    assert [str(number) for number in numbers] == user
    assert pod()["volumes"][1]["secret"]["defaultMode"] == 0o440


def test_all_name_the_image_of_this_version() -> None:
    """What is built, what compose starts and what Kubernetes wants; no tag that moves."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    image = f"rtmpump:{project['version']}"
    assert container()["image"] == image
    assert compose()["services"]["rtmpump"]["image"] == image
    built = re.findall(r" -t (\S+) \.$", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE)
    assert set(built) == {image}
