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


@pytest.mark.slow
def test_a_short_soak_writes_what_it_watched(tmp_path: Path) -> None:
    """Requests of all kinds on both protocols, changes of what is served, samples and their trends; in so short a time
    nothing is judged."""
    results, store = tmp_path / "results.json", tiny_store(tmp_path / "store")
    command = [sys.executable, "-m", "benchmarks.soak", "--store", str(store), "--out", str(results)]
    briefly = ["--seconds", "4", "--pause-s", "0.01", "--change-s", "0.5", "--every-s", "0.1"]
    done = subprocess.run([*command, *briefly], cwd=ROOT, capture_output=True, text=True, timeout=900)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    written: dict[str, Any] = json.loads(results.read_text())
    assert written["outcomes"]["answered"] > 0
    assert written["changes"] > 0
    assert list(written["trends"]) == ["resident", "own", "proportional", "threads", "files"]
    assert all(one["resident"] > one["own"] > 0 for one in written["samples"])


@pytest.mark.slow
def test_the_protocols_are_compared_in_turns(tmp_path: Path) -> None:
    """Each by as many requests."""
    results = tmp_path / "results.json"
    store = str(tiny_store(tmp_path / "store", ["b0"], trained=False))
    command = [sys.executable, "-m", "benchmarks.protocols", "--store", store, "--out", str(results), "--requests", "5"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    ways: list[dict[str, Any]] = json.loads(results.read_text())["ways"]
    assert [one["way"] for one in ways] == [
        "http /classify",
        "http OIP, binary",
        "grpc Classify",
        "grpc OIP, raw BYTES",
    ]
    assert all(one["overhead"]["runs"] == 5 and one["overhead"]["median"] > 0 for one in ways)


@pytest.mark.slow
def test_measuring_can_be_wrapped_around_the_service(tmp_path: Path) -> None:
    """Its answers stay, each step takes its time, and what all take comes to the wall clock times the cores."""
    store = str(tiny_store(tmp_path / "store", ["b0"], trained=False))
    steps = _written("loop", "--store", store, "--requests", "5", out=tmp_path / "loop.json")["steps"]
    assert steps["all"]["runs"] == 5
    assert all(us["p95"] > 0 for us in steps.values())
    found = _written("profile", "--store", store, "--seconds", "1", out=tmp_path / "profile.json")
    saturated, sampled = found["saturated"], found["sampled"]
    assert 0.8 < sum(saturated["cpu_us"].values()) / saturated["wall_us"] < 1.2
    assert {"model_run", "Conv"} < set(saturated["operators_us"])
    assert bool(sampled["places"]) != bool(sampled["reason"])


def _written(module: str, *arguments: str, out: Path) -> dict[str, Any]:
    """By a benchmark of its own; its output is shown when it fails."""
    command = [sys.executable, "-m", f"benchmarks.{module}", *arguments, "--calibrate-s", "0.05", "--out", str(out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    content: dict[str, Any] = json.loads(out.read_text())
    return content


@pytest.mark.slow
@pytest.mark.parametrize(("runs", "protocol"), [("k1:poisson", "http"), ("p2:poisson", "grpc")])
def test_a_real_run_is_compared_with_the_simulator(runs: str, protocol: str, tmp_path: Path) -> None:
    """A small store, a short while: everything is written, and can be simulated again without a server."""
    results, work = tmp_path / "results.json", tmp_path / "work"
    command = [
        sys.executable, "-m", "benchmarks.realtime", "--store", str(tiny_store(tmp_path / "store", trained=False)),
        "--quick", "--runs", runs, "--protocol", protocol, "--seconds", "1", "--record", "4", "--variants", "b0,b1",
        "--load", "0.1", "--work", str(work), "--out", str(results),
    ]  # fmt: skip
    first, again = _validated(command, results), _validated([*command, "--again"], results)
    names = [run.replace(":", "-") for run in runs.split(",")]
    assert [one["run"] for one in first["comparisons"]] == names
    assert all(one["lost"] == 0 and one["requests"] > 0 for one in first["comparisons"])
    assert all(one["runs_alone"] > 0 and one["runs_together"] > 0 for one in first["service"])
    assert {part["part"] for part in first["around"]} == {"receive", "dispatch", "arrival", "respond", "outside"}
    assert [one["figure"] for one in first["others"]] == ["recording", *names]
    assert again == first


def _validated(command: list[str], results: Path) -> dict[str, Any]:
    """The results. Status 1 says that a run was not accepted, which is no wonder here."""
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    assert "written to" in done.stderr, done.stdout + done.stderr
    content: dict[str, Any] = json.loads(results.read_text())
    return content
