"""Figure 3: resident memory of the server with B0–B7 loaded, beside the size of their graph files."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path

from benchmarks.clients import HttpClient
from benchmarks.machine import status_mb
from benchmarks.report import Table
from benchmarks.server import Server, serving, variants
from service.pipeline.cpus import usable_cores


@dataclass(frozen=True, slots=True)
class Memory:
    """Resident set of the server's process (VmRSS), in megabytes (10⁶ bytes)."""

    variants: int
    lanes: int
    graph_files_mb: float
    at_ready_mb: float
    after_mixed_mb: float
    """After `requests` requests, one at a time, variants in turn."""
    after_parallel_mb: float
    """After as many again with every lane busy."""
    peak_mb: float
    """The largest it ever was (VmHWM), loading included."""
    requests: int


def measure(store: Path, photos: list[bytes], *, requests: int, calibrate_s: float) -> Memory:
    """A fresh server; nothing but these requests."""
    entries, lanes = variants(store), usable_cores()
    images = list(islice(cycle(photos), requests))
    names = list(islice(cycle(entry.manifest.name for entry in entries), requests))
    work = list(zip(names, images, strict=True))
    with serving(store, calibrate_s=calibrate_s) as server:
        at_ready_mb = status_mb(server.pid, "VmRSS")
        _send(server, work)
        after_mixed_mb = status_mb(server.pid, "VmRSS")
        with ThreadPoolExecutor(lanes) as pool:
            list(pool.map(lambda share: _send(server, share), [work[lane::lanes] for lane in range(lanes)]))
        return Memory(
            variants=len(entries),
            lanes=lanes,
            graph_files_mb=round(sum(entry.manifest.graph_bytes for entry in entries) / 1e6, 1),
            at_ready_mb=at_ready_mb,
            after_mixed_mb=after_mixed_mb,
            after_parallel_mb=status_mb(server.pid, "VmRSS"),
            peak_mb=status_mb(server.pid, "VmHWM"),
            requests=requests,
        )


def _send(server: Server, work: list[tuple[str, bytes]]) -> None:
    with closing(HttpClient(server)) as client:
        for name, photo in work:
            client.classify(photo, {"variant": name})


def table(memory: Memory) -> Table:
    """One row for each moment."""
    rows = [
        ("graph files on disk", f"{memory.graph_files_mb:.0f}"),
        ("server, ready", f"{memory.at_ready_mb:.0f}"),
        (f"after {memory.requests} mixed requests, one at a time", f"{memory.after_mixed_mb:.0f}"),
        (f"after {memory.requests} more, {memory.lanes} at a time", f"{memory.after_parallel_mb:.0f}"),
        ("peak since start", f"{memory.peak_mb:.0f}"),
    ]
    return Table(f"Memory with {memory.variants} variants resident (MB)", ("", "VmRSS"), rows, "One server process.")
