"""What requests carry where no folder of photos is given: made from a seed, all of the size most frequent in ImageNet.

One size, because the simulator counts decoding into a run; the content differs in detail, as photos do.
"""

import io

import numpy as np
from PIL import Image

WIDTH_PX, HEIGHT_PX = 500, 375
COUNT = 16
QUALITY = 90


def made(seed: int, count: int = COUNT, size_px: tuple[int, int] = (WIDTH_PX, HEIGHT_PX)) -> list[bytes]:
    """JPEGs of smooth shapes and noise, more or less of it."""
    draw = np.random.default_rng(seed)
    return [_picture(draw, *size_px) for _ in range(count)]


def _picture(draw: np.random.Generator, width_px: int, height_px: int) -> bytes:
    rows, columns = np.mgrid[0:height_px, 0:width_px]
    lengths_px, phases = draw.uniform(8, 120, (3, 2)), draw.uniform(0, 2 * np.pi, 3)
    waves = [
        np.sin(rows / down + columns / along + phase) for (down, along), phase in zip(lengths_px, phases, strict=True)
    ]
    noise = draw.normal(0, draw.uniform(2, 10), (height_px, width_px, 3))
    pixels = np.clip(128 + 80 * np.stack(waves, axis=-1) + noise, 0, 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=QUALITY)
    return buffer.getvalue()
