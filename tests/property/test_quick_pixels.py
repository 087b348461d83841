"""Quick pixels beside exact ones, whatever the image: how far apart they may be, and that both read the same files.

The stated bound, for photographs: decoded at full scale, no sample differs by more than 3 levels of 255, and on average
they do by less than 0.4 (Pillow resizes tall images in another order, so the rounding in between is another); at a
reduced scale by no more than 6, and on average by less than 0.75.
"""

from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from service.core.errors import EffserveError
from service.pipeline import image
from service.pipeline.image import decode
from tests.fixtures import encode, photo, preprocessing
from tests.property.test_image_bytes import damaged

FULL, REDUCED = (3, 0.4), (6, 0.75)
"""Most and mean."""

# Pillow warns of damaged metadata and goes on; so does the service.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


@st.composite
def files(draw: st.DrawFn) -> bytes:
    """A photograph of any shape as a file of any kind that is read, perhaps turned."""
    picture = photo(draw(st.integers(1, 500)), draw(st.integers(1, 500)), seed=draw(st.integers(0, 3)))
    picture = picture.convert(draw(st.sampled_from(["RGB", "RGB", "L", "RGBA", "P"])))
    image_format = draw(st.sampled_from(["JPEG", "JPEG", "PNG", "WEBP", "BMP", "GIF"]))
    exif = Image.Exif()
    exif[0x0112] = draw(st.integers(1, 8))
    if image_format == "JPEG":
        options = {"quality": draw(st.integers(30, 98)), "subsampling": draw(st.integers(0, 2)), "exif": exif}
        plain = picture if picture.mode in ("RGB", "L") else picture.convert("RGB")
        return encode(plain, "JPEG", progressive=draw(st.booleans()), **options)
    return encode(picture, image_format, **({"exif": exif} if image_format in ("PNG", "WEBP") else {}))


@settings(max_examples=80, deadline=None)
@given(files(), st.sampled_from([32, 64, 96, 224]), st.sampled_from([0.875, 1.0]))
def test_quick_pixels_are_near_the_exact_ones(body: bytes, size: int, crop_pct: float) -> None:
    """Within the bound that is stated above."""
    wanted = preprocessing(size, crop_pct)
    exact = decode(body, wanted, exact=True)
    apart = np.abs(decode(body, wanted).astype(int) - exact)
    most, mean = REDUCED if body.startswith(b"\xff\xd8") else FULL
    assert apart.max() <= most
    assert apart.mean() < mean


@settings(max_examples=150, deadline=None)
@given(damaged())
def test_both_read_the_same_damaged_files(body: bytes) -> None:
    """What one refuses the other refuses, by the same kind."""
    assert _verdict(body, exact=False) == _verdict(body, exact=True)


@settings(max_examples=150, deadline=None)
@given(damaged())
def test_a_damaged_jpeg_looks_as_pillow_sees_it(body: bytes) -> None:
    """The decoder without a detour shows exactly what Pillow would show, or leaves it to Pillow."""
    found = _pixels(body)
    with patch.object(image, "_jpeg", lambda *_, **__: None):
        assert found == _pixels(body)


def _verdict(body: bytes, *, exact: bool) -> str:
    try:
        decode(body, preprocessing(32), exact=exact)
    except EffserveError as error:
        return error.kind.value
    return "read"


def _pixels(body: bytes) -> bytes | None:
    try:
        return decode(body, preprocessing(32)).tobytes()
    except EffserveError:
        return None
