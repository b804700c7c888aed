"""Facts about the gateway in compose.yaml and in Kubernetes, as far as no Docker is needed."""

from __future__ import annotations

import os
import re
import ssl
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import trustme
import yaml

from rtmpump import config
from rtmpump.config import Config
from tests.support.http_answers import answering
from tests.support.paths import ROOT

DEPLOY = ROOT / "deploy"
KUBERNETES = DEPLOY / "kubernetes" / "gateway"
TOKEN = "0123456789abcdef0123456789"


def of(file: Path) -> Any:
    """What a YAML file holds."""
    return yaml.safe_load(file.read_text())


def service() -> dict[str, Any]:
    """The gateway of compose.yaml."""
    found: dict[str, Any] = of(DEPLOY / "compose.yaml")["services"]["gateway"]
    return found


def manifest(kind: str) -> dict[str, Any]:
    """The one object of a kind that `kubectl apply -k` would make."""
    files = of(KUBERNETES / "kustomization.yaml")["resources"]
    all_of_them = [one for file in files for one in yaml.safe_load_all((KUBERNETES / file).open())]
    (found,) = [one for one in all_of_them if one["kind"] == kind]
    return dict(found)


def pod() -> dict[str, Any]:
    """What the deployment says of its pods."""
    spec: dict[str, Any] = manifest("Deployment")["spec"]["template"]["spec"]
    return spec


def container() -> dict[str, Any]:
    """Its one container."""
    (only,) = pod()["containers"]
    return dict(only)


def pumps_pod() -> dict[str, Any]:
    """What the pump's set says of each of its pods."""
    whole = yaml.safe_load_all((DEPLOY / "kubernetes" / "rtmpump.yaml").read_text())
    (found,) = [one["spec"]["template"]["spec"] for one in whole if one["kind"] == "StatefulSet"]
    return dict(found)


def loaded(folder: Path, text: str, env: dict[str, str], secrets: dict[str, str]) -> Config:
    """Load a configuration as the gateway does, its secrets in a folder of the test."""
    for place, content in secrets.items():
        file = folder / place.replace("/", "_")
        file.write_text(content)
        text = text.replace(f'"{place}"', f'"{file}"')
        env = {key: str(file) if value == place else value for key, value in env.items()}
    path = folder / "config.toml"
    path.write_text(text)
    return config.load(path, env, need_token=False, need_clients=True)


def test_the_gateway_takes_what_compose_gives_it(tmp_path: Path) -> None:
    """Its file and its variables are a whole configuration, with a token and TLS from secrets."""
    env = service()["environment"]
    (mounted,) = service()["volumes"]
    source, target, mode = mounted.split(":")
    assert (env.pop("RTMPUMP_CONFIG"), mode) == (target, "ro")
    env["RTMPUMP_BROKER_URL"] = re.sub(r"\$\{.*?\}", "pw", env["RTMPUMP_BROKER_URL"])
    text = (DEPLOY / source).read_text()
    found = loaded(tmp_path, text, env, {"/run/secrets/gateway-helpdesk": TOKEN})
    (client,) = found.gateway.clients
    assert (client.name, client.token.reveal()) == ("helpdesk", TOKEN)
    given = {f"/run/secrets/{name}" for name in service()["secrets"]}
    tls = {found.gateway.tls_cert, found.gateway.tls_key}
    assert given == {"/run/secrets/gateway-helpdesk", *tls}
    port = found.gateway.address[1]
    assert service()["ports"] == [f"127.0.0.1:{port}:{port}"]
    assert (
        found.slack.mode
        == of(DEPLOY / "compose.yaml")["services"]["rtmpump"]["environment"]["RTMPUMP_SLACK_MODE"]
    )


def test_compose_starts_it_only_for_who_wants_it() -> None:
    """It is of the image that is built for the pump, as closed, and has time to stop."""
    pump = of(DEPLOY / "compose.yaml")["services"]["rtmpump"]
    assert service()["profiles"] == ["gateway"]
    assert service()["command"] == ["gateway"]
    for key in ("image", "read_only", "tmpfs", "cap_drop", "security_opt", "stop_grace_period"):
        assert service()[key] == pump[key]
    built = (DEPLOY / "Dockerfile").read_text()
    assert "-w /wheels '.[gateway]'" in built
    assert "'rtmpump[gateway]'" in built


@pytest.mark.parametrize(("status", "code"), [(200, 0), (503, 1)])
def test_the_health_check_asks_livez(tmp_path: Path, status: int, code: int) -> None:
    """Over TLS, whoever signed the certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("elsewhere.invalid").configure_cert(context)
    word, _python, *arguments = service()["healthcheck"]["test"]
    with answering(status, context) as (address, asked):
        port = address.rpartition(":")[2]
        command = [sys.executable, *(one.replace("9465", port) for one in arguments)]
        done = subprocess.run(command, capture_output=True, check=False, timeout=100)
    assert (word, asked, done.returncode) == ("CMD", ["/livez"], code), done.stderr


def test_prometheus_has_a_job_for_it_that_can_be_taken_in(tmp_path: Path) -> None:
    """Without its marks it is a good job, for the name and the port that compose has."""
    text = (DEPLOY / "prometheus" / "prometheus.yml").read_text()
    found = yaml.safe_load(re.sub(r"^  # (?=- job_name| )", "  ", text, flags=re.MULTILINE))
    job = found["scrape_configs"][1]
    assert job["job_name"] == "rtmpump-gateway"
    assert job["static_configs"] == [{"targets": ["gateway:9465"]}]
    assert "gateway" in of(DEPLOY / "compose.yaml")["services"]


def test_kubernetes_objects_fit_together() -> None:
    """Names, labels, selectors and ports agree; nothing else is made."""
    files = of(KUBERNETES / "kustomization.yaml")["resources"]
    objects = [one for file in files for one in yaml.safe_load_all((KUBERNETES / file).open())]
    versions = {one["kind"]: one["apiVersion"] for one in objects}
    assert versions == {"ConfigMap": "v1", "Service": "v1", "Deployment": "apps/v1"}
    assert {one["metadata"]["name"] for one in objects} == {"rtmpump-gateway"}
    labels = manifest("Deployment")["spec"]["template"]["metadata"]["labels"]
    assert manifest("Deployment")["spec"]["selector"]["matchLabels"].items() <= labels.items()
    assert manifest("Service")["spec"]["selector"].items() <= labels.items()
    (port,) = container()["ports"]
    assert manifest("Service")["spec"]["ports"][0]["targetPort"] == port["name"]
    volumes = {volume["name"] for volume in pod()["volumes"]}
    assert {mount["name"] for mount in container()["volumeMounts"]} == volumes


def test_the_gateway_takes_what_kubernetes_gives_it(tmp_path: Path) -> None:
    """Config map, secret and variables together are a whole configuration."""
    env = {one["name"]: one["value"] for one in container()["env"]}
    secret = of(KUBERNETES / "secret.example.yaml")["stringData"]
    mounts = {mount["name"]: mount["mountPath"] for mount in container()["volumeMounts"]}
    assert env.pop("RTMPUMP_CONFIG") == f"{mounts['config']}/config.toml"
    secrets = {f"{mounts['secrets']}/{key}": content for key, content in secret.items()}
    text = manifest("ConfigMap")["data"]["config.toml"]
    found = loaded(tmp_path, text, env, secrets)
    assert found.gateway.clients[0].token.reveal() == secret["helpdesk"]
    assert found.broker.urls[0].reveal() == secret["broker-url"]
    assert found.gateway.listen == f"0.0.0.0:{container()['ports'][0]['containerPort']}"
    assert Path(found.gateway.tls_cert).parent == Path(mounts["tls"])
    assert os.path.basename(found.gateway.tls_key) == "tls.key"


def test_probes_ask_over_tls() -> None:
    """Restarts depend on /livez alone, so a broker that is down restarts nothing."""
    probes = {"livenessProbe": "/livez", "readinessProbe": "/readyz", "startupProbe": "/livez"}
    for probe, path in probes.items():
        wanted = {"path": path, "port": "https", "scheme": "HTTPS"}
        assert container()[probe]["httpGet"] == wanted


def test_the_pod_has_no_more_rights_than_the_pump() -> None:
    """The same user, the same profile, nothing to write on but a /tmp."""
    (pump,) = pumps_pod()["containers"]
    assert container()["securityContext"] == pump["securityContext"]
    assert container()["image"] == pump["image"]
    for key in ("securityContext", "automountServiceAccountToken"):
        assert pod()[key] == pumps_pod()[key]
    modes = {one["secret"]["defaultMode"] for one in pod()["volumes"] if "secret" in one}
    assert modes == {0o440}
