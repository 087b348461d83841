"""Debian's container engine over storage of its own: builds the image, and runs it as the compose file says.

What stands in for the base image is Debian with its own Python: registries of images are no packages. Containers share
the machine's network, because that needs no set-up; ports are free ones on the loopback address.
"""

import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.rehearsal.prometheus import PATIENCE_S
from tests.rehearsal.tools import BROUGHT, ROOT

BASE, IMAGE = "localhost/python-base", "localhost/effserve"
COMPOSE = ROOT / "docker-compose.yml"
OF_THE_MACHINE = ("/etc/pip.conf", "/etc/ssl/certs/ca-certificates.crt")
"""What it knows of its package index, for the build."""
LIMITS = ("--ulimit=nofile=1024:1024", "--ulimit=nproc=1024:1024")
"""Within those that a machine may have itself: the engine's defaults are larger."""


def state() -> str:
    """`works`, or why there is none."""
    file = BROUGHT / "engine"
    return file.read_text().strip() if file.is_file() else "not tried; `make rehearsal` does"


def _call(*command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"CONTAINERS_STORAGE_CONF": str(BROUGHT / "storage.conf")}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert not check or done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-4000:]}{done.stderr[-4000:]}"
    return done


def podman(*arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run it; its output is shown when it fails and should not have."""
    return _call("podman", "--runtime", "runc", *arguments, check=check)


def build() -> None:
    """Every step of the Dockerfile, from what `.dockerignore` lets through."""
    if state() != "works":
        pytest.skip(f"no container engine: {state()}")
    mounted = [f"--volume={path}:{path}:ro" for path in OF_THE_MACHINE if Path(path).is_file()]
    _call(
        "buildah", "bud", "--isolation", "chroot", "--network", "host", "--layers", "--format", "docker",
        f"--build-arg=PYTHON={BASE}", *mounted, "--file", "deploy/Dockerfile", "--tag", IMAGE, ".",
    )  # fmt: skip


def service(name: str) -> dict[str, Any]:
    """As the compose file describes it."""
    found: dict[str, Any] = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))["services"][name]
    return found


def confinement(of: Mapping[str, Any]) -> list[str]:
    """How the compose file confines a service, in the engine's words."""
    options = [f"--user={of['user']}", f"--pids-limit={of['pids_limit']}", f"--memory={of['mem_limit']}"]
    options += [f"--cap-drop={one}" for one in of["cap_drop"]]
    options += [f"--security-opt={one.removesuffix(':true')}" for one in of["security_opt"]]
    options += [f"--tmpfs={one}" for one in of["tmpfs"]]
    return [*options, "--read-only"] if of["read_only"] else options


@dataclass(frozen=True, slots=True)
class Container:
    """A running effserve."""

    name: str
    http_port: int
    grpc_port: int

    @property
    def url(self) -> str:
        """Its address over HTTP."""
        return f"http://127.0.0.1:{self.http_port}"

    def run(self, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """A command inside it."""
        return podman("exec", self.name, *command, check=check)

    def state(self) -> dict[str, Any]:
        """What the engine knows of it."""
        found: dict[str, Any] = json.loads(podman("inspect", self.name).stdout)[0]["State"]
        return found

    def log(self) -> str:
        """What it has written."""
        return podman("logs", self.name).stdout


@contextmanager
def serving(name: str) -> Iterator[Container]:
    """A ready container of the image, confined as the compose file says; removed afterwards."""
    described = service("effserve")
    http_port, grpc_port = _free_ports(2)
    settings = {
        "EFFSERVE_HTTP_HOST": "127.0.0.1", "EFFSERVE_HTTP_PORT": str(http_port),
        "EFFSERVE_GRPC_HOST": "127.0.0.1", "EFFSERVE_GRPC_PORT": str(grpc_port),
        "EFFSERVE_CALIBRATION_SECONDS_PER_VARIANT": "0.05",
    }  # fmt: skip
    volumes = [f"--volume={name}-{volume}" for volume in described["volumes"]]
    environment = [f"--env={key}={value}" for key, value in settings.items()]
    podman(
        "run", "--detach", f"--name={name}", "--network=host", *LIMITS, *confinement(described), *volumes, *environment,
        IMAGE,
    )  # fmt: skip
    container = Container(name, http_port, grpc_port)
    try:
        _wait(container)
        yield container
    finally:
        podman("rm", "--force", "--volumes", "--time=0", name, check=False)
        for volume in described["volumes"]:
            podman("volume", "rm", "--force", f"{name}-{volume.partition(':')[0]}", check=False)


def _wait(container: Container) -> None:
    until_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < until_s:
        try:
            if httpx.get(f"{container.url}/readyz").is_success:
                return
        except httpx.TransportError:
            time.sleep(0.1)
    raise TimeoutError(f"the container did not get ready:\n{podman('logs', container.name).stderr}")


def _free_ports(count: int) -> Sequence[int]:
    """Such as nobody had a moment ago."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports
