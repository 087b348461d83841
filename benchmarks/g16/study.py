"""The study as a record: what the JSON file holds. Needs no torch, so that tables can be made wherever docs are."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter

from benchmarks.machine import Machine, Others
from benchmarks.stats import Spread
from service.evaluation.results import Share

Regime = Literal["native", "reduced"]
"""Trained at the size that is served, or at fewer pixels. Both end with the same fine-tuning of the last layers."""
REGIMES: tuple[Regime, ...] = ("native", "reduced")


@dataclass(frozen=True, slots=True)
class Arm:
    """What is compared: a network, and the way it is trained."""

    network: str
    regime: Regime


def arms(networks: Sequence[str]) -> Iterator[Arm]:
    """All of them; the first is what the others are compared with."""
    return (Arm(network, regime) for network in networks for regime in REGIMES)


@dataclass(frozen=True, slots=True)
class Setting:
    """What was asked for."""

    networks: tuple[str, ...]
    data: str
    images: int
    data_sha256: str
    validation: str
    validation_images: int
    classes: int
    seeds: tuple[int, ...]
    epochs: int
    fine_tune_epochs: int
    size_px: int
    reduced_px: int
    threads: int
    """Of training and of its timing; latency is of one."""
    device: str
    torch: str
    recipe: dict[str, Any]
    """Hyperparameters of all arms, but for the size of training and the seed."""


@dataclass(frozen=True, slots=True)
class Trained:
    """One arm with one seed."""

    arm: Arm
    seed: int
    top1: Share
    hours: float
    """Disturbed by whatever else ran. How fast arms train says `Throughput`."""
    commit: str


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Of one arm over its seeds, on the validation images, through the path that serves."""

    arm: Arm
    images: int
    top1: Share
    """Mean over the seeds; the interval (Wilson, 95 %) is as wide as these images alone leave it."""
    least: float
    most: float
    """Of the seeds."""
    difference: Share
    """To the first arm on the same images; interval of the paired differences, normal, 95 %."""


@dataclass(frozen=True, slots=True)
class Step:
    """Steps of one kind, over rounds."""

    network: str
    phase: Literal["train", "fine-tune"]
    size_px: int
    images_per_s: Spread


@dataclass(frozen=True, slots=True)
class Throughput:
    """A whole run of an arm, fine-tuning included, by the times of its steps."""

    arm: Arm
    images_per_s: Spread
    ratio: Spread
    """To the first arm, round by round."""


@dataclass(frozen=True, slots=True)
class Latency:
    """Of one network at one size: ONNX Runtime, one image, one thread."""

    network: str
    size_px: int
    classes: int
    params: int
    gmacs: float
    latency_ms: Spread
    ratio: Spread
    """To the first network at that size, of the medians of each round."""


@dataclass(frozen=True, slots=True)
class Study:
    """One file."""

    machine: Machine
    setting: Setting
    others: tuple[Others, ...]
    trained: tuple[Trained, ...]
    accuracy: tuple[Accuracy, ...]
    steps: tuple[Step, ...]
    throughput: tuple[Throughput, ...]
    latency: tuple[Latency, ...]


def read(path: Path) -> Study:
    """Raises `ValueError` for a file that is not a study, `OSError`."""
    return TypeAdapter(Study).validate_json(path.read_bytes())
