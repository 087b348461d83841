"""Whatever the bytes are: a header and pixels of the right shape, or a named refusal. Never another exception."""

import functools
from collections.abc import Callable

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from service.core.errors import EffserveError, ErrorKind
from service.pipeline.image import FORMATS, decode, read_header
from tests.fixtures import animation, encode, photo, png_header_bomb, preprocessing

SIZE_PX, MAX_PIXELS = 32, 100_000
REFUSALS = {
    ErrorKind.EMPTY_IMAGE,
    ErrorKind.UNDECODABLE_IMAGE,
    ErrorKind.UNSUPPORTED_MEDIA_TYPE,
    ErrorKind.TOO_MANY_PIXELS,
}

# Pillow warns of damaged metadata and goes on; so does the service.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def _exif() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "a description"
    return exif


_FILES: dict[str, Callable[[], bytes]] = {
    "jpeg": lambda: encode(photo(48, 40), "JPEG", exif=_exif()),
    "large jpeg": lambda: encode(photo(300, 200), "JPEG", quality=50),
    "progressive jpeg": lambda: encode(photo(48, 40), "JPEG", progressive=True),
    "cmyk jpeg": lambda: encode(photo(48, 40).convert("CMYK"), "JPEG"),
    "two pictures": lambda: encode(photo(48, 40), "MPO", save_all=True, append_images=[photo(48, 40, seed=1)]),
    "png": lambda: encode(photo(24, 20), "PNG", exif=_exif()),
    "palette png": lambda: encode(photo(48, 40).quantize(8), "PNG", transparency=bytes([0, 128])),
    "16-bit png": lambda: encode(photo(24, 20).convert("I;16"), "PNG"),
    "animated png": lambda: animation("PNG"),
    "gif": lambda: encode(photo(48, 40).quantize(16), "GIF", transparency=3),
    "animated gif": lambda: animation("GIF"),
    "webp": lambda: encode(photo(48, 40), "WEBP", exif=_exif()),
    "lossless webp": lambda: encode(photo(24, 20).convert("RGBA"), "WEBP", lossless=True),
    "animated webp": lambda: animation("WEBP"),
    "bmp": lambda: encode(photo(24, 20), "BMP"),
    "palette bmp": lambda: encode(photo(24, 20).quantize(16), "BMP"),
}


@functools.cache
def _valid(name: str) -> bytes:
    return _FILES[name]()


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A valid file with bytes changed, removed, doubled or inserted, most of it near the start, and perhaps cut."""
    body = bytearray(_valid(draw(st.sampled_from(sorted(_FILES)))))
    for _ in range(draw(st.integers(0, 6))):
        at = draw(st.integers(0, len(body)) | st.integers(0, min(len(body), 120)))
        length = draw(st.sampled_from([1, 1, 1, 2, 4, 16]))
        new = draw(st.sampled_from([b"\x00", b"\xff", b"\xff\xff\xff\xff", b"\x7f", b""]) | st.binary(max_size=8))
        body[at : at + draw(st.sampled_from([length, len(new), 0]))] = new
    return bytes(body[: draw(st.none() | st.integers(0, len(body)))])


def _read_or_refuse(body: bytes) -> None:
    refusal = _refusal(body)
    assert refusal is None or refusal.kind in REFUSALS
    assert refusal is None or refusal.detail.isprintable()


def _refusal(body: bytes) -> EffserveError | None:
    try:
        header = read_header(body, max_pixels=MAX_PIXELS)
        pixels = decode(body, preprocessing(SIZE_PX))
    except EffserveError as error:
        return error
    assert header.format in FORMATS
    assert 0 < header.width_px * header.height_px <= MAX_PIXELS
    assert (pixels.shape, pixels.dtype.name) == ((SIZE_PX, SIZE_PX, 3), "uint8")
    return None


@pytest.mark.parametrize("name", sorted(_FILES))
def test_the_files_that_are_damaged_below_are_valid(name: str) -> None:
    """Else the other tests would show nothing."""
    read_header(_valid(name), max_pixels=MAX_PIXELS)
    decode(_valid(name), preprocessing(SIZE_PX))


@given(st.binary(max_size=200))
@example(b"")
@example(b"\x00\x00\x00\x20ftypavif")
@example(png_header_bomb())
def test_arbitrary_bytes_are_refused_by_name(body: bytes) -> None:
    """Almost none of them are an image."""
    _read_or_refuse(body)


@given(
    st.sampled_from([b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"RIFF\x10\x00\x00\x00WEBPVP8 ", b"BM"]),
    st.binary(max_size=200),
)
def test_arbitrary_bytes_behind_a_signature_are_refused_by_name(signature: bytes, rest: bytes) -> None:
    """They get past the first check of each decoder."""
    _read_or_refuse(signature + rest)


@settings(max_examples=800)
@given(damaged())
def test_a_damaged_image_is_read_or_refused_by_name(body: bytes) -> None:
    """Decoders that are lenient may read it; none may fail in a way that has no name."""
    _read_or_refuse(body)


@settings(max_examples=200)
@given(st.sampled_from(sorted(_FILES)), st.floats(0, 1))
def test_an_image_cut_anywhere_is_read_or_refused_by_name(name: str, share: float) -> None:
    """From nothing to all of it."""
    body = _valid(name)
    _read_or_refuse(body[: round(len(body) * share)])
