"""Parameters and multiply-adds of every named variant, counted on the graph, against the reference and the paper."""

import pytest

from model_store.builder import build
from model_store.builder.count import Counts
from model_store.builder.spec import compound, known_names, resolve

CLASSES = 1000

REFERENCE = {
    "b0": Counts(5_288_548, 385_814_752),
    "b1": Counts(7_794_184, 686_802_832),
    "b2": Counts(9_109_994, 993_561_872),
    "b3": Counts(12_233_232, 1_827_141_392),
    "b4": Counts(19_341_616, 4_393_771_024),
    "b5": Counts(30_389_784, 10_266_384_752),
    "b6": Counts(43_040_704, 19_067_593_536),
    "b7": Counts(66_347_960, 37_745_884_192),
    "b0-g16": Counts(5_938_484, 634_668_544),
    "b1-g16": Counts(8_368_344, 1_111_663_488),
    "b2-g16": Counts(9_543_570, 1_522_462_080),
    "b3-g16": Counts(12_641_768, 2_730_873_504),
    "b4-g16": Counts(19_401_000, 6_183_172_704),
    "b5-g16": Counts(28_815_624, 13_501_155_520),
    "b7-g16": Counts(59_390_296, 44_861_692_416),
    "b0-g16-gn": Counts(5_913_796, 634_668_544),
    "b1-g16-gn": Counts(8_332_120, 1_111_663_488),
    "b2-g16-gn": Counts(9_504_122, 1_522_462_080),
    "b3-g16-gn": Counts(12_590_896, 2_730_873_504),
    "b4-g16-gn": Counts(19_328_168, 6_183_172_704),
    "b5-g16-gn": Counts(28_715_320, 13_501_155_520),
    "b7-g16-gn": Counts(59_210_264, 44_861_692_416),
}
"""Exact counts of the reference implementations."""

DIVIDED = {
    "b6-g16": Counts(39_960_704, 24_305_480_352),
    "b6-g16-gn": Counts(39_830_504, 24_305_480_352),
}
"""The reference cannot build these: its 3 groups do not divide B6's 56 stem channels. Ours have 2 there."""

PAPER = {
    "b0": (5.3e6, 0.39e9), "b1": (7.8e6, 0.70e9), "b2": (9.2e6, 1.0e9), "b3": (12e6, 1.8e9),
    "b4": (19e6, 4.2e9), "b5": (30e6, 9.9e9), "b6": (43e6, 19e9), "b7": (66e6, 37e9),
}  # fmt: skip
"""As printed, rounded."""

EXACT = REFERENCE | DIVIDED


def test_every_named_variant_has_an_expected_count() -> None:
    """No variant is left out of the tables here."""
    assert set(EXACT) == set(known_names())


@pytest.mark.parametrize("name", EXACT)
def test_counts_are_exact(name: str) -> None:
    """The literal graph has exactly the reference's parameters and multiply-adds."""
    assert build.counts(resolve(name), CLASSES) == EXACT[name]


@pytest.mark.parametrize("level", PAPER)
def test_counts_are_close_to_the_paper(level: str) -> None:
    """Parameters are within 2 % and multiply-adds within 5 % of the printed table."""
    params, macs = PAPER[level]
    assert EXACT[level].params == pytest.approx(params, rel=0.02)
    assert EXACT[level].macs == pytest.approx(macs, rel=0.05)


def test_multiply_adds_follow_the_size_built_and_parameters_do_not() -> None:
    """The same network on a larger image costs more and holds as much."""
    small, large = build.counts(resolve("b0"), CLASSES), build.counts(resolve("b0"), CLASSES, size=256)
    assert small.params == large.params
    assert large.macs == pytest.approx(small.macs * (256 / 224) ** 2, rel=0.01)


def test_classes_are_counted() -> None:
    """Each class costs the head's channels once more, and a bias in the parameters."""
    few, more = build.counts(resolve("b0"), 10), build.counts(resolve("b0"), 11)
    assert (more.params - few.params, more.macs - few.macs) == (1281, 1280)


def test_compound_scaling_by_one_doubles_the_work_about() -> None:
    """α·β²·γ² is 1.92; rounding up channels and repeats makes it more."""
    ratio = build.counts(compound(1), CLASSES).macs / EXACT["b0"].macs
    assert 1.92 < ratio < 2.8
