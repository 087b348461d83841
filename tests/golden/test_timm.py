"""Our graphs against what timm's networks answered for the same seeded weights and images.

Recorded by `python -m model_store.builder.parity --write-golden tests/golden/timm.npz`; `make parity` makes the same
comparison at full size.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from model_store.builder import randomised
from model_store.builder.randomised import GOLDEN, IMAGES, TOLERANCE, Case, Logits, our_logits, relative_difference
from model_store.builder.spec import Padding, Spec

RECORD = Path(__file__).with_name("timm.npz")

every_case = pytest.mark.parametrize("case", GOLDEN, ids=lambda case: case.key)


@pytest.fixture(scope="module")
def recorded() -> Mapping[str, Logits]:
    """timm's logits by case, [images, classes] each."""
    with np.load(RECORD) as file:
        return dict(file)


def test_record_has_every_case(recorded: Mapping[str, Logits]) -> None:
    """The record holds the logits of exactly the cases in the table."""
    assert {key: logits.shape for key, logits in recorded.items()} == {c.key: (IMAGES, c.classes) for c in GOLDEN}


@every_case
@pytest.mark.parametrize("folded", [True, False], ids=["folded", "literal"])
def test_logits_are_those_of_timm(case: Case, recorded: Mapping[str, Logits], *, folded: bool) -> None:
    """Both forms of the graph give timm's logits up to float32 rounding."""
    assert relative_difference(our_logits(case, folded=folded), recorded[case.key]) <= TOLERANCE


@every_case
def test_logits_depend_on_the_image(case: Case, recorded: Mapping[str, Logits]) -> None:
    """The recorded networks look at their input: two images get clearly different logits."""
    first, second = recorded[case.key]
    assert relative_difference(first, second) > 0.03


@every_case
def test_other_padding_is_noticed(case: Case, recorded: Mapping[str, Logits], monkeypatch: pytest.MonkeyPatch) -> None:
    """A graph that pads as the other family does, and differs in nothing else, is far from the record."""
    padding: Padding = "same" if case.spec.padding == "symmetric" else "symmetric"
    other = replace(case.spec, padding=padding, resolution=case.size)
    monkeypatch.setattr(Spec, "norm_epsilon", case.spec.norm_epsilon)
    monkeypatch.setattr(randomised, "spec_of", lambda _name: other)
    assert relative_difference(our_logits(case), recorded[case.key]) > 100 * TOLERANCE


@pytest.mark.parametrize(("case", "epsilon"), [(GOLDEN[0], 1e-5), (GOLDEN[2], 1e-3)], ids=["tensorflow", "torch"])
def test_other_epsilon_is_noticed(
    case: Case, epsilon: float, recorded: Mapping[str, Logits], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A graph with the other family's ε in its batch norms is far from the record."""
    monkeypatch.setattr(Spec, "norm_epsilon", epsilon)
    assert relative_difference(our_logits(case), recorded[case.key]) > 100 * TOLERANCE
