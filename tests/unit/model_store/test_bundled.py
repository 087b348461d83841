"""The trained files that come with the package: complete, small, and as their model cards say."""

import numpy as np
import pytest

from model_store.trained import BUNDLED, bundled, read_tensors

MOST_BYTES = 30_000_000
"""Of all together: they are in the repository."""
NAMES = ("b0", "b0-g16", "b1", "b2")


def test_these_are_bundled() -> None:
    """Each with a model card, and together small."""
    found = bundled()
    assert set(found) == set(NAMES)
    assert all(path.with_suffix(".md").is_file() for path, _ in found.values())
    assert sum(path.stat().st_size for path, _ in found.values()) <= MOST_BYTES


@pytest.mark.parametrize("name", NAMES)
def test_its_weights_are_finite(name: str) -> None:
    """Unpacked."""
    path, _ = bundled()[name]
    tensors = read_tensors(path)
    assert tensors
    assert all(bool(np.isfinite(tensor).all()) for tensor in tensors.values())


@pytest.mark.parametrize("name", NAMES)
def test_its_card_says_what_was_measured(name: str) -> None:
    """Top-1 and top-5 of the file's header."""
    _, header = bundled()[name]
    card = (BUNDLED / f"{name}.md").read_text(encoding="utf-8")
    assert header.accuracy.top1 is not None
    assert header.accuracy.top5 is not None
    assert f"| top-1 | {header.accuracy.top1:.1%} (" in card
    assert f"| top-5 | {header.accuracy.top5:.1%} (" in card


def test_a_larger_one_is_more_accurate() -> None:
    """A budget that buys more gets more."""
    top1 = {name: header.accuracy.top1 or 0.0 for name, (_, header) in bundled().items()}
    assert top1["b0"] < top1["b1"] < top1["b2"]
