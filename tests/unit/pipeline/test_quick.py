"""The quick way to pixels: JPEGs straight from libjpeg-turbo, crops by vector instructions, else as Pillow does."""

import io
import struct
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from service.core.errors import EffserveError, ErrorKind
from service.pipeline import image, resizing
from service.pipeline.image import decode, read_header
from tests.fixtures import encode, jpeg, photo, pixels_of, preprocessing

Array = npt.NDArray[np.uint8]

without_vectors = pytest.mark.skipif(not resizing.AVAILABLE, reason="cykooz-resizer has no build for this machine")


class NoDecoder:
    """In place of simplejpeg: it reads nothing, so Pillow has to."""

    def decode_jpeg_header(self, body: bytes, **least: int) -> tuple[int, int]:
        """Refuses."""
        raise ValueError("not by me")


class Liar:
    """In place of simplejpeg: its header announces more pixels than Pillow has read."""

    def decode_jpeg_header(self, body: bytes, **least: int) -> tuple[int, int]:
        """Height and width."""
        return 60_000, 60_000

    def decode_jpeg(self, body: bytes, **least: int) -> Array:
        """Is never to be asked."""
        raise AssertionError("decoded without a look at the size")


def by_pillow(monkeypatch: pytest.MonkeyPatch, body: bytes, size: int = 64) -> Array:
    """What comes of `body` when nothing but Pillow decodes."""
    with monkeypatch.context() as patched:
        patched.setattr(image, "simplejpeg", NoDecoder())
        return decode(body, preprocessing(size))


@pytest.mark.parametrize(("width", "height"), [(500, 375), (375, 500), (1203, 901), (61, 47), (1, 1), (9, 700)])
@pytest.mark.parametrize("options", [{}, {"subsampling": 0}, {"progressive": True}, {"subsampling": 1}])
def test_libjpeg_turbo_gives_what_pillow_gives(
    monkeypatch: pytest.MonkeyPatch, width: int, height: int, options: dict[str, object]
) -> None:
    """To the bit, at full and at reduced scales: it is the same library."""
    body = encode(photo(width, height), "JPEG", **options)
    assert np.array_equal(decode(body, preprocessing(64)), by_pillow(monkeypatch, body))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_turned_jpegs_are_turned_as_pillow_turns_them(monkeypatch: pytest.MonkeyPatch, orientation: int) -> None:
    """At a reduced scale, with pixels that are filled in part."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    body = jpeg(901, 667, exif=exif)
    assert np.array_equal(decode(body, preprocessing(64)), by_pillow(monkeypatch, body))


def test_grey_jpegs_are_read_by_it_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three equal channels."""
    body = encode(photo(400, 300).convert("L"), "JPEG")
    assert np.array_equal(decode(body, preprocessing(64)), by_pillow(monkeypatch, body))


@pytest.mark.parametrize("kind", ["CMYK", "RGBA"])
def test_what_is_not_plain_is_left_to_pillow(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """CMYK is converted by Pillow's rule, and other formats are not JPEGs."""
    body = encode(photo(90, 70).convert(kind), "JPEG" if kind == "CMYK" else "PNG")
    assert np.array_equal(decode(body, preprocessing(64)), by_pillow(monkeypatch, body))


def test_a_jpeg_that_libjpeg_warns_of_is_left_to_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes too many between two segments: a warning, and a picture all the same."""
    body = jpeg(90, 70)
    scan = body.index(b"\xff\xda")
    odd = body[:scan] + b"\x00\x01\x02" + body[scan:]
    assert np.array_equal(decode(odd, preprocessing(64)), by_pillow(monkeypatch, odd))


def test_a_size_that_only_the_decoder_sees_is_not_allocated(monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit was checked by Pillow's reading of the header; where they disagree, Pillow decodes."""
    body = jpeg(90, 70)
    expected = by_pillow(monkeypatch, body)
    monkeypatch.setattr(image, "simplejpeg", Liar())
    assert np.array_equal(decode(body, preprocessing(64)), expected)


def test_a_second_frame_header_with_another_size_is_refused() -> None:
    """The first announces 65,000 x 65,000, the last, which Pillow goes by, the real size."""
    body = jpeg(90, 70)
    frame = body.index(b"\xff\xc0")
    huge = body[frame : frame + 5] + struct.pack(">HH", 65_000, 65_000) + body[frame + 9 : frame + 19]
    bomb = body[:frame] + huge + body[frame:]
    assert read_header(bomb, max_pixels=10_000).width_px == 90
    with pytest.raises(EffserveError) as caught:
        decode(bomb, preprocessing(64))
    assert caught.value.kind is ErrorKind.UNDECODABLE_IMAGE


# Resizing.


@without_vectors
@pytest.mark.parametrize("force", ["no build", "too large to copy"])
@pytest.mark.parametrize(
    "body",
    [
        lambda: jpeg(500, 375),
        lambda: encode(photo(375, 500), "PNG"),
        lambda: encode(Image.fromarray(_noise(300, 200)), "PNG"),
    ],
)
def test_vectors_and_pillow_resize_alike(
    monkeypatch: pytest.MonkeyPatch, body: Callable[[], bytes], force: str
) -> None:
    """Two levels at most, and hardly ever: Pillow resizes where there are no vectors, and what is too large to copy."""
    wanted, found = preprocessing(64), decode(body(), preprocessing(64))
    if force == "no build":
        monkeypatch.setattr(resizing, "AVAILABLE", False)
    else:
        monkeypatch.setattr(image, "MOST_COPIED_PIXELS", 1)
    apart = np.abs(decode(body(), wanted).astype(int) - found)
    assert apart.max() <= 2
    assert (apart > 0).mean() < 0.02


def _noise(width: int, height: int) -> Array:
    return np.random.default_rng(1).choice(np.array([0, 255], np.uint8), (height, width, 3))


@without_vectors
def test_every_size_of_image_has_a_box_that_lies_inside() -> None:
    """Rounding never puts the crop's far edge beyond the image, which the library would refuse."""
    for width in range(1, 200, 7):
        for height in (1, 2, 33, 64, 75, 149, 1_000):
            body = io.BytesIO()
            Image.new("RGB", (width, height), (9, 8, 7)).save(body, "BMP")
            assert (decode(body.getvalue(), preprocessing(32, 0.89)) == (9, 8, 7)).all()


def test_pixels_are_contiguous() -> None:
    """[size, size, 3], as a session takes them, whatever turned the picture."""
    exif = Image.Exif()
    exif[0x0112] = 6
    pixels = decode(jpeg(300, 200, exif=exif), preprocessing(64))
    assert (pixels.shape, pixels.flags.c_contiguous) == ((64, 64, 3), True)
    assert pixels_of(Image.fromarray(pixels)).shape == (64, 64, 3)
