"""Images that are not plain RGB, 64 x 64 pixels each, by what is odd about them."""

import numpy as np
from PIL import Image

from tests.fixtures import animation, encode, photo

EDGE_PX = 64


def odd_pictures() -> dict[str, bytes]:
    """Encoded files."""
    plain = photo(EDGE_PX, EDGE_PX)
    fading = plain.convert("RGBA")
    fading.putalpha(Image.linear_gradient("L").resize(plain.size))
    grey = np.asarray(plain.convert("L"))
    return {
        "palette": encode(plain.quantize(32), "PNG"),
        "palette with a transparent entry": encode(plain.quantize(32), "PNG", transparency=3),
        "palette with alpha": encode(plain.quantize(4), "PNG", transparency=bytes([0, 90, 180, 255])),
        "alpha": encode(fading, "PNG"),
        "alpha, WebP": encode(fading, "WEBP", lossless=True),
        "grey with alpha": encode(fading.convert("LA"), "PNG"),
        "a transparent colour": encode(plain, "PNG", transparency=plain.getpixel((5, 5))),
        "16 bits": encode(Image.fromarray(grey.astype(np.uint16) * 257), "PNG"),
        "one bit": encode(plain.convert("1"), "PNG"),
        "grey": encode(plain.convert("L"), "JPEG"),
        "CMYK": encode(plain.convert("CMYK"), "JPEG"),
        "animation": animation("GIF", size=(EDGE_PX, EDGE_PX)),
        "two pictures": encode(plain, "MPO", save_all=True, append_images=[photo(EDGE_PX, EDGE_PX, seed=1)]),
        **{f"turned, EXIF {value}": _turned(plain, value) for value in range(1, 9)},
    }


def _turned(plain: Image.Image, orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encode(plain, "JPEG", exif=exif)
