"""One service under load and one Prometheus that watches it, for all tests of a run: they take the most time."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.integration.process import Server, serving
from tests.rehearsal.prometheus import PATIENCE_S, Prometheus, watching
from tests.rehearsal.tools import ROOT, need

SETTINGS = {
    "EFFSERVE_LANES_COUNT": "1",
    # None, so that the high tide of the load is too much for a moment.
    "EFFSERVE_LIMITS_PATIENCE_MS": "0",
}
LOAD = ("--rate", "45", "--swing", "8")


@pytest.fixture(scope="session")
def bundled_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The networks that come along, built."""
    store = tmp_path_factory.mktemp("store")
    command = [sys.executable, "-m", "service", "build", "--weights", "bundled", "--store", str(store)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return store


@pytest.fixture(scope="session")
def watched(bundled_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """Prometheus, when every rule has been evaluated over a service that has seen load."""
    program = need("prometheus")
    with (
        serving(bundled_store, tmp_path_factory.mktemp("serve"), SETTINGS) as server,
        loading(server),
        watching(program, server.http_port, tmp_path_factory.mktemp("prometheus")) as prometheus,
    ):
        _wait_for_rules(prometheus)
        yield prometheus


@contextmanager
def loading(server: Server) -> Iterator[None]:
    """Load as the compose file's profile `load` makes it, only more."""
    addresses = ("--http", server.url, "--grpc", f"grpc://127.0.0.1:{server.grpc_port}")
    process = subprocess.Popen(
        [sys.executable, "deploy/load.py", *addresses, *LOAD], cwd=ROOT, stdout=subprocess.DEVNULL
    )
    try:
        yield
    finally:
        process.terminate()
        process.wait(PATIENCE_S)


def _wait_for_rules(prometheus: Prometheus) -> None:
    """Until two tides have passed: what only happens at the high tide has happened, and ebbed."""
    until_s = time.monotonic() + PATIENCE_S
    while not prometheus.instant('sum(increase(effserve_requests_total{outcome="queue-full"}[1m])) > 0'):
        assert time.monotonic() < until_s, "the load was never too much"
        time.sleep(1)
    time.sleep(16)
