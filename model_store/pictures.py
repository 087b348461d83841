"""Encoded images → what they show, upright and in RGB. One rule, so that training sees what serving will see.

EXIF orientation is applied; 16-bit samples are scaled, not clipped; transparency is laid over white, as a page would
show it; CMYK is converted; of an animation the first frame counts. Left out: sizes and crops, which differ between
training and serving, and limits on what strangers may send, which are the service's.
"""

import io
from dataclasses import dataclass

import numpy as np
from PIL import ExifTags, Image
from PIL.Image import Transpose

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP")
"""What is read. More formats mean more decoders exposed to hostile input; these five are what the web sends."""


@dataclass(frozen=True, slots=True)
class Orientation:
    """How a camera was held."""

    turn: Transpose
    """What puts the picture upright."""
    swapped: bool
    """Width and height change places."""
    left: bool
    """The right or bottom edge as stored ends up on the left."""
    top: bool
    """The right or bottom edge as stored ends up on top."""


_ORIENTATIONS = {
    2: Orientation(Transpose.FLIP_LEFT_RIGHT, swapped=False, left=True, top=False),
    3: Orientation(Transpose.ROTATE_180, swapped=False, left=True, top=True),
    4: Orientation(Transpose.FLIP_TOP_BOTTOM, swapped=False, left=False, top=True),
    5: Orientation(Transpose.TRANSPOSE, swapped=True, left=False, top=False),
    6: Orientation(Transpose.ROTATE_270, swapped=True, left=True, top=False),
    7: Orientation(Transpose.TRANSVERSE, swapped=True, left=True, top=True),
    8: Orientation(Transpose.ROTATE_90, swapped=True, left=False, top=True),
}
"""By the value of the EXIF tag."""


def picture(body: bytes) -> Image.Image:
    """The whole picture. Raises whatever Pillow's parsers stumble over."""
    with Image.open(io.BytesIO(body), formats=FORMATS) as opened:
        opened.load()
        held = orientation(opened)
        return to_rgb(opened if held is None else opened.transpose(held.turn))


def orientation(loaded: Image.Image) -> Orientation | None:
    """None for upright. Pillow's own `exif_transpose` writes all tags anew, and fails on odd ones among them."""
    try:
        value = loaded.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:
        # Tags that cannot be read cost the orientation, not the picture.
        return None
    return _ORIENTATIONS.get(value) if isinstance(value, int) else None


def to_rgb(source: Image.Image) -> Image.Image:
    """Three channels of 8 bits, of any mode."""
    if source.mode == "RGB" and "transparency" not in source.info:
        return source
    if source.mode.startswith("I") or source.mode == "F":
        return _scaled_down(source).convert("RGB")
    if source.has_transparency_data:
        return _over_white(source.convert("RGBA"))
    return source.convert("RGB")


def _scaled_down(source: Image.Image) -> Image.Image:
    """16-bit grey to 8 bits by scaling: Pillow's own conversion clips everything above 255 to white."""
    return Image.fromarray((np.clip(np.asarray(source, dtype=np.float32) / 257, 0, 255) + 0.5).astype(np.uint8))


def _over_white(source: Image.Image) -> Image.Image:
    white = Image.new("RGBA", source.size, (255, 255, 255, 255))
    return Image.alpha_composite(white, source).convert("RGB")
