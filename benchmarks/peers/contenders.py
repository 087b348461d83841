"""Who is compared, in which configurations, and how each is asked.

Each server has the configurations that were worth trying; for each number of clients the best of them counts.
"""

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.machine import ROOT

OURS, BARE = "effserve", "bare"


@dataclass(frozen=True)
class Manner:
    """How a server is asked for the class of an image."""

    path: str = "/classify"
    headers: Mapping[str, str] = field(default_factory=lambda: {"Content-Type": "image/jpeg"})
    body: Callable[[bytes], bytes] = bytes
    """Around the image."""
    pattern: str = r'"index": ?(\d+)'
    """Finds the most probable class in an answer's body."""

    def request(self, image: bytes) -> bytes:
        """All of it: HTTP/1.1, which keeps the connection."""
        body = self.body(image)
        lines = [f"POST {self.path} HTTP/1.1", "Host: 127.0.0.1", f"Content-Length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        return "\r\n".join([*lines, "", ""]).encode() + body


def _open_inference_json(image: bytes) -> bytes:
    """The Open Inference Protocol without its binary extension."""
    tensor = {
        "name": "image", "datatype": "BYTES", "shape": [1], "parameters": {"content_type": "base64"},
        "data": [base64.b64encode(image).decode()],
    }  # fmt: skip
    return json.dumps({"inputs": [tensor]}).encode()


def _module(peer: "Peer", port: int) -> list[str]:
    return [str(peer.bin / "python"), "-m", f"benchmarks.peers.apps.{peer.name}"]


def _bento(peer: "Peer", port: int) -> list[str]:
    service = "benchmarks.peers.apps.bentoml:Classifier"
    return [str(peer.bin / "bentoml"), "serve", service, "--host", "127.0.0.1", "--port", str(port)]


@dataclass(frozen=True)
class Peer:
    """Another server."""

    name: str
    """Of its environment, of its requirements, and of its module in `apps/`."""
    title: str
    package: str
    """What is installed, as its metadata call it."""
    manner: Manner = field(default_factory=Manner)
    command: Callable[["Peer", int], list[str]] = _module
    settings: Mapping[str, str] = field(default_factory=dict)
    """Environment variables of all configurations."""

    @property
    def folder(self) -> Path:
        """Made by `make peers`."""
        return ROOT / f".venv-peer-{self.name}"

    @property
    def bin(self) -> Path:
        """Its programs."""
        return self.folder / "bin"

    @property
    def missing(self) -> str:
        """Why it cannot be measured; empty when it can."""
        if (self.folder / "stamp").exists():
            return ""
        reason = self.folder / "reason"
        said = reason.read_text(encoding="utf-8").strip().splitlines() if reason.exists() else []
        return said[-1] if said else "not installed; `make peers` does that"

    @property
    def version(self) -> str:
        """The installed one; empty when there is none."""
        folder = next(self.folder.glob(f"lib/*/site-packages/{self.package}-*.dist-info"), None)
        return "" if folder is None else folder.name.removesuffix(".dist-info").rpartition("-")[2]


@dataclass(frozen=True)
class Contender:
    """A server in one configuration; `peer` is None for the service itself and for the bare loop."""

    name: str
    what: str
    """The configuration in words."""
    peer: Peer | None = None
    workers: int = 1
    threads: int = 1
    """Of one run."""
    settings: Mapping[str, str] = field(default_factory=dict)
    """Further environment variables."""

    @property
    def server(self) -> str:
        """Whose configuration it is."""
        if self.peer is not None:
            return self.peer.name
        return BARE if self.name == BARE else OURS


OURS_MANNER = Manner("/classify?variant=b0&budget_ms=10000")
"""Others have no deadline, and never refuse because of one."""
FASTAPI = Peer("fastapi", "FastAPI and uvicorn", "fastapi")
LITSERVE = Peer("litserve", "LitServe", "litserve")
BENTOML = Peer("bentoml", "BentoML", "bentoml", command=_bento, settings={"BENTOML_DO_NOT_TRACK": "true"})
RAY = Peer("ray", "Ray Serve", "ray", settings={"RAY_USAGE_STATS_ENABLED": "0"})
MLSERVER = Peer(
    "mlserver",
    "MLServer",
    "mlserver",
    Manner("/v2/models/b0/infer", {"Content-Type": "application/json"}, _open_inference_json, r'"data": ?\[(\d+)'),
)
KSERVE = Peer("kserve", "KServe's Python server", "kserve", Manner("/v1/models/b0:predict"))
PYTRITON = Peer(
    "pytriton",
    "PyTriton",
    "nvidia_pytriton",
    Manner(
        "/v2/models/b0/infer",
        {"Content-Type": "application/octet-stream", "Inference-Header-Content-Length": "0"},
        # Tensors come behind the JSON, the indices first: eight bytes each.
        pattern=r"\}\]\}(.{8})",
    ),
)
PEERS = (FASTAPI, LITSERVE, BENTOML, RAY, MLSERVER, KSERVE, PYTRITON)


def contenders(cores: int) -> tuple[Contender, ...]:
    """All of them on a machine of so many cores."""
    processes = f"{cores} processes"
    return (
        Contender(BARE, f"our decoder and our session in a loop, {processes}"),
        Contender(OURS, "defaults"),
        Contender("effserve-threads", f"1 lane of {cores} threads", threads=cores),
        Contender("effserve-workers", f"{cores} workers of 1 lane", workers=cores),
        Contender("fastapi", processes, FASTAPI, cores),
        Contender("fastapi-pool", f"1 process, {cores} threads", FASTAPI),
        Contender("fastapi-threads", f"1 process, runs on {cores} threads", FASTAPI, threads=cores),
        Contender("litserve", f"{processes}, 1 API process", LITSERVE, cores, settings={"PEER_API_SERVERS": "1"}),
        Contender(
            "litserve-zmq",
            f"{processes}, 1 API process, fast queue",
            LITSERVE,
            cores,
            settings={"PEER_API_SERVERS": "1", "PEER_FAST_QUEUE": "1"},
        ),
        Contender("bentoml", processes, BENTOML, cores),
        Contender("bentoml-pool", f"1 process, {cores} threads", BENTOML),
        Contender("ray", f"{cores} replicas", RAY, cores),
        Contender(
            "ray-throughput",
            f"{cores} replicas, optimised for throughput",
            RAY,
            cores,
            settings={"RAY_SERVE_THROUGHPUT_OPTIMIZED": "1"},
        ),
        Contender("mlserver", processes, MLSERVER, cores),
        Contender("mlserver-pool", f"1 process, {cores} threads", MLSERVER),
        Contender("kserve", processes, KSERVE, cores),
        Contender("kserve-pool", f"1 process, {cores} threads", KSERVE),
        Contender("pytriton", f"{cores} instances", PYTRITON, cores),
    )


def chosen(every: Sequence[Contender], names: Sequence[str]) -> tuple[Contender, ...]:
    """Those called so, and all configurations of servers called so. Raises `ValueError` for other names."""
    known = {name for one in every for name in (one.name, one.server)}
    if unknown := [name for name in names if name not in known]:
        raise ValueError(f"nobody is called {', '.join(unknown)}; there are {', '.join(sorted(known))}")
    return tuple(one for one in every if one.name in names or (one.server in names and one.server != OURS))
