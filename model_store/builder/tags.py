"""Which trained checkpoints there are, how their input is prepared, and what their publisher measured.

Facts of timm's model cards and result files (timm 1.0.29), in `timm_tags.json`: one line a checkpoint. The mean and
the crop belong to the checkpoint, not to the level: several were trained on pixels in [−1, 1].
"""

from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter

from model_store.builder.spec import Padding, Spec, resolve
from model_store.manifest import Accuracy, AccuracySource, Preprocessing

TABLE = Path(__file__).with_name("timm_tags.json")
DATASET = "imagenet-1k"
FAMILIES: dict[str, Padding] = {"tf_efficientnet": "same", "efficientnet": "symmetric"}
"""Checkpoint families in order of preference, with their padding: ported from TensorFlow, trained in torch."""


class TagError(ValueError):
    """No checkpoint goes by that level and tag. The message names those there are."""


@dataclass(frozen=True, slots=True)
class _Row:
    """One line of the table."""

    hub: str
    input_size_px: int
    crop_pct: float
    crop_mode: Literal["center", "squash"]
    interpolation: Literal["bicubic", "bilinear"]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    licence: str
    top1: float | None
    """On ImageNet-1k at this input size, as a fraction. None when the publisher gives none."""
    top5: float | None


@dataclass(frozen=True, slots=True)
class Tag:
    """One trained checkpoint of one level."""

    level: str
    tag: str
    hub: str
    """Repository on the model hub."""
    licence: str
    spec: Spec
    preprocessing: Preprocessing
    accuracy: Accuracy


def find(level: str, tag: str) -> Tag:
    """The checkpoint of a level by its tag; the TensorFlow-ported one where there are two. Raises `TagError`."""
    for family, padding in FAMILIES.items():
        row = _table().get(f"{family}_{level}.{tag}")
        if row is not None:
            return _tag(level, tag, row, padding)
    known = known_tags(level)
    if not known:
        raise TagError(f"no trained checkpoints of {level!r} are known; there are some of b0…b7")
    raise TagError(f"{level} has no checkpoint {tag!r}; it has {', '.join(known)}")


def known_tags(level: str) -> list[str]:
    """All tags of a level, sorted."""
    prefixes = tuple(f"{family}_{level}." for family in FAMILIES)
    return sorted({name.split(".", 1)[1] for name in _table() if name.startswith(prefixes)})


@cache
def _table() -> dict[str, _Row]:
    return TypeAdapter(dict[str, _Row]).validate_json(TABLE.read_bytes())


def _tag(level: str, tag: str, row: _Row, padding: Padding) -> Tag:
    return Tag(
        level=level,
        tag=tag,
        hub=row.hub,
        licence=row.licence,
        spec=replace(resolve(level), padding=padding),
        preprocessing=_preprocessing(row),
        accuracy=_accuracy(row),
    )


def _preprocessing(row: _Row) -> Preprocessing:
    return Preprocessing(
        input_size_px=row.input_size_px,
        crop_pct=row.crop_pct,
        crop_mode=row.crop_mode,
        interpolation=row.interpolation,
        mean=row.mean,
        std=row.std,
    )


def _accuracy(row: _Row) -> Accuracy:
    if row.top1 is None:
        return Accuracy()
    return Accuracy(top1=row.top1, top5=row.top5, dataset=DATASET, source=AccuracySource.PUBLISHED)
