"""Execution providers beside the CPU's on this machine: `python -m benchmarks.providers --store STORE`.

Builds of ONNX Runtime exclude each other, so `--python` names the interpreter of another environment (`make openvino`
makes one), in which the same is measured and compared with the CPU provider of that build. Of each variant: times in
turns, one image, one thread; how far its logits are from the CPU provider's; operators that the provider leaves to the
CPU; and how long a run goes on after it was told to stop, on which policy K1 depends.
"""

import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from benchmarks import machine, report
from benchmarks.report import Table, say
from benchmarks.turns import turns
from service.pipeline import termination
from service.pipeline.session import (
    ExecutionProvider,
    Session,
    SessionError,
    SessionOptions,
    check_provider,
    installed_providers,
)
from service.pipeline.store import StoredVariant, scan

NEVER = "goes on to its end"


@dataclass(frozen=True, slots=True)
class Row:
    """One variant on one provider, beside the CPU's of the same build."""

    provider: str
    build: str
    variant: str
    size_px: int
    cpu_ms: float
    """Least time."""
    provider_ms: float
    cpu_median_ms: float
    provider_median_ms: float
    off: float
    """Largest difference of a logit, as a share of the largest logit."""
    same: bool
    """Whether both name the same class for each image tried."""
    stop_ms: float | None
    """Median time from being told to stop to the end; None when runs go on."""
    left_to_cpu: str


def measure(store: Path, rounds: int, device: str | None) -> list[Row]:
    """Every variant on every provider that is installed here, beside the CPU."""
    others = [one for one in installed_providers() if one is not ExecutionProvider.CPU]
    return [_row(entry, provider, device, rounds) for provider in others for entry in scan(store).entries]


def _row(entry: StoredVariant, provider: ExecutionProvider, device: str | None, rounds: int) -> Row:
    say(f"{entry.manifest.name} on {provider} ...")
    size_px = entry.manifest.preprocessing.input_size_px
    pixels = np.random.default_rng(0).integers(0, 256, (4, size_px, size_px, 3), dtype=np.uint8)
    cpu, other = _session(entry, SessionOptions()), _session(entry, SessionOptions(provider, device=device))
    ours, theirs = (np.concatenate([one.run(image[None]) for image in pixels]) for one in (cpu, other))
    times = turns(
        {"cpu": partial(cpu.run, pixels[:1]), "other": partial(other.run, pixels[:1])}, rounds=rounds
    )  # fmt: skip
    with ThreadPoolExecutor(1) as pool:
        usual_s = times["other"].median / 1e3
        stop_s = termination.measure(other, pixels[:1], usual_s=usual_s, pool=pool, clock=time.perf_counter)
    return Row(
        provider=provider,
        build=f"onnxruntime {machine.describe().onnxruntime}",
        variant=entry.manifest.name,
        size_px=size_px,
        cpu_ms=times["cpu"].least,
        provider_ms=times["other"].least,
        cpu_median_ms=times["cpu"].median,
        provider_median_ms=times["other"].median,
        off=float(np.abs(ours - theirs).max() / np.abs(ours).max()),
        same=bool((ours.argmax(axis=1) == theirs.argmax(axis=1)).all()),
        stop_ms=None if stop_s is None else stop_s * 1e3,
        left_to_cpu=", ".join(f"{count} {operator}" for operator, count in other.left_to_cpu.items()),
    )


def _session(entry: StoredVariant, options: SessionOptions) -> Session:
    size_px, classes = entry.manifest.preprocessing.input_size_px, entry.manifest.labels.classes
    return Session(entry.graph, input_size_px=size_px, classes=classes, options=options)


def elsewhere(python: Path, store: Path, rounds: int) -> list[Row]:
    """The same by another interpreter."""
    command = [str(python), "-m", "benchmarks.providers", "--store", str(store), "--rounds", str(rounds), "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, cwd=machine.ROOT)
    return [Row(**row) for row in json.loads(done.stdout)]


def missing(found: set[str]) -> list[list[str]]:
    """Providers that were not measured, each with what the service says of it."""
    rows = []
    for provider in ExecutionProvider:
        if provider is not ExecutionProvider.CPU and provider not in found:
            try:
                check_provider(provider)
            except SessionError as error:
                rows.append([provider, str(error)])
    return rows


def table(rows: list[Row]) -> Table:
    """All of them."""
    heads = ("variant", "px", "provider", "build", "cpu ms", "its ms", "÷", "logits off", "same class", "stops after",
             "left to the CPU")  # fmt: skip
    note = "Milliseconds of the process's processor time: least, and median in brackets."
    return Table("Execution providers beside the CPU's", heads, [_cells(row) for row in rows], note)


def _cells(row: Row) -> list[str]:
    return [
        row.variant, str(row.size_px), row.provider, row.build, f"{row.cpu_ms:.2f} ({row.cpu_median_ms:.2f})",
        f"{row.provider_ms:.2f} ({row.provider_median_ms:.2f})", f"{row.provider_ms / row.cpu_ms:.2f}",
        f"{row.off:.1e}", "yes" if row.same else "no", NEVER if row.stop_ms is None else f"{row.stop_ms:.2f} ms",
        row.left_to_cpu or "nothing",
    ]  # fmt: skip


def main(
    store: Annotated[Path, typer.Option(help="Variants to run.")],
    python: Annotated[
        list[Path] | None, typer.Option(help="Interpreter of an environment with another build; may be given again.")
    ] = None,
    rounds: Annotated[int, typer.Option(min=3, help="Runs of each.")] = 60,
    device: Annotated[str | None, typer.Option(help="As `lanes.device`.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Rows only, for a program.")] = False,
) -> None:
    """Measure what is installed, and say what is not."""
    rows = measure(store, rounds, device)
    for other in python or []:
        rows += elsewhere(other.absolute(), store.absolute(), rounds)
    if as_json:
        sys.stdout.write(json.dumps([asdict(row) for row in rows]))
        return
    absent = Table("Not measured: not installed", ("provider", "why"), missing({row.provider for row in rows}))
    report.show([table(rows), absent, report.machine_table(machine.describe())])


if __name__ == "__main__":
    typer.run(main)
