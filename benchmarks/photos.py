"""The images that requests carry: a folder of photos, or pictures of several sizes made for the purpose."""

from pathlib import Path

from service.pipeline.image import encode_sample

SUFFIXES = frozenset({".jpg", ".jpeg"})
SIZES_PX = ((320, 240), (500, 375), (640, 480), (1024, 768))
"""Of made pictures. 500 × 375 is the most frequent size in ImageNet."""


def read(folder: Path | None) -> list[bytes]:
    """JPEG files, by name. None: made pictures. Raises `ValueError` for a folder that has none."""
    if folder is None:
        return [encode_sample("JPEG", width, height) for width, height in SIZES_PX]
    found = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    if not found:
        raise ValueError(f"no JPEG files in {folder}")
    return [path.read_bytes() for path in found]


def middle(photos: list[bytes]) -> bytes:
    """One that is neither small nor large."""
    return sorted(photos, key=len)[len(photos) // 2]
