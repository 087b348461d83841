"""The examples of docs/open-inference.md do what the page says, on a real server."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conformance.clients import ALLOWING, SUITES
from tests.fixtures import jpeg, tiny_store
from tests.integration.process import PATIENCE_S, Server, serving

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "open-inference.md").read_text(encoding="utf-8")
SHELL = [line for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()]
TRITON = next(suite for suite in SUITES if suite.name == "triton")
(PROGRAM,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the photo lies."""
    made = tmp_path_factory.mktemp("examples")
    (made / "photo.jpg").write_bytes(jpeg(160, 120))
    return made


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Server]:
    """Two trained variants; everything that may be changed can be changed."""
    with serving(tiny_store(folder / "store"), folder, ALLOWING) as running:
        yield running


def there(text: str, server: Server) -> str:
    """The same for the ports that it has."""
    here = text.replace("localhost:8000", f"127.0.0.1:{server.http_port}")
    return here.replace("localhost:9000", f"127.0.0.1:{server.grpc_port}")


@pytest.mark.parametrize("line", SHELL, ids=range(len(SHELL)))
def test_a_command_of_the_page_is_answered(server: Server, folder: Path, line: str) -> None:
    """With a success, and JSON."""
    command = there(line, server).replace("curl -s", "curl -sS --fail-with-body")
    done = subprocess.run(
        ["bash", "-c", command], cwd=folder, capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    assert (done.returncode, done.stderr, done.stdout[:1] in ("{", "[")) == (0, "", True), done.stdout


@pytest.mark.skipif(not TRITON.installed, reason="no tritonclient here; `make conformance` installs it")
def test_the_program_of_the_page_runs(server: Server, folder: Path) -> None:
    """Its last line is the variant."""
    program = there(PROGRAM, server)
    done = subprocess.run(
        [TRITON.folder / TRITON.tool, "-I", "-c", program],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=True,
    )
    assert done.stdout.splitlines()[-1] in ("b0", "b1")
