"""The benchmarks run, from the command line, against a small store."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures import tiny_store

ROOT = Path(__file__).resolve().parents[2]


def run(*arguments: str) -> None:
    """`python -m benchmarks.figures`; its output is shown when it fails."""
    command = [sys.executable, "-m", "benchmarks.figures", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_a_quick_run_writes_every_section_with_the_variants_of_the_store(tmp_path: Path) -> None:
    """One run writes one JSON file with the machine and all figures."""
    results = tmp_path / "results.json"
    run("--store", str(tiny_store(tmp_path / "store")), "--quick", "--out", str(results))
    written: dict[str, Any] = json.loads(results.read_text())
    figures = ["overhead", "inference", "memory", "budgets", "micro"]
    assert list(written) == ["machine", "others", *figures, "targets"]
    assert [one["figure"] for one in written["others"]] == figures
    assert {one["protocol"] for one in written["overhead"]} == {"http", "grpc"}
    assert [one["variant"] for one in written["inference"]] == ["b0", "b1"]
    assert written["memory"]["variants"] == 2
    assert {one["budget_ms"] for one in written["budgets"]} == {20, 50, 100, 200, 500}
    assert all(one["time_us"]["median"] > 0 for one in written["micro"])
