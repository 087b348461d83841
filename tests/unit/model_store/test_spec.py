"""The table of levels: rounding, blocks, names, custom levels."""

import math
from dataclasses import replace

import pytest

from model_store.builder.spec import (
    LEVELS,
    blocks,
    compound,
    custom,
    groups_of,
    known_names,
    resolve,
    round_filters,
    round_repeats,
    same_pads,
)

EXPANDED = {
    # level: stem, head, blocks, output channels of the stages
    "b0": (32, 1280, 16, (16, 24, 40, 80, 112, 192, 320)),
    "b1": (32, 1280, 23, (16, 24, 40, 80, 112, 192, 320)),
    "b2": (32, 1408, 23, (16, 24, 48, 88, 120, 208, 352)),
    "b3": (40, 1536, 26, (24, 32, 48, 96, 136, 232, 384)),
    "b4": (48, 1792, 32, (24, 32, 56, 112, 160, 272, 448)),
    "b5": (48, 2048, 39, (24, 40, 64, 128, 176, 304, 512)),
    "b6": (56, 2304, 45, (32, 40, 72, 144, 200, 344, 576)),
    "b7": (64, 2560, 55, (32, 48, 80, 160, 224, 384, 640)),
}


@pytest.mark.parametrize("level", EXPANDED)
def test_levels_expand_to_the_reference_networks(level: str) -> None:
    """Stem, head, number of blocks and stage widths are those of the reference implementation."""
    spec, chain = resolve(level), list(blocks(resolve(level)))
    last_of_stage = {block.name.split(".")[1]: block.out_channels for block in chain}
    found = (spec.stem_channels, spec.head_channels, len(chain), tuple(last_of_stage.values()))
    assert found == EXPANDED[level]


def test_b0_skips_nine_times() -> None:
    """Blocks add their input exactly where neither stride nor channels change."""
    assert sum(block.has_skip for block in blocks(resolve("b0"))) == 9


def test_squeeze_width_follows_the_block_input() -> None:
    """The gate has a quarter of the channels that enter the block, not of the expanded ones."""
    second = list(blocks(resolve("b0")))[1]
    assert (second.in_channels, second.mid_channels, second.se_channels) == (16, 96, 4)


def test_first_stage_does_not_expand() -> None:
    """Stage 1 has expansion 1, in G16 too."""
    assert [next(blocks(resolve(name))).expands for name in ("b0", "b0-g16")] == [False, False]


@pytest.mark.parametrize(
    ("channels", "width", "rounded"),
    [(32, 1.0, 32), (24, 1.1, 24), (16, 1.2, 24), (32, 1.8, 56), (16, 0.1, 8), (40, 1.1, 48)],
)
def test_channels_round_to_eight_and_not_ten_percent_down(channels: int, width: float, rounded: int) -> None:
    """A width that would lose more than a tenth by rounding goes up instead."""
    assert round_filters(channels, width) == rounded


@pytest.mark.parametrize(("repeats", "depth", "rounded"), [(1, 1.0, 1), (1, 1.1, 2), (4, 3.1, 13), (2, 0.1, 1)])
def test_repeats_round_up(repeats: int, depth: float, rounded: int) -> None:
    """A part of a block is a block."""
    assert round_repeats(repeats, depth) == rounded


@pytest.mark.parametrize(("channels", "groups"), [(96, 6), (768, 48), (8, 1), (56, 2), (16, 1)])
def test_g16_groups_are_sixteen_wide_where_that_divides(channels: int, groups: int) -> None:
    """Channels fall into groups of 16; 56, which 3 does not divide, falls into 2."""
    assert groups_of(channels, 16) == groups


def test_every_convolution_divides_into_its_groups() -> None:
    """No named variant asks for groups that its channels do not fill."""
    chains = [block for name in known_names() for block in blocks(resolve(name))]
    assert all(block.mid_channels % block.groups == 0 for block in chains)


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "pads"),
    [(224, 3, 2, (0, 1)), (56, 5, 2, (1, 2)), (15, 5, 2, (2, 2)), (33, 3, 2, (1, 1)), (14, 5, 1, (2, 2))],
)
def test_same_padding_puts_the_odd_pixel_last(size: int, kernel: int, stride: int, pads: tuple[int, int]) -> None:
    """Even sizes pad lopsidedly at stride 2, odd ones evenly."""
    assert same_pads(size, kernel, stride) == pads


def test_names_resolve_to_themselves() -> None:
    """All 24 named variants exist under their name."""
    assert [resolve(name).name for name in known_names()] == known_names()
    assert len(known_names()) == 24


@pytest.mark.parametrize("name", ["b8", "b0-gn", "B0", "b0-g16-pn", "", "b0 "])
def test_unknown_names_are_refused_with_the_known_ones(name: str) -> None:
    """The message of a wrong name lists the right ones."""
    with pytest.raises(ValueError, match="b7-g16-gn"):
        resolve(name)


def test_g16_variants_differ_in_groups_expansion_and_norm_alone() -> None:
    """Width, depth and resolution are the level's."""
    plain, proxy, group = resolve("b3"), resolve("b3-g16"), resolve("b3-g16-gn")
    assert (proxy.group_width, proxy.expansion, proxy.norm) == (16, 4, "proxy")
    assert replace(proxy, name=group.name, norm="group4", published_top1=group.published_top1) == group
    assert (proxy.width, proxy.depth, proxy.resolution) == (plain.width, plain.depth, plain.resolution)


def test_published_accuracy_grows_with_the_level() -> None:
    """The paper's ranking is what untrained variants are ordered by."""
    published = [level.top1 for level in LEVELS.values()]
    assert published == sorted(published)


@pytest.mark.parametrize(("name", "epsilon"), [("b0", 1e-3), ("b0-g16", 1e-3), ("b0-g16-gn", 1e-3)])
def test_norm_epsilon_is_tensorflows_unless_padding_is_torchs(name: str, epsilon: float) -> None:
    """Symmetric padding marks a torch-trained batch norm, whose epsilon is 1e-5."""
    assert resolve(name).norm_epsilon == epsilon
    assert replace(resolve("b0"), padding="symmetric").norm_epsilon == 1e-5


def test_phi_zero_is_the_base_level() -> None:
    """Compound scaling starts at B0."""
    assert replace(compound(0, "b0"), level="b0", published_top1=0.771) == resolve("b0")


def test_phi_scales_all_three_dimensions() -> None:
    """φ = 1 multiplies depth by 1.2, width by 1.1 and resolution by 1.15, rounded to a multiple of 4."""
    spec = compound(1)
    assert (spec.depth, spec.width, spec.resolution, spec.name) == (1.2, 1.1, 256, "phi1")


@pytest.mark.parametrize("phi", [-0.1, 12.5, math.nan])
def test_phi_has_limits(phi: float) -> None:
    """Coefficients beyond what can be built are refused."""
    with pytest.raises(ValueError, match="phi must be between"):
        compound(phi)


@pytest.mark.parametrize(
    ("width", "depth", "resolution"), [(0, 1, 224), (1, 9, 224), (1, 1, 31), (1, 1, 2049), (math.nan, 1, 224)]
)
def test_custom_levels_have_limits(width: float, depth: float, resolution: int) -> None:
    """So are explicit ones."""
    with pytest.raises(ValueError, match="width and depth must be"):
        custom("mine", width=width, depth=depth, resolution=resolution)
