"""What training does to images: random crops, flips and RandAugment on each, mixup and CutMix on batches.

RandAugment (Cubuk et al., arXiv 1909.13719): some operations drawn from a table, all at one magnitude from 0 to 10.
mixup: Zhang et al., arXiv 1710.09412. CutMix: Yun et al., arXiv 1905.04899. Random crops as in Szegedy et al.,
arXiv 1409.4842. All randomness comes from a generator that is passed in.
"""

import math
from collections.abc import Callable

import numpy as np
import torch
from PIL import Image, ImageEnhance, ImageOps
from PIL.Image import Resampling, Transform
from torch import Tensor

Random = np.random.Generator
Operation = Callable[[Image.Image, float], Image.Image]

RATIOS = (3 / 4, 4 / 3)
"""Width by height of random crops."""
GREY = (124, 116, 104)
"""ImageNet's mean colour, for what a transformation leaves empty."""
FULL_MAGNITUDE = 10.0


def random_crop(picture: Image.Image, size_px: int, smallest: float, random: Random) -> Image.Image:
    """A crop of `smallest` to all of the area and of a ratio between 3:4 and 4:3, resized to a square."""
    return picture.resize((size_px, size_px), Resampling.BICUBIC, box=_crop_box(picture.size, smallest, random))


def _crop_box(size: tuple[int, int], smallest: float, random: Random) -> tuple[float, float, float, float]:
    width, height = size
    for _ in range(10):
        area = width * height * random.uniform(smallest, 1)
        ratio = math.exp(random.uniform(math.log(RATIOS[0]), math.log(RATIOS[1])))
        wide, high = math.sqrt(area * ratio), math.sqrt(area / ratio)
        if wide <= width and high <= height:
            left, top = random.uniform(0, width - wide), random.uniform(0, height - high)
            return left, top, left + wide, top + high
    edge = min(width, height)
    left, top = (width - edge) / 2, (height - edge) / 2
    return left, top, left + edge, top + edge


def centre_crop(picture: Image.Image, size_px: int, crop_pct: float) -> Image.Image:
    """The transform of evaluation: the shorter edge to floor(size / crop_pct), then the centre."""
    width, height = picture.size
    edge = min(width, height) * size_px / math.floor(size_px / crop_pct)
    left, top = (width - edge) / 2, (height - edge) / 2
    return picture.resize((size_px, size_px), Resampling.BICUBIC, box=(left, top, left + edge, top + edge))


def rand_augment(picture: Image.Image, operations: int, magnitude: float, random: Random) -> Image.Image:
    """`operations` draws from the table, one after another, at `magnitude` of 10 and a random sign."""
    for index in random.integers(0, len(OPERATIONS), operations):
        sign = 1.0 if random.random() < 0.5 else -1.0
        picture = OPERATIONS[index](picture, sign * magnitude / FULL_MAGNITUDE)
    return picture


def _affine(a: float, b: float, c: float, d: float, e: float, f: float, picture: Image.Image) -> Image.Image:
    matrix = (a, b, c, d, e, f)
    return picture.transform(picture.size, Transform.AFFINE, matrix, Resampling.BILINEAR, fillcolor=GREY)


def _shear_x(picture: Image.Image, strength: float) -> Image.Image:
    return _affine(1, 0.3 * strength, -0.15 * strength * picture.height, 0, 1, 0, picture)


def _shear_y(picture: Image.Image, strength: float) -> Image.Image:
    return _affine(1, 0, 0, 0.3 * strength, 1, -0.15 * strength * picture.width, picture)


def _translate_x(picture: Image.Image, strength: float) -> Image.Image:
    return _affine(1, 0, 0.3 * strength * picture.width, 0, 1, 0, picture)


def _translate_y(picture: Image.Image, strength: float) -> Image.Image:
    return _affine(1, 0, 0, 0, 1, 0.3 * strength * picture.height, picture)


def _rotate(picture: Image.Image, strength: float) -> Image.Image:
    return picture.rotate(30 * strength, Resampling.BILINEAR, fillcolor=GREY)


def _enhance(kind: Callable[[Image.Image], ImageEnhance._Enhance]) -> Operation:
    def enhance(picture: Image.Image, strength: float) -> Image.Image:
        return kind(picture).enhance(1 + 0.9 * strength)

    return enhance


def _posterize(picture: Image.Image, strength: float) -> Image.Image:
    return ImageOps.posterize(picture, 8 - round(4 * abs(strength)))


def _solarize(picture: Image.Image, strength: float) -> Image.Image:
    return ImageOps.solarize(picture, round(256 - 128 * abs(strength)))


OPERATIONS: tuple[Operation, ...] = (
    lambda picture, _: picture,
    lambda picture, _: ImageOps.autocontrast(picture),
    lambda picture, _: ImageOps.equalize(picture),
    _rotate,
    _solarize,
    _posterize,
    _enhance(ImageEnhance.Color),
    _enhance(ImageEnhance.Contrast),
    _enhance(ImageEnhance.Brightness),
    _enhance(ImageEnhance.Sharpness),
    _shear_x,
    _shear_y,
    _translate_x,
    _translate_y,
)
"""The paper's fourteen. Strength is in [−1, 1]; operations without a direction take its amount, or ignore it."""


def mixup(images: Tensor, targets: Tensor, alpha: float, random: Random) -> tuple[Tensor, Tensor]:
    """Each image [N, 3, s, s] and target [N, classes] with a share of the batch read backwards."""
    share = float(random.beta(alpha, alpha))
    return images.lerp(images.flip(0), 1 - share), targets.lerp(targets.flip(0), 1 - share)


def cutmix(images: Tensor, targets: Tensor, alpha: float, random: Random) -> tuple[Tensor, Tensor]:
    """One rectangle of each image comes from its counterpart in the batch read backwards; targets by area."""
    size = images.shape[-1]
    edge = math.sqrt(1 - float(random.beta(alpha, alpha))) * size
    centre_y, centre_x = random.uniform(0, size, 2)
    top, bottom = (round(min(max(centre_y + half, 0), size)) for half in (-edge / 2, edge / 2))
    left, right = (round(min(max(centre_x + half, 0), size)) for half in (-edge / 2, edge / 2))
    mixed = images.clone()
    mixed[:, :, top:bottom, left:right] = images.flip(0)[:, :, top:bottom, left:right]
    replaced = (bottom - top) * (right - left) / size**2
    return mixed, torch.lerp(targets, targets.flip(0), replaced)
