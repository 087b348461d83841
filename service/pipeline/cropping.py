"""Where in an image a graph's input lies: arithmetic on boxes, without a pixel.

The transform is timm's evaluation transform: the shorter edge is resized to floor(size / crop_pct), then the centre is
cropped. Here the crop is mapped back into the source, so that only what it shows has to be resized.
"""

import math
from dataclasses import dataclass

from model_store.manifest import Preprocessing

REACH = 2
"""Bicubic looks so many pixels to each side of where it is, in pixels of the coarser of the two images; bilinear 1."""


@dataclass(frozen=True, slots=True)
class Crop:
    """The part of a source image that ends up in the input, in source pixels."""

    left: float
    top: float
    right: float
    bottom: float

    def within(self, region: "Region") -> "Crop":
        """The same in pixels of that region."""
        x, y = region.left, region.top
        return Crop(self.left - x, self.top - y, self.right - x, self.bottom - y)


@dataclass(frozen=True, slots=True)
class Region:
    """Whole pixels of an image."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def width(self) -> int:
        """In pixels."""
        return self.right - self.left

    @property
    def height(self) -> int:
        """In pixels."""
        return self.bottom - self.top

    @property
    def pixels(self) -> int:
        """How many they are."""
        return self.width * self.height


@dataclass(frozen=True, slots=True)
class Frame:
    """Where the picture lies in what was decoded.

    At 1/8 scale a JPEG 901 pixels wide comes out 113 wide and fills 112.6 of them. Taking it for 113 would shift the
    far edge by three source pixels, which is many levels at sharp edges.
    """

    width_px: int
    height_px: int
    """Size of the whole picture, upright."""
    scale: float = 1.0
    """Decoded pixels per pixel of the whole picture."""
    remainder_left: bool = False
    remainder_top: bool = False
    """The edges with the pixel that is filled in part: right and bottom as stored, elsewhere once turned."""


def target_px(preprocessing: Preprocessing) -> int:
    """What the shorter edge is resized to."""
    return math.floor(preprocessing.input_size_px / preprocessing.crop_pct)


def resized_px(width_px: int, height_px: int, preprocessing: Preprocessing) -> tuple[int, int]:
    """Width and height of the image that timm crops: the target on the shorter edge, int(that · long / short) on the
    longer one."""
    target, short = target_px(preprocessing), min(width_px, height_px)
    width, height = (target if edge == short else int(target * edge / short) for edge in (width_px, height_px))
    return width, height


def offset_px(edge_px: int, size_px: int) -> int:
    """Where the crop begins in an edge of the resized image: half to even, as Python and timm round."""
    return round((edge_px - size_px) / 2)


def crop_box(width_px: int, height_px: int, preprocessing: Preprocessing) -> Crop:
    """Where timm's resize-then-crop looks in the source; the crop's offset is rounded there, then mapped back."""
    if preprocessing.crop_mode == "squash":
        return Crop(0, 0, width_px, height_px)
    size = preprocessing.input_size_px
    resized = resized_px(width_px, height_px, preprocessing)
    (left, x_scale), (top, y_scale) = (
        (offset_px(edge, size), source / edge) for edge, source in zip(resized, (width_px, height_px), strict=True)
    )
    return Crop(
        max(left * x_scale, 0), max(top * y_scale, 0),
        min((left + size) * x_scale, width_px), min((top + size) * y_scale, height_px),
    )  # fmt: skip


def decoded_box(width_px: int, height_px: int, frame: Frame, preprocessing: Preprocessing) -> Crop:
    """The crop in a decoded image of that size."""
    crop, scale = crop_box(frame.width_px, frame.height_px, preprocessing), frame.scale
    x = width_px - frame.width_px * scale if frame.remainder_left else 0.0
    y = height_px - frame.height_px * scale if frame.remainder_top else 0.0
    return Crop(
        x + crop.left * scale, y + crop.top * scale,
        min(x + crop.right * scale, width_px), min(y + crop.bottom * scale, height_px),
    )  # fmt: skip


def region(box: Crop, size_px: int, width_px: int, height_px: int) -> Region:
    """What resizing `box` to `size_px` looks at, in an image of that size."""
    left, right = _span(box.left, box.right, size_px, width_px)
    top, bottom = _span(box.top, box.bottom, size_px, height_px)
    return Region(left, top, right, bottom)


def _span(low: float, high: float, size_px: int, edge_px: int) -> tuple[int, int]:
    reach = math.ceil(REACH * max((high - low) / size_px, 1.0)) + 1
    return max(math.floor(low) - reach, 0), min(math.ceil(high) + reach, edge_px)
