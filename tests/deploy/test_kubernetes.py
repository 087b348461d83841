"""The manifests agree with each other, with the settings, with the image and with the metrics."""

import re
from typing import Any

import pytest
import yaml

from service import settings
from service.telemetry.table import TABLE
from tests.deploy.files import DEPLOY, image_environment, manifest, manifests, step

LABELS = {"app.kubernetes.io/name": "effserve"}
POD = manifest("Deployment")["spec"]["template"]
(CONTAINER,) = POD["spec"]["containers"]
ADAPTER = yaml.safe_load((DEPLOY / "kubernetes" / "prometheus-adapter.yaml").read_text(encoding="utf-8"))["rules"]
PROBES = ("startupProbe", "readinessProbe", "livenessProbe")


def probe_s(name: str) -> float:
    """How long a probe may fail before something is done."""
    probe = CONTAINER[name]
    return float(probe["periodSeconds"] * probe["failureThreshold"])


def variables() -> dict[str, str]:
    """What the container is given."""
    return {one["name"]: one["value"] for one in CONTAINER["env"]}


def test_every_file_is_in_the_list_or_says_why_not() -> None:
    """Objects that kustomize is not told of would never be applied."""
    named = set(yaml.safe_load((DEPLOY / "kubernetes" / "kustomization.yaml").read_text())["resources"])
    there = {path.name for path in (DEPLOY / "kubernetes").glob("*.yaml")}
    assert there - named == {"kustomization.yaml", "prometheus-adapter.yaml"}


@pytest.mark.parametrize(
    "selector",
    [
        manifest("Deployment")["spec"]["selector"]["matchLabels"],
        manifest("Service")["spec"]["selector"],
        manifest("Service", "effserve-pods")["spec"]["selector"],
        manifest("PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        manifest("NetworkPolicy")["spec"]["podSelector"]["matchLabels"],
        POD["spec"]["topologySpreadConstraints"][0]["labelSelector"]["matchLabels"],
    ],
)
def test_selectors_find_the_pods(selector: dict[str, str]) -> None:
    """By labels that they have."""
    assert selector == LABELS == POD["metadata"]["labels"]


def test_the_monitor_finds_one_service_and_its_port() -> None:
    """The job is then called as the rules want it: as the service."""
    monitor = manifest("ServiceMonitor")["spec"]
    found = [
        one
        for one in manifests()
        if one["kind"] == "Service" and monitor["selector"]["matchLabels"].items() <= one["metadata"]["labels"].items()
    ]
    assert [one["metadata"]["name"] for one in found] == ["effserve"]
    (endpoint,) = monitor["endpoints"]
    assert (endpoint["port"], endpoint["path"]) == ("http", "/metrics")
    scraped = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
    assert endpoint["interval"] == scraped["global"]["scrape_interval"]
    assert scraped["scrape_configs"][0]["job_name"] == "effserve"


def test_ports_are_those_of_the_image() -> None:
    """By number in the container, by name everywhere else."""
    ports = {port["name"]: port["containerPort"] for port in CONTAINER["ports"]}
    assert sorted(ports.values()) == [int(port) for port in step("EXPOSE").split()]
    for service in (one for one in manifests() if one["kind"] == "Service"):
        assert {port["name"]: port["port"] for port in service["spec"]["ports"]}.items() <= ports.items()
        assert all(port["targetPort"] == port["name"] for port in service["spec"]["ports"])
    for rule in manifest("NetworkPolicy")["spec"]["ingress"]:
        assert {port["port"] for port in rule["ports"]} <= ports.keys()
    assert all(CONTAINER[probe]["httpGet"]["port"] in ports for probe in PROBES)


def test_variables_are_settings() -> None:
    """That the service understands."""
    assert variables().keys() <= {settings.variable(name) for name in settings.names()}


def test_a_pod_has_time_to_drain() -> None:
    """The grace period counts from the signal, and a preStop hook would take part of it."""
    drain = float(variables()["EFFSERVE_DRAIN_GRACE_S"]) + float(variables()["EFFSERVE_DRAIN_TIMEOUT_S"])
    assert POD["spec"]["terminationGracePeriodSeconds"] > drain
    assert "lifecycle" not in CONTAINER


def test_readiness_is_noticed_within_the_grace_period() -> None:
    """A pod that drains is served on until everybody has heard that it does."""
    assert probe_s("readinessProbe") < float(variables()["EFFSERVE_DRAIN_GRACE_S"])


def test_load_kills_nobody() -> None:
    """Liveness asks what load does not change, and is patient; the first start has minutes."""
    paths = {probe: CONTAINER[probe]["httpGet"]["path"] for probe in PROBES}
    assert paths == {"startupProbe": "/readyz", "readinessProbe": "/readyz", "livenessProbe": "/healthz"}
    assert probe_s("livenessProbe") >= 60
    assert probe_s("startupProbe") >= 300
    assert probe_s("readinessProbe") < probe_s("livenessProbe")


def test_a_container_is_confined() -> None:
    """As in the compose file, and as the image's user."""
    pod, own = POD["spec"]["securityContext"], CONTAINER["securityContext"]
    assert pod["runAsNonRoot"] is True
    assert f"{pod['runAsUser']}:{pod['runAsGroup']}" == step("USER")
    assert pod["seccompProfile"] == {"type": "RuntimeDefault"}
    assert (own["allowPrivilegeEscalation"], own["readOnlyRootFilesystem"]) == (False, True)
    assert own["capabilities"] == {"drop": ["ALL"]}
    assert POD["spec"]["automountServiceAccountToken"] is False


def test_what_is_written_has_a_place() -> None:
    """The calibration and /tmp; everything else is read-only."""
    mounted = {mount["mountPath"]: mount["name"] for mount in CONTAINER["volumeMounts"]}
    assert mounted.keys() == {image_environment()["EFFSERVE_CALIBRATION_DIR"], "/tmp"}
    volumes = {volume["name"]: volume for volume in POD["spec"]["volumes"]}
    assert all(volumes[name]["emptyDir"]["sizeLimit"] for name in mounted.values())


def test_cores_are_whole_and_the_pods_own() -> None:
    """Lanes follow the limit; requests equal to limits make the pod Guaranteed."""
    resources = CONTAINER["resources"]
    assert resources["requests"] == resources["limits"]
    assert resources["limits"]["cpu"].isdigit()


def test_the_autoscaler_asks_for_what_the_adapter_makes() -> None:
    """Of pods of the deployment, which has no number of replicas of its own."""
    scaler = manifest("HorizontalPodAutoscaler")["spec"]
    asked = [metric["pods"]["metric"]["name"] for metric in scaler["metrics"]]
    assert asked == [rule["name"]["as"] for rule in ADAPTER["custom"]]
    assert scaler["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "Deployment", "name": "effserve"}
    assert "replicas" not in manifest("Deployment")["spec"]
    assert manifest("PodDisruptionBudget")["spec"]["minAvailable"] < scaler["minReplicas"]


@pytest.mark.parametrize("rule", ADAPTER["custom"], ids=lambda rule: rule["name"]["as"])
def test_the_adapter_asks_for_metrics_of_ours(rule: dict[str, Any]) -> None:
    """By their names in the table."""
    named = set(re.findall(r"effserve_\w+", rule["seriesQuery"] + rule["metricsQuery"]))
    assert named <= {spec.exposed_name for spec in TABLE}
