"""How much memory a variant takes: known before it is opened, so that it can be decided whether it fits.

Its weights are the file of its graph. Where graphs are kept they are mapped, once, and little comes to them; elsewhere
the runtime copies them and lays them out anew. What a run computes on the way is in memory that all variants share; how
much that is goes with the pixels of the input.

Factors are those of B0 to B7, with one or two runs at a time; docs/memory.md has what they come from, and how far they
are off. They are meant to be a little too large rather than too small.
"""

from dataclasses import dataclass

from service.pipeline.session import ExecutionProvider, SessionOptions
from service.pipeline.store import StoredVariant

MAPPED, COPIED = 1.05, 2.2
"""Bytes in memory for each byte of the graph's file: kept, and opened as it is."""
STRUCTURES_BYTES = 15_000_000
"""Of any session."""
RUN_BYTES_PER_PX = 640
"""Of one run, for each pixel of its input."""


@dataclass(frozen=True, slots=True)
class Footprint:
    """What a variant takes."""

    weights_bytes: int
    """As long as it is in memory."""
    runs_bytes: int
    """For as many runs as there may be at a time, in memory that it shares with others."""

    @property
    def total_bytes(self) -> int:
        """Alone."""
        return self.weights_bytes + self.runs_bytes


def footprint(entry: StoredVariant, options: SessionOptions, runs: int) -> Footprint:
    """Of a variant whose session is opened like this, with so many `runs` at a time."""
    kept = options.graphs is not None and options.provider is ExecutionProvider.CPU
    edge_px = entry.manifest.preprocessing.input_size_px
    weights_bytes = int(entry.manifest.graph_bytes * (MAPPED if kept else COPIED)) + STRUCTURES_BYTES
    return Footprint(weights_bytes, runs * edge_px * edge_px * RUN_BYTES_PER_PX)
