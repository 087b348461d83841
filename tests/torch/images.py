"""A small data set that a small network learns in seconds: discs, squares and stripes on noise, as JPEG files."""

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

SHAPES = ("disc", "square", "stripes")
EDGE_PX = 48


def drawing(shape: str, seed: int) -> bytes:
    """One shape at a random place on noise."""
    random = np.random.default_rng((SHAPES.index(shape), seed))
    picture = Image.fromarray(random.integers(0, 90, (EDGE_PX, EDGE_PX, 3), np.uint8))
    pen, colour = ImageDraw.Draw(picture), tuple(random.integers(150, 256, 3).tolist())
    left, top, size = (int(value) for value in random.integers((2, 2, 18), (16, 16, 28)))
    box = (left, top, left + size, top + size)
    if shape == "disc":
        pen.ellipse(box, fill=colour)
    elif shape == "square":
        pen.rectangle(box, fill=colour)
    else:
        for row in range(top, top + size, 6):
            pen.rectangle((left, row, left + size, row + 2), fill=colour)
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def write_shapes(path: Path, counts: Mapping[str, int], *, first: int = 0) -> Path:
    """A ZIP with so many drawings of each shape, from number `first` on."""
    with zipfile.ZipFile(path, "w") as archive:
        for shape, count in counts.items():
            for number in range(first, first + count):
                archive.writestr(f"{shape}/{number}.jpg", drawing(shape, number))
    return path
