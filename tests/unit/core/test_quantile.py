"""Order statistics of the last so many samples."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.core.quantile import SlidingQuantile

SIZE = 7


@given(st.lists(st.floats(0.01, 5.0), min_size=1, max_size=200))
def test_the_mean_is_that_of_what_is_left(samples: list[float]) -> None:
    """However many came and went, and were added to the sum and taken from it."""
    subject = SlidingQuantile(SIZE, samples)
    left = [Fraction(sample) for sample in samples[-SIZE:]]
    assert subject.mean() == pytest.approx(float(sum(left) / len(left)), rel=1e-9)
