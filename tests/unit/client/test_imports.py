"""The clients are quick to import, and bring nothing of a server into the program that uses them."""

import subprocess
import sys

import pytest

SERVERS = {"onnxruntime", "fastapi", "starlette", "uvicorn", "numpy", "PIL", "prometheus_client", "structlog"}
OURS = {"service.edges", "service.pipeline", "service.dataplane", "service.settings", "model_store"}
HTTP, GRPC = {"httpx", "pydantic"}, {"grpc", "google.protobuf"}


def imported(program: str) -> set[str]:
    """Names of all modules after a program, without what comes with the interpreter."""
    code = f"import sys; before = set(sys.modules); {program}; print(*(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize(
    ("program", "foreign"),
    [
        ("import service.client", HTTP | GRPC),
        ("from service.client import Client; Client('http://localhost:1').close()", GRPC),
        ("from service.client import Client; Client('grpc://localhost:1').close()", HTTP),
    ],
)
def test_only_what_the_address_names_is_imported(program: str, foreign: set[str]) -> None:
    """And never a server."""
    assert imported(program) & (SERVERS | OURS | foreign) == set()
