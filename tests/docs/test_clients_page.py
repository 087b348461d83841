"""The examples of docs/clients.md do what the page says, each in the environment that it names, on a real server.

What the machine lacks is skipped with the reason; `make conformance` installs the environments and runs this again.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conformance.clients import SUITES
from tests.conformance.reflected import play
from tests.fixtures import jpeg, tiny_store
from tests.integration.process import PATIENCE_S, Server, serving

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "clients.md").read_text(encoding="utf-8")
LINES = [line for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()]
PROGRAMS = re.findall(r"<!-- runs with: (\w+) -->\n```python\n(.*?)```", PAGE, re.DOTALL)
GRPCURL = [line for line in LINES if line.startswith("grpcurl ")]
EFFSERVE = f"{sys.executable} -m service "
SAID = {"effserve": r"b[01] .*\n", "triton": r"b[01]\n|\(2, 10\)\n", "kserve": r"b[01] \(1, 10\)\nb[01]\n"}
"""What a program of each environment prints, among other things."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the photo lies."""
    made = tmp_path_factory.mktemp("examples")
    (made / "photo.jpg").write_bytes(jpeg(160, 120))
    return made


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Server]:
    """Two trained variants."""
    with serving(tiny_store(folder / "store"), folder) as running:
        yield running


def there(text: str, server: Server) -> str:
    """The same for the ports that it has."""
    here = text.replace("localhost:8000", f"127.0.0.1:{server.http_port}")
    return here.replace("localhost:9000", f"127.0.0.1:{server.grpc_port}")


def output(command: str, folder: Path, **environment: str) -> str:
    """What a command of the shell prints. It must succeed and say nothing on standard error."""
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command], cwd=folder, env=os.environ | environment, capture_output=True,
        text=True, timeout=PATIENCE_S, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    return done.stdout


def interpreter(environment: str) -> list[str]:
    """Of the environment. Skips where it is not installed."""
    if environment == "effserve":
        return [sys.executable]
    suite = next(suite for suite in SUITES if suite.name == environment)
    if not suite.installed:
        pytest.skip(f"no {suite.title} here; `make conformance` installs them")
    return [str(suite.folder / suite.tool), "-I"]


def test_there_are_examples_of_each_kind() -> None:
    """Else nothing would be run."""
    assert {environment for environment, _ in PROGRAMS} == set(SAID)
    assert len(PROGRAMS) == PAGE.count("```python")
    assert {line.split()[0] for line in LINES} >= {"curl", "grpcurl", "effserve", "gzip", "base64"}


@pytest.mark.parametrize(
    ("environment", "program"), PROGRAMS, ids=[f"{name}-{n}" for n, (name, _) in enumerate(PROGRAMS)]
)
def test_a_program_of_the_page_runs(server: Server, folder: Path, environment: str, program: str) -> None:
    """And prints what answered."""
    done = subprocess.run(
        [*interpreter(environment), "-c", there(program, server)], cwd=folder, env={"PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, timeout=PATIENCE_S, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert re.search(SAID[environment], done.stdout), done.stdout


@pytest.mark.parametrize("line", [line for line in LINES if "curl -" in line and not line.startswith("grpcurl")])
def test_a_command_for_curl_is_answered(server: Server, folder: Path, line: str) -> None:
    """With a success, and JSON or events."""
    if shutil.which("curl") is None:
        pytest.skip("no curl here")
    command = there(line, server).replace("curl -sS", "curl --fail-with-body -sS")
    assert output(command, folder).startswith(("{", "[", "event: "))


@pytest.mark.parametrize("line", [line for line in LINES if line.startswith("effserve ")])
def test_a_command_of_effserve_is_answered(server: Server, folder: Path, line: str) -> None:
    """The server is named in the environment where the line does not name it."""
    command = there(line, server).replace("effserve ", EFFSERVE, 1)
    assert output(command, folder, EFFSERVE_URL=server.url, PYTHONPATH=str(ROOT))


@pytest.mark.parametrize("line", GRPCURL)
def test_a_command_for_grpcurl_means_something(server: Server, folder: Path, line: str) -> None:
    """Played through reflection, by a client with grpcurl's words."""
    expanded = output(f"printf %s {_quoted(there(line, server))}", folder)
    assert play(expanded)


@pytest.mark.skipif(shutil.which("grpcurl") is None, reason="no grpcurl here")
@pytest.mark.parametrize("line", GRPCURL)
def test_a_command_for_grpcurl_is_answered(server: Server, folder: Path, line: str) -> None:
    """By grpcurl itself, where there is one."""
    assert output(there(line, server), folder)


def _quoted(line: str) -> str:
    """So that the shell replaces `$(…)` and leaves the rest as it is."""
    return '"' + line.replace("\\", "\\\\").replace('"', '\\"') + '"'
