"""What is asked, and the file of results."""

from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter

from benchmarks.machine import Machine, Others

SIZE_PX, CROP_PCT = 224, 0.875
"""Of the input that times are for: B0's at ImageNet."""


@dataclass(frozen=True, slots=True)
class Setting:
    """The whole of a measurement."""

    photos: int = 0
    """How many; 0 until they have been read."""
    made: bool = False
    """They were made for the purpose: no folder of photos was named."""
    rounds: int = 11
    """In each, every photo is decoded in every way."""
    enlarged: tuple[int, ...] = (8, 16)
    """By how much the edges of labelled images are multiplied, so that a reduced scale is used."""
    labelled: int | None = None
    """The most labelled images; None for all."""


QUICK = Setting(rounds=1, enlarged=(8,), labelled=40)
"""Shows that everything works; the figures mean little."""


@dataclass(frozen=True, slots=True)
class Timing:
    """What one thing takes for one photo, in milliseconds. Of each photo the least of all rounds counts, which other
    work on the machine can hardly touch."""

    carrier: str
    """What the photos come as: JPEG, PNG, WEBP."""
    what: str
    cpu_mean_ms: float
    """Processor time of the thread."""
    cpu_median_ms: float
    cpu_most_ms: float
    """Of the slowest photo."""
    wall_mean_ms: float
    rounds_ms: tuple[float, float]
    """The mean processor time in the quietest and in the busiest round."""


@dataclass(frozen=True, slots=True)
class Apart:
    """How far the quick pixels are from the exact ones, in levels of 255."""

    images: str
    count: int
    mean: float
    changed: float
    """Share of samples that are not the same."""
    most: int


@dataclass(frozen=True, slots=True)
class Effect:
    """What the quick way changes in one network's answers."""

    variant: str
    size_px: int
    images: str
    count: int
    reduced: int
    """Of them decoded at a reduced scale."""
    logit_mean: float
    """Mean absolute difference of logits."""
    logit_most: float
    logit_spread: float
    """Standard deviation of all exact logits: what the differences compare to."""
    changed: int
    """Images whose most probable class is another."""
    labelled: int
    right: int
    """Labelled images that the exact way gets right."""
    lost: int
    """Of them wrong by the quick way."""
    gained: int
    """Wrong by the exact way, right by the quick one."""


@dataclass(frozen=True, slots=True)
class Pooled:
    """The change of top-1 over all networks and enlargements, image by image."""

    images: int
    answers: int
    lost: int
    gained: int
    change: float
    """Of top-1, a share."""
    interval: tuple[float, float]
    """95 %: all answers about an image count as one observation, for they are much alike."""


@dataclass(frozen=True, slots=True)
class Study:
    """The file."""

    machine: Machine
    others: tuple[Others, ...]
    setting: Setting
    times: tuple[Timing, ...]
    apart: tuple[Apart, ...]
    effects: tuple[Effect, ...] = ()
    pooled: Pooled | None = None


_FILE = TypeAdapter(Study)


def read(path: Path) -> Study:
    """Raises `OSError`, `ValueError`."""
    return _FILE.validate_json(path.read_bytes())


def write(study: Study, path: Path) -> None:
    """Replace the file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(_FILE.dump_json(study, indent=2) + b"\n")
