"""Runs other projects' clients, unmodified and in an environment of their own, against a server of ours."""

import json
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from tests.fixtures import jpeg, tiny_store
from tests.integration.process import Server, serving

ROOT = Path(__file__).resolve().parents[2]
PYTHON = ROOT / ".venv-conformance" / "bin" / "python"
"""Made by `make conformance`."""
CLIENTS = ("http", "http.aio", "grpc", "grpc.aio")
"""Modules of `tritonclient`."""
PATIENCE_S = 300

Results = Mapping[str, str | None]
"""Check → None, or the reason why it failed."""


def results(client: str, server: Server, image: Path) -> Results:
    """All checks of one client. Raises `subprocess.CalledProcessError` when they could not be made."""
    script = ROOT / "tests" / "conformance" / "triton.py"
    addresses = [f"127.0.0.1:{port}" for port in (server.http_port, server.grpc_port)]
    done = subprocess.run(
        # Isolated: our own packages are not those that the clients were installed with.
        [PYTHON, "-I", script, client, *addresses, image],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=PATIENCE_S,
    )
    found: Results = json.loads(done.stdout.splitlines()[-1])
    return found


def all_results() -> dict[str, Results]:
    """Of all clients, against one server."""
    with tempfile.TemporaryDirectory() as folder:
        image = Path(folder) / "photo.jpg"
        image.write_bytes(jpeg(160, 120))
        with serving(tiny_store(Path(folder) / "store"), Path(folder)) as server:
            return {client: results(client, server, image) for client in CLIENTS}
