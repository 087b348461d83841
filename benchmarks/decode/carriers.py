"""The same photos as files of other formats and sizes."""

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image
from PIL.Image import Resampling

GRAIN = 4.0
"""Standard deviation of the noise that enlarged images get, in levels: without it they would have nothing of the
detail that a reduced scale leaves out."""
_OPTIONS: dict[str, dict[str, object]] = {"PNG": {}, "WEBP": {"quality": 80}, "JPEG": {"quality": 90}}


def carried(photos: Sequence[bytes]) -> dict[str, list[bytes]]:
    """The JPEGs as they are, and their pixels as PNG and as lossy WebP."""
    return {"JPEG": list(photos)} | {name: [_as(photo, name) for photo in photos] for name in ("PNG", "WEBP")}


def _as(photo: bytes, image_format: str) -> bytes:
    with Image.open(io.BytesIO(photo)) as opened:
        return _encoded(opened.convert("RGB"), image_format)


def enlarged(body: bytes, times: int, seed: int) -> bytes:
    """A small image as a JPEG with edges so many times as long, bicubic and with grain."""
    with Image.open(io.BytesIO(body)) as opened:
        small = opened.convert("RGB")
    large = small.resize((small.width * times, small.height * times), Resampling.BICUBIC)
    grain = np.random.default_rng(seed).normal(0, GRAIN, (large.height, large.width, 1))
    return _encoded(Image.fromarray(np.clip(np.asarray(large) + grain, 0, 255).astype(np.uint8)), "JPEG")


def _encoded(picture: Image.Image, image_format: str) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, image_format, **_OPTIONS[image_format])
    return buffer.getvalue()
