"""When a training run does what: pure functions of the recipe."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from model_store.builder.spec import LEVELS, resolve
from model_store.training.recipe import (
    Recipe,
    default_dropout,
    ema_decay,
    learning_rate,
    phase_at,
    phases,
    reduced_size,
)

STEPS = 100
"""Per epoch."""


def recipe(**options: object) -> Recipe:
    """A reduced-resolution run of ten epochs and two of fine-tuning."""
    return Recipe.model_validate({"size_px": 96, "train_size_px": 64, "epochs": 10} | options)


def test_the_run_trains_small_and_fine_tunes_large() -> None:
    """Reduced-resolution training: last the few epochs at the size that is served."""
    assert [(phase.name, phase.epochs, phase.size_px) for phase in phases(recipe())] == [
        ("train", 10, 64),
        ("fine-tune", 2, 96),
    ]


def test_a_run_may_start_smaller_still() -> None:
    """Progressive learning: a share of the epochs at the starting size."""
    started = recipe(start_size_px=32, start_share=0.3)
    assert [(phase.name, phase.epochs) for phase in phases(started)] == [("start", 3), ("train", 7), ("fine-tune", 2)]


def test_phases_of_no_epochs_are_left_out() -> None:
    """Training at the served size throughout."""
    assert [phase.name for phase in phases(recipe(fine_tune_epochs=0))] == ["train"]


def test_each_epoch_has_its_phase() -> None:
    """Epochs count on through phases."""
    started = recipe(start_size_px=32, start_share=0.3)
    assert [phase_at(started, epoch).size_px for epoch in (0, 2, 3, 9, 10, 11)] == [32, 32, 64, 64, 96, 96]


def test_an_epoch_beyond_the_run_is_an_error() -> None:
    """Rather than the last phase for ever."""
    with pytest.raises(ValueError, match="fewer epochs"):
        phase_at(recipe(), 12)


@pytest.mark.parametrize("options", [{"train_size_px": 80}, {"start_size_px": 48}])
def test_sizes_on_different_grids_are_refused(options: dict[str, int]) -> None:
    """SAME padding depends on the size's remainder by 32; the message names a size that fits."""
    with pytest.raises(ValidationError, match=r"different remainders by 32.*try (64|32)"):
        recipe(**options)


@pytest.mark.parametrize(("native", "half"), [(224, 160), (240, 176), (260, 196), (300, 204), (456, 328)])
def test_reduced_sizes_are_the_published_ones(native: int, half: int) -> None:
    """Those of Masters et al. for B0, B1, B2, B3 and B5. (At B4 they take 252; 284 is nearer to half the pixels.)"""
    assert reduced_size(native) == half


@given(st.integers(64, 2048))
def test_reduced_sizes_stay_on_the_grid(size_px: int) -> None:
    """Equal by 32, smaller, and not below the smallest size there is."""
    reduced = reduced_size(size_px)
    assert reduced % 32 == size_px % 32
    assert 32 <= reduced < size_px


def test_the_learning_rate_warms_up_and_falls_to_zero() -> None:
    """Linear to the peak, cosine from there."""
    rates = [learning_rate(recipe(warm_up_epochs=2), step, STEPS) for step in range(10 * STEPS)]
    peak = recipe().learning_rate
    assert rates[: 2 * STEPS] == sorted(rates[: 2 * STEPS])
    assert rates[2 * STEPS :] == sorted(rates[2 * STEPS :], reverse=True)
    assert max(rates) == pytest.approx(peak)
    assert rates[-1] < 1e-4 * peak


def test_fine_tuning_has_a_cosine_of_its_own() -> None:
    """From its own peak to zero."""
    first, last = (learning_rate(recipe(), step, STEPS) for step in (10 * STEPS, 12 * STEPS - 1))
    assert first == recipe().fine_tune_learning_rate
    assert last < 1e-3 * first


def test_a_warm_up_longer_than_the_run_is_cut() -> None:
    """To half of the run, so that the peak is reached."""
    short = recipe(epochs=1, warm_up_epochs=5)
    assert max(learning_rate(short, step, STEPS) for step in range(STEPS)) == pytest.approx(short.learning_rate)


def test_averages_begin_short() -> None:
    """The decay grows to its final value, or the average would long remember the initial weights."""
    decays = [ema_decay(recipe(), step) for step in (0, 10, 100, 100_000)]
    assert decays == [0.1, 0.55, pytest.approx(101 / 110), 0.999]


def test_dropout_rises_with_the_level() -> None:
    """As in the reference; a custom level has B0's."""
    rates = [default_dropout(resolve(level)) for level in LEVELS]
    assert (rates[0], rates[-1]) == (0.2, 0.5)
    assert rates == sorted(rates)


def test_unknown_hyperparameters_are_refused() -> None:
    """A misspelt one must not be ignored."""
    with pytest.raises(ValidationError, match="epoch"):
        recipe(epoch=3)
