"""The compose file and the image agree with each other, with the settings and with what they mount; nothing has more
than it needs."""

import re
from typing import Any

import pytest

from deploy import load
from service import settings
from tests.deploy.files import (
    DEPLOY,
    ROOT,
    command,
    image_environment,
    instructions,
    last_stage,
    seconds,
    services,
    step,
)  # fmt: skip

SERVICES = [pytest.param(service, id=name) for name, service in services().items()]
PUBLISHED = [port for service in services().values() for port in service.get("ports", ())]


def test_there_are_four_and_one_only_when_asked_for() -> None:
    """The load generator is a profile's."""
    assert services().keys() == {"effserve", "prometheus", "grafana", "load"}
    assert [name for name, service in services().items() if "profiles" in service] == ["load"]


@pytest.mark.parametrize("service", SERVICES)
def test_a_container_is_confined(service: dict[str, Any]) -> None:
    """Read-only root, no capabilities, no new ones, a user who is not root, limits."""
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    user, _, group = service["user"].partition(":")
    assert int(user) > 0
    assert int(group) > 0
    assert service["cpus"] > 0
    assert service["pids_limit"] > 0
    assert re.fullmatch(r"\d+[mg]", service["mem_limit"])


@pytest.mark.parametrize("service", SERVICES)
def test_an_image_is_pinned_or_built(service: dict[str, Any]) -> None:
    """By a version with three numbers."""
    assert "build" in service or re.search(r":v?\d+\.\d+\.\d+$", service["image"])


@pytest.mark.parametrize("port", PUBLISHED)
def test_ports_are_published_on_the_loopback_address_only(port: str) -> None:
    """There is no authentication."""
    assert port.startswith("127.0.0.1:")


@pytest.mark.parametrize("service", SERVICES)
def test_what_is_mounted_exists(service: dict[str, Any]) -> None:
    """Folders of the repository are there, and read-only."""
    for volume in service.get("volumes", ()):
        source, _, target = volume.partition(":")
        if source.startswith("."):
            assert (ROOT / source).exists()
            assert target.endswith(":ro")


def test_everybody_is_looked_after() -> None:
    """A health check each: the service's is its image's, and the load generator serves nobody."""
    assert {name for name, service in services().items() if "test" in service.get("healthcheck", {})} == {
        "prometheus",
        "grafana",
    }
    assert services()["load"]["healthcheck"] == {"disable": True}
    assert "healthcheck" not in services()["effserve"]
    assert command(step("HEALTHCHECK"))[0] == "python"


def test_what_others_scrape_and_ask_is_what_the_services_are_called() -> None:
    """By name and port, in the files that are mounted."""
    assert '["effserve:8000"]' in (DEPLOY / "prometheus" / "prometheus.yml").read_text()
    source = (DEPLOY / "grafana" / "provisioning" / "datasources" / "prometheus.yml").read_text()
    assert "url: http://prometheus:9090" in source
    provider = (DEPLOY / "grafana" / "provisioning" / "dashboards" / "effserve.yml").read_text()
    assert "path: /etc/effserve/dashboards" in provider
    assert any(volume.endswith(":/etc/effserve/dashboards:ro") for volume in services()["grafana"]["volumes"])


def test_nobody_is_killed_who_still_drains() -> None:
    """Docker waits longer than grace and drain together may take."""
    drain = settings.load().drain
    assert step("STOPSIGNAL") == "SIGTERM"
    assert seconds(services()["effserve"]["stop_grace_period"]) > drain.grace_s + drain.timeout_s


def test_the_ports_are_the_settings() -> None:
    """Those that the image exposes, the compose file publishes and the health check asks."""
    defaults = settings.load()
    ports = [str(defaults.http.port), str(defaults.grpc.port)]
    assert step("EXPOSE").split() == ports
    assert services()["effserve"]["ports"] == [f"127.0.0.1:{port}:{port}" for port in ports]
    assert f'"EFFSERVE_HTTP_PORT", "{ports[0]}"' in (DEPLOY / "healthcheck.py").read_text()


def test_variables_of_the_image_are_settings() -> None:
    """And the service understands their values."""
    ours = {name: value for name, value in image_environment().items() if name.startswith(settings.PREFIX)}
    assert ours.keys() <= {settings.variable(name) for name in settings.names()}
    assert len(ours) == 5


def test_the_volume_is_where_the_image_keeps_what_it_measured() -> None:
    """The one folder that is the user's own."""
    assert f"calibration:{image_environment()['EFFSERVE_CALIBRATION_DIR']}" in services()["effserve"]["volumes"]
    user = services()["effserve"]["user"]
    assert step("USER") == user
    assert any(f"chown {user} /var/cache/effserve" in rest for name, rest in last_stage() if name == "RUN")


def test_dependencies_are_checked_by_hash_and_serving_gets_no_more_than_it_needs() -> None:
    """Each install names a lock with hashes, or only what was built here."""
    installs = [rest for name, rest in instructions() if name == "RUN" and "pip install" in rest]
    assert len(installs) == 4
    assert all("--require-hashes -r requirements/" in rest or "--no-deps --no-index" in rest for rest in installs)
    assert "requirements/serve.txt" in installs[2]


def test_the_base_image_is_pinned() -> None:
    """One for all stages, so that an environment made in one works in another."""
    assert instructions()[0][0] == "ARG"
    assert re.fullmatch(r"PYTHON=python:3\.1\d\.\d+-slim-bookworm", instructions()[0][1])
    assert {rest.split()[0] for name, rest in instructions() if name == "FROM"} == {"${PYTHON}"}


def test_whatever_is_copied_gets_through_to_the_build() -> None:
    """`.dockerignore` lets nothing through but that."""
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    let_through = {line.removeprefix("!") for line in lines if line.startswith("!")}
    copied = [
        source
        for name, rest in instructions()
        if name == "COPY" and not rest.startswith("--from")
        for source in rest.split()[:-1]
    ]
    assert "*" in lines
    assert set(copied) == let_through
    assert all((ROOT / source).exists() for source in copied)


def test_the_load_generator_is_in_the_image_and_understands_its_options(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the compose file runs is what the Dockerfile copied."""
    python, script, *options = services()["load"]["command"]
    assert python == "python"
    assert ("COPY", "deploy/load.py deploy/healthcheck.py /opt/effserve/share/") in last_stage()
    assert script == "/opt/effserve/share/load.py"
    understood: list[object] = []

    async def note(asked: object) -> None:
        understood.append(asked)

    monkeypatch.setattr(load, "run", note)
    load.main(options)
    assert len(understood) == 1
