"""Each way of changing images, alone."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch", reason="torch is not installed; `make torch` runs these")

from torch import Tensor  # noqa: E402

from model_store.training.augment import (  # noqa: E402
    GREY,
    OPERATIONS,
    RATIOS,
    _crop_box,
    centre_crop,
    cutmix,
    mixup,
    rand_augment,
    random_crop,
)
from tests.fixtures import photo  # noqa: E402

(
    IDENTITY, AUTOCONTRAST, EQUALIZE, ROTATE, SOLARIZE, POSTERIZE, COLOUR, CONTRAST, BRIGHTNESS, SHARPNESS,
    SHEAR_X, SHEAR_Y, TRANSLATE_X, TRANSLATE_Y,
) = OPERATIONS  # fmt: skip
CLASSES, EDGE = 4, 20


class Scripted(np.random.Generator):
    """A generator whose beta distribution always gives `share`; all else is drawn."""

    def __init__(self, share: float, seed: int = 0) -> None:
        super().__init__(np.random.PCG64(seed))
        self._share = share

    def beta(self, a: float, b: float, size: object = None) -> float:  # type: ignore[override]
        """The share."""
        return self._share


def pixels(picture: Image.Image) -> np.ndarray:
    """[height, width, 3], signed."""
    return np.asarray(picture).astype(np.int16)


def batch(count: int = 4) -> tuple[Tensor, Tensor]:
    """Images of one value each, 0, 1, 2 …, of classes in the same order."""
    values = torch.arange(count, dtype=torch.float32)
    return values[:, None, None, None].expand(count, 3, EDGE, EDGE).clone(), torch.eye(count, CLASSES)


# RandAugment's operations.


@pytest.mark.parametrize("strength", [-1.0, 0.0, 1.0])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_an_operation_keeps_size_and_mode(operation: Callable[..., Image.Image], strength: float) -> None:
    """At both ends of its scale and in the middle."""
    changed = operation(photo(33, 21), strength)
    assert (changed.size, changed.mode) == ((33, 21), "RGB")


@pytest.mark.parametrize("operation", [one for one in OPERATIONS if one not in (AUTOCONTRAST, EQUALIZE)])
def test_no_strength_changes_nothing(operation: Callable[..., Image.Image]) -> None:
    """Magnitude 0 is the image itself, for all that have a magnitude."""
    assert np.array_equal(pixels(operation(photo(33, 21), 0.0)), pixels(photo(33, 21)))


@pytest.mark.parametrize("operation", [one for one in OPERATIONS if one is not IDENTITY])
def test_full_strength_changes_the_image(operation: Callable[..., Image.Image]) -> None:
    """All but the identity do something to a picture."""
    assert not np.array_equal(pixels(operation(photo(64, 48), 1.0)), pixels(photo(64, 48)))


@pytest.mark.parametrize("operation", [ROTATE, SHEAR_X, SHEAR_Y, TRANSLATE_X, TRANSLATE_Y, BRIGHTNESS, COLOUR])
def test_signs_are_directions(operation: Callable[..., Image.Image]) -> None:
    """Left and right, up and down, more and less differ."""
    assert not np.array_equal(pixels(operation(photo(64, 48), 0.7)), pixels(operation(photo(64, 48), -0.7)))


@pytest.mark.parametrize(
    ("operation", "moved"), [(TRANSLATE_X, (slice(None), slice(0, 14))), (TRANSLATE_Y, (slice(0, 14), slice(None)))]
)
def test_translation_moves_by_three_tenths(operation: Callable[..., Image.Image], moved: tuple[slice, slice]) -> None:
    """Of the edge at full strength; what comes in is ImageNet's mean colour."""
    picture = photo(20, 20)
    changed = pixels(operation(picture, 1.0))
    back = {TRANSLATE_X: (slice(None), slice(6, 20)), TRANSLATE_Y: (slice(6, 20), slice(None))}[operation]
    assert np.array_equal(changed[moved], pixels(picture)[back])
    assert (changed[-1, -1] == GREY).all()


@pytest.mark.parametrize("operation", [SHEAR_X, SHEAR_Y, ROTATE])
def test_shear_and_rotation_keep_the_centre(operation: Callable[..., Image.Image]) -> None:
    """A dot there stays there; a dot in the corner does not."""
    picture = Image.new("RGB", (41, 41), GREY)
    for dot in ((20, 20), (2, 2)):
        picture.paste((255, 0, 0), (dot[0] - 1, dot[1] - 1, dot[0] + 2, dot[1] + 2))
    changed = pixels(operation(picture, 1.0))
    assert changed[20, 20, 0] > 200
    assert changed[2, 2, 0] < 200


def test_posterize_keeps_four_bits_at_full_strength() -> None:
    """Of either sign; half the strength keeps six."""
    for strength, bits in ((1.0, 4), (-1.0, 4), (0.5, 6)):
        assert not (pixels(POSTERIZE(photo(64, 48), strength)) & (2 ** (8 - bits) - 1)).any()


def test_solarize_inverts_the_upper_half_at_full_strength() -> None:
    """Values from 128 on, and no others."""
    ramp = Image.fromarray(np.arange(256, dtype=np.uint8)[None, :, None].repeat(3, axis=2))
    assert pixels(SOLARIZE(ramp, 1.0))[0, :, 0].tolist() == [*range(128), *range(127, -1, -1)]


def test_brightness_goes_from_a_tenth_to_nearly_double() -> None:
    """1 ± 0.9 times the value."""
    grey = Image.new("RGB", (8, 8), (100, 100, 100))
    assert [pixels(BRIGHTNESS(grey, strength))[0, 0, 0] for strength in (-1.0, 1.0)] == [10, 190]


def test_rand_augment_takes_its_operations_in_a_row() -> None:
    """As many as asked for; none leave the image as it is."""
    picture = photo(32, 32)
    assert rand_augment(picture, 0, 10, np.random.default_rng(0)) is picture
    twice = [pixels(rand_augment(picture, 2, 7, np.random.default_rng(seed))) for seed in (3, 3, 4)]
    assert np.array_equal(twice[0], twice[1])
    assert not np.array_equal(twice[0], twice[2])


# Crops.


@pytest.mark.parametrize("size", [(100, 60), (60, 100), (37, 37)])
def test_a_random_crop_has_the_area_and_ratio_asked_for(size: tuple[int, int]) -> None:
    """A share of the area between the least and all of it, a ratio between 3:4 and 4:3, inside the image."""
    random = np.random.default_rng(0)
    for _ in range(200):
        left, top, right, bottom = _crop_box(size, 0.35, random)
        assert left >= 0
        assert top >= 0
        assert right <= size[0] + 1e-9
        assert bottom <= size[1] + 1e-9
        assert (right - left) * (bottom - top) / (size[0] * size[1]) + 1e-9 >= 0.35
        assert RATIOS[0] - 1e-9 <= (right - left) / (bottom - top) <= RATIOS[1] + 1e-9


def test_an_image_too_narrow_for_any_ratio_is_cropped_in_the_middle() -> None:
    """To the largest square."""
    assert _crop_box((400, 20), 0.9, np.random.default_rng(0)) == (190, 0, 210, 20)


def test_crops_are_squares_of_the_size_asked_for() -> None:
    """The random one and the one of evaluation."""
    picture = photo(90, 70)
    assert random_crop(picture, 32, 0.35, np.random.default_rng(0)).size == (32, 32)
    assert centre_crop(picture, 32, 0.875).size == (32, 32)


# mixup and CutMix.


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_mixup_keeps_a_share_of_each_image(share: float) -> None:
    """And gives the rest to its counterpart from the end of the batch; targets likewise."""
    images, targets = batch()
    mixed, mass = mixup(images, targets, 0.2, Scripted(share))
    expected = share * torch.arange(4) + (1 - share) * torch.arange(3, -1, -1)
    assert torch.allclose(mixed[:, 0, 0, 0], expected)
    assert torch.allclose(mass, share * targets + (1 - share) * targets.flip(0))


@pytest.mark.parametrize("seed", range(20))
def test_cutmix_divides_labels_by_area(seed: int) -> None:
    """The counterpart's label has as much mass as it has pixels, also where the rectangle is cut off by an edge."""
    images, targets = batch()
    mixed, mass = cutmix(images, targets, 1.0, np.random.default_rng(seed))
    for row in range(4):
        foreign = float((mixed[row, 0] == 3 - row).float().mean())
        assert float(mass[row, 3 - row]) == pytest.approx(foreign, abs=1e-6)
        assert float(mass[row, row]) == pytest.approx(1 - foreign, abs=1e-6)


def test_cutmix_replaces_one_rectangle() -> None:
    """All rows and columns that differ, differ together, in every channel."""
    images, targets = batch()
    mixed, _ = cutmix(images, targets, 1.0, Scripted(0.75, seed=1))
    changed = (mixed[0] != images[0]).all(dim=0)
    rows, columns = changed.any(dim=1), changed.any(dim=0)
    assert torch.equal(changed, rows[:, None] & columns[None, :])
    assert 0 < float(changed.float().mean()) <= (math.sqrt(0.25) + 2 / EDGE) ** 2


@pytest.mark.parametrize("mix", [mixup, cutmix])
def test_mixing_keeps_the_mass_of_targets(mix: Callable[..., tuple[Tensor, Tensor]]) -> None:
    """Each row still adds up to 1, and the batch it came from is untouched."""
    images, targets = batch()
    before = images.clone()
    for seed in range(10):
        _, mass = mix(images, targets, 0.5, np.random.default_rng(seed))
        assert torch.allclose(mass.sum(dim=1), torch.ones(4))
    assert torch.equal(images, before)
