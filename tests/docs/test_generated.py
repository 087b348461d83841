"""The pages that repeat what the code says are those that the code would write now."""

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from service import settings
from service.core.errors import ErrorKind
from service.telemetry.table import TABLE

DOCS = Path(__file__).resolve().parents[2] / "docs"
GENERATE = DOCS / "generate.py"


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    """The script as a module."""
    spec = importlib.util.spec_from_file_location("generate_docs", GENERATE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_committed_pages_are_current() -> None:
    """`--check` finds no difference and says nothing."""
    checked = subprocess.run([sys.executable, str(GENERATE), "--check"], capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")


@pytest.mark.parametrize("page", ["settings.md", "metrics.md", "errors.md"])
def test_a_stale_page_is_named_in_one_line(
    generate: ModuleType, page: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A folder with one edited page fails the check, which changes nothing; writing anew mends it."""
    assert generate.main([], tmp_path) == 0
    (tmp_path / page).write_text("edited")
    assert generate.main(["--check"], tmp_path) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"{page} in docs/ ")
    assert (tmp_path / page).read_text() == "edited"
    assert generate.main([], tmp_path) == 0
    assert generate.main(["--check"], tmp_path) == 0


def test_a_missing_page_is_stale(generate: ModuleType, tmp_path: Path) -> None:
    """Deleting one is noticed."""
    assert generate.main(["--check"], tmp_path) == 1


@pytest.mark.parametrize("name", settings.names())
def test_every_setting_is_on_its_page(name: str) -> None:
    """With its environment variable, in one row."""
    assert f"| `{name}` | `{settings.variable(name)}` |" in (DOCS / "settings.md").read_text()


@pytest.mark.parametrize("variable", sorted(settings.NOT_SETTINGS))
def test_variables_that_are_not_settings_are_there_too(variable: str) -> None:
    """Whoever looks for them looks there."""
    assert f"| `{variable}` |" in (DOCS / "settings.md").read_text()


@pytest.mark.parametrize("name", [spec.exposed_name for spec in TABLE])
def test_every_metric_is_on_its_page(name: str) -> None:
    """As it stands in `/metrics`."""
    assert f"| `{name}` |" in (DOCS / "metrics.md").read_text()


@pytest.mark.parametrize("kind", ErrorKind)
def test_every_kind_of_failure_is_on_its_page(kind: ErrorKind) -> None:
    """As clients read it."""
    assert f"| `{kind}` |" in (DOCS / "errors.md").read_text()


def test_pages_do_not_depend_on_the_machine(
    generate: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the home folder nor settings of the environment show up in them."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("EFFSERVE_HTTP_PORT", "4711")
    page = generate.settings_page()
    assert page == (DOCS / "settings.md").read_text()
    assert "`$XDG_DATA_HOME/effserve/store`" in page
