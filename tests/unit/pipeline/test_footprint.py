"""What a variant is expected to take in memory."""

from pathlib import Path

from service.pipeline.footprint import Footprint, footprint
from service.pipeline.session import ExecutionProvider, SessionOptions
from service.pipeline.store import scan
from tests.fixtures import tiny_store

KEPT = SessionOptions(graphs=Path("kept"))


def of(store: Path, options: SessionOptions, runs: int = 1) -> list[Footprint]:
    """Of b0 and b1, whose inputs are of 32 and 128 pixels."""
    return [footprint(entry, options, runs) for entry in scan(store).entries]


def test_kept_graphs_take_little_more_than_their_files(tmp_path: Path) -> None:
    """Others are copied and laid out anew; providers other than the CPU keep none."""
    store = tiny_store(tmp_path)
    (kept, _), (plain, _) = of(store, KEPT), of(store, SessionOptions())
    graph_bytes = scan(store).entries[0].manifest.graph_bytes
    assert graph_bytes < kept.weights_bytes < plain.weights_bytes
    assert of(store, SessionOptions(ExecutionProvider.CUDA, graphs=Path("kept")))[0] == plain


def test_runs_take_by_their_pixels_and_number(tmp_path: Path) -> None:
    """Four times the edge is sixteen times as much."""
    small, large = of(tiny_store(tmp_path), KEPT, runs=3)
    assert large.runs_bytes == 16 * small.runs_bytes
    assert of(tmp_path, KEPT)[1].runs_bytes * 3 == large.runs_bytes
    assert large.total_bytes == large.weights_bytes + large.runs_bytes
