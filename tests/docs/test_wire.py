"""The committed gRPC stubs are those of the .proto file."""

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from service.wire import classifier_pb2

GENERATE = Path(__file__).resolve().parents[2] / "proto" / "generate.py"


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    """The script as a module."""
    spec = importlib.util.spec_from_file_location("generate", GENERATE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_committed_stubs_are_current() -> None:
    """`--check` finds no difference and says nothing."""
    checked = subprocess.run([sys.executable, str(GENERATE), "--check"], capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")


def test_a_stub_that_differs_is_named_in_one_line(
    generate: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A folder with one edited stub fails the check, which changes nothing."""
    assert generate.main([], tmp_path) == 0
    (tmp_path / "classifier_pb2.pyi").write_text("edited")
    assert generate.main(["--check"], tmp_path) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("classifier_pb2.pyi ")
    assert (tmp_path / "classifier_pb2.pyi").read_text() == "edited"


def test_the_descriptor_has_its_public_name() -> None:
    """Other languages import it, and reflection shows it, under this path."""
    assert classifier_pb2.DESCRIPTOR.name == "effserve/v1/classifier.proto"
