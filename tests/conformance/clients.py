"""Runs other projects' clients, unmodified and in environments of their own, against a server of ours."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.fixtures import jpeg, tiny_store
from tests.integration.process import Server, serving

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 600
ALLOWING = {
    "EFFSERVE_STORE_CHANGES": "explicit",
    "EFFSERVE_LOG_CHANGES": "true",
    "EFFSERVE_TRACING_CHANGES": "true",
    # Nobody listens there: traces are dropped.
    "EFFSERVE_TRACING_ENDPOINT": "http://127.0.0.1:1",
}
"""Settings of the server: everything that a client may change, it may change here."""

Results = Mapping[str, str | None]
"""Check → None, or the reason why it failed."""


@dataclass(frozen=True, eq=False)
class Suite:
    """Clients that share an environment and a script, which is called with one of them, both addresses and a photo."""

    name: str
    title: str
    intro: str
    clients: Mapping[str, str]
    """As the script takes it → as the page shows it."""
    tool: str = "bin/python"
    """What has to be there."""
    runs_isolated: bool = True
    """By the environment's own Python; otherwise by ours, with the folder of the environment as a further argument."""

    @property
    def folder(self) -> Path:
        """Made by `make conformance`."""
        return ROOT / f".venv-conformance-{self.name}"

    @property
    def script(self) -> Path:
        """Prints its results as a line of JSON."""
        return ROOT / "tests" / "conformance" / f"{self.name}.py"

    @property
    def installed(self) -> bool:
        """Whether it can run on this machine."""
        return (self.folder / self.tool).exists()

    @property
    def packages(self) -> list[str]:
        """What is installed for it."""
        lines = (ROOT / "requirements" / f"conformance-{self.name}.txt").read_text().splitlines()
        return [line for line in lines if line and not line.startswith("#")]


SUITES = (
    Suite(
        "triton",
        "Triton's clients",
        "The client library of Triton Inference Server. What the checks do is told in [triton.py]"
        "(../tests/conformance/triton.py).",
        {client: f"tritonclient.{client}" for client in ("http", "http.aio", "grpc", "grpc.aio")},
    ),
    Suite(
        "kserve",
        "KServe's clients",
        "The client library of KServe, over both protocols; the checks stand in [kserve.py]"
        "(../tests/conformance/kserve.py). Its gRPC messages have no field for numbers with a fraction in parameters: "
        "it sees the decision's variant and reason, and none of the times.",
        {"rest": "kserve.InferenceRESTClient", "grpc": "kserve.InferenceGRPCClient"},
    ),
    Suite(
        "perf",
        "perf_analyzer",
        "Triton's load generator: requests at random moments (Poisson), files as `BYTES` and pixels, budgets by header "
        "and by parameter, and the server's own times beside its own. The checks stand in [perf.py]"
        "(../tests/conformance/perf.py).",
        {"http": "perf_analyzer -i http", "grpc": "perf_analyzer -i grpc"},
        tool="usr/lib/libb64.so.0d",
        runs_isolated=False,
    ),
    Suite(
        "schema",
        "schemathesis",
        "Asks each operation of the OpenAPI document with made-up and with good parameters: no failure of the server, "
        "and no status, type, header or document that the page does not describe. Loading and unloading models is left "
        "out, because it would change what the others ask, and so is `/events`, which has no end. That good data are "
        "accepted is not asked where the document cannot say what is good: a file that is an image, a budget that "
        "suffices. The script is [schema.py](../tests/conformance/schema.py).",
        {"openapi": "schemathesis"},
    ),
)


def results(suite: Suite, client: str, server: Server, image: Path) -> Results:
    """All checks of one client. Raises `subprocess.CalledProcessError` when they could not be made."""
    addresses = [f"127.0.0.1:{port}" for port in (server.http_port, server.grpc_port)]
    asked = [client, *addresses, str(image)]
    # Isolated: our own packages are not those that the clients were installed with.
    command = (
        [str(suite.folder / suite.tool), "-I", str(suite.script), *asked]
        if suite.runs_isolated
        else [sys.executable, str(suite.script), *asked, str(suite.folder)]
    )
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=PATIENCE_S)
    found: Results = json.loads(done.stdout.splitlines()[-1])
    return found


def all_results(suite: Suite) -> dict[str, Results]:
    """Of all clients of a suite, against one server."""
    with tempfile.TemporaryDirectory() as folder:
        image = Path(folder) / "photo.jpg"
        image.write_bytes(jpeg(160, 120))
        store = tiny_store(Path(folder) / "store")
        with serving(store, Path(folder), ALLOWING) as server:
            return {client: results(suite, client, server, image) for client in suite.clients}
