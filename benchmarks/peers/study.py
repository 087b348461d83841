"""What is asked, and the file of results."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter

from benchmarks.machine import Machine, Others
from benchmarks.server import SETTLE_S
from benchmarks.stats import Spread


@dataclass(frozen=True, slots=True)
class Setting:
    """The whole of a comparison."""

    clients: tuple[int, ...] = (1, 4, 8)
    """Each sends its next image when it has the answer to the last one."""
    rounds: int = 4
    settle_s: float = SETTLE_S
    """Of requests that do not count, once a contender may go on after it stood still."""
    warm_up_s: float = 0.4
    """Of each turn; what is answered then does not count."""
    seconds: float = 2.0
    """Of each turn, after it."""
    calibrate_s: float = 0.5
    """Of the service, when it starts; its default."""
    seed: int = 0
    """Of the order of turns."""


QUICK = Setting(rounds=1, settle_s=0.2, warm_up_s=0.2, seconds=0.5, calibrate_s=0.1)
"""Shows that everything works; the figures mean little."""


@dataclass(frozen=True, slots=True)
class Compared:
    """Who took part."""

    name: str
    server: str
    title: str
    version: str
    what: str
    """The configuration."""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Who did not."""

    title: str
    reason: str


@dataclass(frozen=True, slots=True)
class Turn:
    """Some clients at one contender, for some seconds."""

    name: str
    clients: int
    number: int
    """Of the round."""
    per_s: float
    """Right answers a second."""
    p50_ms: float
    p99_ms: float
    errors: Mapping[str, int]
    """Answers that were wrong, and requests without one, by what was wrong."""
    loader: float
    """Cores that the clients took."""
    others: float
    """Share of all cores' time that neither contender nor clients had."""


@dataclass(frozen=True, slots=True)
class Latency:
    """Of one contender at one number of clients, over all rounds."""

    name: str
    clients: int
    ms: Spread


@dataclass(frozen=True, slots=True)
class Study:
    """One file."""

    machine: Machine
    setting: Setting
    others: tuple[Others, ...]
    photos: int
    photo_bytes: int
    """On average."""
    compared: tuple[Compared, ...]
    left_out: tuple[LeftOut, ...]
    turns: tuple[Turn, ...]
    latencies: tuple[Latency, ...]


def read(path: Path) -> Study:
    """Raises `ValueError` for a file that is not one, `OSError`."""
    return TypeAdapter(Study).validate_json(path.read_bytes())
