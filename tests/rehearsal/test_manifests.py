"""Kubernetes' schemas, kustomize and docker-compose take the files as they stand."""

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.files import DEPLOY, manifest
from tests.deploy.test_kubernetes import ADAPTER
from tests.rehearsal.prometheus import Prometheus
from tests.rehearsal.tools import ROOT, need

KUBERNETES = DEPLOY / "kubernetes"
OLDEST, NEWEST = "1.31", "1.37"
FOREIGN = {"monitor.yaml", "kustomization.yaml", "prometheus-adapter.yaml"}
"""Not Kubernetes' own kinds: it has no schemas for them."""
OWN = sorted(path for path in KUBERNETES.glob("*.yaml") if path.name not in FOREIGN)
MONITOR = {
    "apiVersion": str, "kind": str,
    "metadata": {"name": str, "labels": dict},
    "spec": {"selector": {"matchLabels": dict}, "endpoints": [{"port": str, "path": str, "interval": str}]},
}  # fmt: skip
"""What is used of the operator's ServiceMonitor, by its API reference: names and types."""


def run(*command: str | Path) -> str:
    """Its output, which is shown when it fails."""
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
@pytest.mark.parametrize("file", OWN, ids=lambda path: path.stem)
def test_a_manifest_keeps_to_the_schema(file: Path, version: str) -> None:
    """Of the oldest version that is still about, and of the newest; no member that it does not know."""
    run(need("kubernetes-validate"), "--strict", "-k", version, file)


def test_a_manifest_that_does_not_keep_to_it_is_found(tmp_path: Path) -> None:
    """Else the test above could not fail."""
    broken = tmp_path / "deployment.yaml"
    broken.write_text((KUBERNETES / "deployment.yaml").read_text().replace("readinessProbe", "readynessProbe"))
    done = subprocess.run([need("kubernetes-validate"), "--strict", broken], capture_output=True, check=False)
    assert done.returncode != 0


def test_the_monitor_has_the_members_that_the_operator_knows() -> None:
    """And no others."""
    assert _shaped(manifest("ServiceMonitor"), MONITOR)
    assert not _shaped(manifest("ServiceMonitor") | {"specs": {}}, MONITOR)


def _shaped(value: object, shape: object) -> bool:
    match shape:
        case dict():
            return (
                isinstance(value, dict)
                and value.keys() <= shape.keys()
                and all(_shaped(value[name], shape[name]) for name in value)
            )
        case list():
            return isinstance(value, list) and all(_shaped(one, shape[0]) for one in value)
        case _:
            return isinstance(value, shape) if isinstance(shape, type) else False


def test_kustomize_puts_them_together() -> None:
    """Every object once, with the image that is named at the top."""
    objects = list(yaml.safe_load_all(run(need("kubectl"), "kustomize", KUBERNETES)))
    kinds = sorted(one["kind"] for one in objects)
    assert kinds == [
        "Deployment", "HorizontalPodAutoscaler", "NetworkPolicy", "PodDisruptionBudget", "Service", "Service",
        "ServiceMonitor",
    ]  # fmt: skip
    (deployment,) = (one for one in objects if one["kind"] == "Deployment")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert container["image"] == "registry.example/effserve:0.1.0"


@pytest.mark.parametrize("profile", [(), ("--profile", "load")])
def test_compose_understands_its_file(profile: tuple[str, ...]) -> None:
    """With the load generator and without."""
    described = yaml.safe_load(run(need("docker-compose"), *profile, "config"))
    assert {"effserve", "prometheus", "grafana"} <= described["services"].keys()


@pytest.mark.parametrize("rule", ADAPTER["custom"], ids=lambda rule: rule["name"]["as"])
def test_the_autoscalers_metrics_have_values(watched: Prometheus, rule: dict[str, Any]) -> None:
    """The adapter's queries, filled in as it does, by what stands for a pod here."""
    series = rule["seriesQuery"].partition("{")[0]
    query = rule["metricsQuery"].replace("<<.Series>>", series)
    query = query.replace("<<.LabelMatchers>>", 'job="effserve"').replace("<<.GroupBy>>", "instance")
    (found,) = watched.instant(query)
    assert found.points[0][1] >= 0
