"""The image is built from the Dockerfile and run as the compose file runs it, by the container engine of Debian."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from service.client import Client
from tests.fixtures import jpeg
from tests.rehearsal import engine
from tests.rehearsal.engine import IMAGE, Container, podman

HEALTHCHECK = ("python", "/opt/effserve/share/healthcheck.py")


@pytest.fixture(scope="module")
def image() -> dict[str, Any]:
    """What the engine knows of the image, built."""
    engine.build()
    found: dict[str, Any] = json.loads(podman("image", "inspect", IMAGE).stdout)[0]
    return found


@pytest.fixture(scope="module")
def container(image: dict[str, Any]) -> Iterator[Container]:
    """One for all tests that leave it as it is."""
    assert image
    with engine.serving("effserve-rehearsal") as running:
        yield running


def test_the_image_says_how_to_run_it(image: dict[str, Any]) -> None:
    """User, command, signal, health check, ports."""
    config = image["Config"]
    assert (config["User"], config["StopSignal"]) == ("10001:10001", "SIGTERM")
    assert config["Cmd"] == ["effserve", "serve"]
    assert config["ExposedPorts"].keys() == {"8000/tcp", "9000/tcp"}
    assert image["Healthcheck"]["Test"] == ["CMD", *HEALTHCHECK]


@pytest.mark.parametrize("package", ["onnx", "onnxscript", "torch", "pip", "safetensors"])
def test_what_only_building_needs_is_not_in_it(image: dict[str, Any], package: str) -> None:
    """So that it stays small, and has less to be attacked by."""
    assert image
    done = podman(
        "run", "--rm", *engine.LIMITS, "--network=none", IMAGE, "python", "-c", f"import {package}", check=False
    )
    assert f"No module named '{package}'" in done.stderr


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_it_answers_without_privileges_from_a_root_that_cannot_be_written(container: Container, protocol: str) -> None:
    """A picture, by one of the networks that come along."""
    address = container.url if protocol == "http" else f"grpc://127.0.0.1:{container.grpc_port}"
    with Client(address) as client:
        answer = client.classify(jpeg(), budget_ms=5000)
    assert answer.decision.trained
    assert answer.predictions


def test_its_process_can_do_nothing_but_serve(container: Container) -> None:
    """Not root, no capabilities, no new ones, nothing to write to but the calibration and /tmp."""
    status = dict(re.findall(r"^(\w+):\s+(.*)$", container.run("cat", "/proc/1/status").stdout, re.MULTILINE))
    assert status["Uid"].split() == ["10001"] * 4
    assert {status[name] for name in ("CapEff", "CapPrm", "CapBnd")} == {"0" * 16}
    assert status["NoNewPrivs"] == "1"
    assert container.run("touch", "/opt/effserve/new", check=False).returncode != 0
    assert container.run("touch", "/var/lib/effserve/store/new", check=False).returncode != 0
    assert container.run("ls", "/var/cache/effserve").stdout != ""


def test_the_health_check_says_that_it_is_well(container: Container) -> None:
    """As the engine calls it."""
    assert podman("healthcheck", "run", container.name).returncode == 0


def test_the_health_check_tells_what_is_wrong(container: Container) -> None:
    """One line, and the status that means unhealthy: here nothing listens."""
    done = podman("exec", "--env=EFFSERVE_HTTP_PORT=1", container.name, *HEALTHCHECK, check=False)
    assert done.returncode == 1
    assert "refused" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_the_load_generator_of_the_compose_file_is_in_the_image(container: Container) -> None:
    """Its command, with this container's addresses, gets answers over both protocols."""
    described = engine.service("load")
    addresses = {
        "http://effserve:8000": container.url,
        "grpc://effserve:9000": f"grpc://127.0.0.1:{container.grpc_port}",
    }
    command = [addresses.get(word, word) for word in described["command"]]
    done = podman(
        "run",
        "--rm",
        "--network=host",
        *engine.LIMITS,
        *engine.confinement(described),
        IMAGE,
        *command,
        "--seconds",
        "4",
    )
    assert re.search(r"\d\d+ answered", done.stdout)


def test_it_stops_when_told(image: dict[str, Any]) -> None:
    """SIGTERM, the drain, and its own end: nobody has to kill it."""
    assert image
    with engine.serving("effserve-rehearsal-stop") as running:
        podman("stop", "--time=60", running.name)
        assert running.state()["ExitCode"] == 0
        assert '"event": "stopped"' in running.log()
