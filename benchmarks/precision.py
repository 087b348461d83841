"""What 8-bit integers cost and gain on this machine: `python -m benchmarks.precision --store STORE`.

Each quantised variant of the store and its original run in turns, one image, one thread; their accuracies come from the
comparison in the manifest. With `--native STORE`, plain variants of another store, trained or not, are quantised for
the occasion by noise: latency does not depend on weights, so this shows sizes that no trained network here has.
"""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from benchmarks import machine, report
from benchmarks.report import Table, say
from benchmarks.stats import Spread
from benchmarks.turns import turns
from model_store.builder.quantised import quantised
from model_store.manifest import GRAPH_FILE, sha256_of
from service.core.derived import Paired, least_change
from service.pipeline.cpus import saturates
from service.pipeline.graphs import open_session
from service.pipeline.session import SessionOptions
from service.pipeline.store import StoredVariant, scan

ANY = float("inf")
"""Noise tells nothing of accuracy."""
NOISE_IMAGES = 4


@dataclass(frozen=True, slots=True)
class Row:
    """A network in both precisions."""

    name: str
    size_px: int
    float_ms: Spread
    int8_ms: Spread
    float_top1: float | None = None
    """What budgets rank the original by."""
    change: tuple[float, float] | None = None
    """Of top-1 on the images of the comparison, and the least that it can be."""
    images: int | None = None

    @property
    def ratio(self) -> float:
        """Of least times: below 1, 8-bit integers are quicker."""
        return self.int8_ms.least / self.float_ms.least


def pairs(store: Path) -> Iterator[tuple[StoredVariant, StoredVariant]]:
    """Originals with what was made from exactly them."""
    entries = {entry.manifest.name: entry for entry in scan(store).entries}
    for entry in entries.values():
        made = entry.manifest.quantisation
        if made is not None and made.original in entries:
            original = entries[made.original]
            if original.manifest.graph_sha256 == made.original_sha256:
                yield original, entry


def measured(original: StoredVariant, other: Path, rounds: int) -> tuple[Spread, Spread]:
    """Milliseconds of the graph and the one in the folder `other`, in turns, each in the form that is served."""
    with tempfile.TemporaryDirectory() as kept:
        options = SessionOptions(graphs=Path(kept))
        runs = {"float32": _run(original, options), "int8": _run(_elsewhere(original, other), options)}
        times = turns(runs, rounds=rounds)
    return times["float32"], times["int8"]


def _elsewhere(entry: StoredVariant, folder: Path) -> StoredVariant:
    told = {"graph_sha256": sha256_of(folder / GRAPH_FILE)}
    return StoredVariant(entry.manifest.model_copy(update=told), folder, entry.labels)


def _run(entry: StoredVariant, options: SessionOptions) -> Callable[[], object]:
    return partial(open_session(entry, options, say).run, noise(entry.manifest.preprocessing.input_size_px, 1))


def noise(size_px: int, images: int) -> np.ndarray:
    """[images, size, size, 3], bytes."""
    return np.random.default_rng(0).integers(0, 256, (images, size_px, size_px, 3), dtype=np.uint8)


def trained(store: Path, rounds: int) -> Iterator[Row]:
    """Pairs of the store."""
    for original, other in pairs(store):
        say(f"{other.manifest.name} ...")
        float_ms, int8_ms = measured(original, other.folder, rounds)
        assert other.manifest.quantisation is not None
        found = other.manifest.quantisation.comparison
        paired = Paired(found.images, found.only_original, found.only_this)
        change = (found.only_this - found.only_original) / found.images
        size_px, name = original.manifest.preprocessing.input_size_px, original.manifest.name
        yield Row(
            name, size_px, float_ms, int8_ms, found.original_top1, (change, least_change(paired)), found.images
        )  # fmt: skip


def native(store: Path, names: Sequence[str], rounds: int) -> Iterator[Row]:
    """Variants as they are, quantised by noise."""
    entries = {entry.manifest.name: entry for entry in scan(store).entries}
    for name in names:
        say(f"{name}, quantised by noise ...")
        entry = entries[name]
        size_px = entry.manifest.preprocessing.input_size_px
        made = quantised(entry.graph, noise(size_px, NOISE_IMAGES), reduced_range=saturates(), tolerance_nats=ANY)
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / GRAPH_FILE).write_bytes(made.content)
            yield Row(name, size_px, *measured(entry, Path(folder), rounds))


def table(rows: Sequence[Row]) -> Table:
    """All of them."""
    heads = ("network", "px", "float32 ms", "int8 ms", "int8 ÷ float32", "top-1", "change, and at least", "images")
    note = "Milliseconds of the process's processor time: least, and median in brackets. The machine is after the runs."
    return Table("8-bit integers beside float32", heads, [_cells(row) for row in rows], note)


def _cells(row: Row) -> list[str]:
    images = "" if row.images is None else str(row.images)
    change = "" if row.change is None else f"{row.change[0] * 100:+.1f}, {row.change[1] * 100:+.1f} points"
    return [
        row.name, str(row.size_px), _ms(row.float_ms), _ms(row.int8_ms), f"{row.ratio:.2f}",
        "" if row.float_top1 is None else f"{row.float_top1:.1%}", change, images,
    ]  # fmt: skip


def _ms(spread: Spread) -> str:
    return f"{spread.least:.2f} ({spread.median:.2f})"


def main(
    store: Annotated[Path | None, typer.Option(help="Store with quantised variants and their originals.")] = None,
    native_store: Annotated[
        Path | None, typer.Option("--native", help="Store of variants to quantise by noise.")
    ] = None,
    variants: Annotated[str, typer.Option(help="Of the latter.")] = "b0,b1,b2,b3,b4",
    rounds: Annotated[int, typer.Option(min=3, help="Runs of each.")] = 60,
    out: Annotated[Path | None, typer.Option(help="Also a JSON file.")] = None,
) -> None:
    """Measure, print, and keep."""
    rows = [] if store is None else list(trained(store, rounds))
    if native_store is not None:
        rows += native(native_store, variants.split(","), rounds)
    if not rows:
        raise typer.BadParameter("no quantised variant with its original is there; `effserve quantize` makes some")
    here = machine.describe()
    report.show([table(rows), report.machine_table(here)])
    if out is not None:
        report.write(out, {"machine": asdict(here), "rows": [asdict(row) for row in rows]})


if __name__ == "__main__":
    typer.run(main)
