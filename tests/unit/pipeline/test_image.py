"""Bytes to header and bytes to pixels, against timm's evaluation transform and against files made to hurt."""

import io
import math
import resource
import struct
import zlib
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from PIL.Image import Resampling, Transpose

from model_store.manifest import Preprocessing
from service.core.errors import EffserveError, ErrorKind
from service.core.values import ImageHeader
from service.pipeline.cropping import crop_box
from service.pipeline.image import FORMATS, decode, encode_sample, read_header
from tests.fixtures import animation, encode, jpeg, photo, pixels_of, png, png_chunk, png_header_bomb, preprocessing

Pixels = npt.NDArray[np.uint8]

SHAPES = [(320, 240), (240, 320), (256, 256), (333, 77), (77, 333), (17, 13), (640, 481), (255, 1023), (2, 3), (5, 900)]
PREPARATIONS = [(32, 0.875), (224, 0.875), (240, 0.882), (260, 0.89), (300, 0.904), (64, 1.0)]
SMALL = preprocessing(32)


def timm_eval(picture: Image.Image, wanted: Preprocessing) -> Pixels:
    """timm's transform, literally: resize the whole image, then crop its centre (torchvision's formulas).

    The resize is made of its two passes, columns first: newer versions of Pillow swap them for tall images.
    """
    size, (width, height) = wanted.input_size_px, picture.size
    target, short = math.floor(size / wanted.crop_pct), min(width, height)
    columns, rows = (target if edge == short else int(target * edge / short) for edge in (width, height))
    kernel = Resampling.BICUBIC if wanted.interpolation == "bicubic" else Resampling.BILINEAR
    left, top = (round((edge - size) / 2.0) for edge in (columns, rows))
    resized = picture.resize((columns, height), kernel).resize((columns, rows), kernel)
    return pixels_of(resized.crop((left, top, left + size, top + size)))


def same(a: Pixels, b: Pixels) -> bool:
    """Equal but for rounding: Pillow takes a box in single precision, which moves a few values by one level."""
    difference = _difference(a, b)
    return a.shape == b.shape and bool(difference.max() <= 2) and float((difference > 0).mean()) < 0.02


def failure(body: bytes, *, max_pixels: int = 10_000_000) -> EffserveError:
    """What reading and decoding `body` raises."""
    with pytest.raises(EffserveError) as caught:
        _read(body, max_pixels=max_pixels)
    return caught.value


def _read(body: bytes, *, max_pixels: int = 10_000_000) -> Pixels:
    read_header(body, max_pixels=max_pixels)
    return decode(body, SMALL)


def _difference(a: Pixels, b: Pixels) -> npt.NDArray[np.int16]:
    return np.abs(a.astype(np.int16) - b.astype(np.int16))


# The transform.


@pytest.mark.parametrize(("size", "crop_pct"), PREPARATIONS)
@pytest.mark.parametrize(("width", "height"), SHAPES)
def test_pixels_are_those_of_timms_transform(width: int, height: int, size: int, crop_pct: float) -> None:
    """Resizing the crop alone gives the same pixels as resizing everything and cropping then."""
    picture, wanted = photo(width, height), preprocessing(size, crop_pct)
    assert same(decode(encode(picture, "PNG"), wanted), timm_eval(picture, wanted))


def test_bilinear_is_the_same_too() -> None:
    """Some checkpoints were evaluated with it."""
    picture, wanted = photo(333, 240), preprocessing(64, interpolation="bilinear")
    assert same(decode(encode(picture, "PNG"), wanted), timm_eval(picture, wanted))


def test_squash_resizes_the_whole_image() -> None:
    """No crop, and the shape is not kept."""
    picture, wanted = photo(333, 240), preprocessing(64, crop_mode="squash")
    expected = pixels_of(picture.resize((64, 64), Resampling.BICUBIC))
    assert same(decode(encode(picture, "PNG"), wanted), expected)


@pytest.mark.parametrize(("width", "height"), [(411, 97), (97, 411), (200, 201)])
def test_overshoot_is_clipped_after_the_columns_whatever_the_shape(width: int, height: int) -> None:
    """Black and white noise makes bicubic overshoot in both passes; the order then shows."""
    noise = np.random.default_rng(1).choice(np.array([0, 255], np.uint8), (height, width, 3))
    picture, wanted = Image.fromarray(noise), preprocessing(64)
    assert same(decode(encode(picture, "PNG"), wanted), timm_eval(picture, wanted))


@pytest.mark.parametrize(("edge", "offset"), [(33, 0), (35, 2), (37, 2), (39, 4)])
def test_a_half_pixel_offset_is_rounded_to_even(edge: int, offset: int) -> None:
    """0.5, 1.5, 2.5, 3.5 give 0, 2, 2, 4, as Python's `round` and so torchvision's centre crop do."""
    assert crop_box(edge, 32, preprocessing(32, 1.0)).left == offset


def test_a_small_jpeg_is_decoded_in_full() -> None:
    """Under twice the resize target no reduced scale is asked for."""
    body = jpeg(70, 60)
    with Image.open(io.BytesIO(body)) as picture:
        expected = timm_eval(picture.convert("RGB"), preprocessing(32))
    assert same(decode(body, preprocessing(32)), expected)


@pytest.mark.parametrize(("width", "height"), [(640, 480), (480, 640), (1203, 901), (701, 1300)])
@pytest.mark.parametrize("size", [32, 64, 224])
def test_a_jpeg_decoded_at_a_reduced_scale_is_close(width: int, height: int, size: int) -> None:
    """Under half a level on average, also where the size is no multiple of 8 and the last pixel is filled in part."""
    body, wanted = jpeg(width, height), preprocessing(size)
    with Image.open(io.BytesIO(body)) as picture:
        difference = _difference(decode(body, wanted), timm_eval(picture.convert("RGB"), wanted))
    assert difference.mean() < 0.5
    assert difference.max() <= 3


def test_pixels_are_contiguous_bytes_in_rgb_order() -> None:
    """[size, size, 3], uint8, C order: what a graph takes."""
    pixels = decode(encode(Image.new("RGB", (50, 40), (250, 100, 3)), "PNG"), SMALL)
    assert (pixels.shape, pixels.dtype.name, pixels.flags.c_contiguous) == ((32, 32, 3), "uint8", True)
    assert (pixels == (250, 100, 3)).all()


# Kinds of images.


def test_grey_becomes_rgb() -> None:
    """Three equal channels."""
    grey = photo(90, 70).convert("L")
    assert same(_read(encode(grey, "PNG")), timm_eval(grey.convert("RGB"), SMALL))


def test_a_grey_jpeg_becomes_rgb() -> None:
    """With a reduced scale, too."""
    pixels = _read(encode(photo(400, 300).convert("L"), "JPEG"))
    assert np.array_equal(pixels[..., 0], pixels[..., 2])


def test_black_and_white_becomes_rgb() -> None:
    """One bit a pixel is resized as grey, not by dropping pixels."""
    bits = photo(90, 70).convert("1")
    assert _difference(_read(encode(bits, "PNG")), timm_eval(bits.convert("RGB"), SMALL)).max() <= 1


def test_a_palette_is_resolved_before_resizing() -> None:
    """Colours are mixed, not palette numbers."""
    palette = photo(90, 70).quantize(32)
    assert same(_read(encode(palette, "PNG")), timm_eval(palette.convert("RGB"), SMALL))


def test_a_transparent_palette_entry_shows_white() -> None:
    """As a page would show it."""
    palette = Image.new("P", (60, 50), 0)
    palette.putpalette([10, 20, 30, 200, 0, 0])
    assert (_read(encode(palette, "PNG", transparency=0)) == 255).all()


def test_a_palette_with_alpha_per_entry_is_blended_with_white() -> None:
    """Half-transparent red over white is pink."""
    palette = Image.new("P", (60, 50), 1)
    palette.putpalette([0, 0, 0, 255, 0, 0])
    pixels = _read(encode(palette, "PNG", transparency=bytes([255, 128])))
    assert _difference(pixels[0, 0], np.array([255, 127, 127], np.uint8)).max() <= 1


def test_a_transparent_colour_of_an_rgb_png_shows_white() -> None:
    """The tRNS chunk of an image without alpha."""
    picture = Image.new("RGB", (60, 50), (1, 2, 3))
    assert (_read(encode(picture, "PNG", transparency=(1, 2, 3))) == 255).all()


@pytest.mark.parametrize(("alpha", "expected"), [(0, 255), (255, 40), (128, 147)])
def test_grey_with_alpha_is_blended_with_white(alpha: int, expected: int) -> None:
    """Mode LA."""
    pixels = _read(encode(Image.new("LA", (60, 50), (40, alpha)), "PNG"))
    assert _difference(pixels, np.full_like(pixels, expected)).max() <= 1


@pytest.mark.parametrize("image_format", ["PNG", "WEBP"])
@pytest.mark.parametrize(("alpha", "expected"), [(0, (255, 255, 255)), (255, (200, 0, 80)), (128, (227, 127, 167))])
def test_alpha_is_blended_with_white(image_format: str, alpha: int, expected: tuple[int, int, int]) -> None:
    """RGBA."""
    picture = Image.new("RGBA", (60, 50), (200, 0, 80, alpha))
    options = {"lossless": True} if image_format == "WEBP" else {}
    pixels = _read(encode(picture, image_format, **options))
    assert _difference(pixels, np.broadcast_to(np.array(expected, np.uint8), pixels.shape)).max() <= 1


def test_alpha_varies_over_the_image() -> None:
    """Blended first, resized then."""
    picture = photo(90, 70).convert("RGBA")
    picture.putalpha(Image.linear_gradient("L").resize(picture.size))
    alpha = pixels_of(picture)[..., 3:].astype(np.float64) / 255
    blended = np.rint(pixels_of(picture)[..., :3] * alpha + 255 * (1 - alpha)).astype(np.uint8)
    difference = _difference(_read(encode(picture, "PNG")), timm_eval(Image.fromarray(blended), SMALL))
    assert difference.max() <= 1


def test_a_cmyk_jpeg_is_converted() -> None:
    """Full magenta and yellow is red."""
    pixels = _read(encode(Image.new("CMYK", (60, 50), (0, 255, 255, 0)), "JPEG"))
    assert _difference(pixels[16, 16], np.array([255, 0, 0], np.uint8)).max() <= 3


@pytest.mark.parametrize(("sample", "expected"), [(0, 0), (300, 1), (257 * 100, 100), (257 * 255, 255)])
def test_16_bit_grey_is_scaled_not_clipped(sample: int, expected: int) -> None:
    """The top eight bits count, rounded."""
    picture = Image.fromarray(np.full((50, 60), sample, np.uint16))
    assert (_read(encode(picture, "PNG")) == expected).all()


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_exif_orientation_gives_the_same_upright_picture(orientation: int, image_format: str) -> None:
    """Stored turned and mirrored, with the tag that undoes it."""
    upright = photo(90, 60)
    difference = _difference(_read(_turned(upright, orientation, image_format)), timm_eval(upright, SMALL))
    assert difference.max() <= (4 if image_format == "JPEG" else 1)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_jpeg_at_a_reduced_scale_is_not_shifted(orientation: int) -> None:
    """901 x 667 at 1/8 scale: the partly filled pixels end up at the left or on top when the picture is turned."""
    upright = photo(901, 667)
    difference = _difference(_read(_turned(upright, orientation, "JPEG")), timm_eval(upright, SMALL))
    assert difference.mean() < 0.6
    assert difference.max() <= 4


def _turned(upright: Image.Image, orientation: int, image_format: str) -> bytes:
    turn = _AS_STORED.get(orientation)
    exif = Image.Exif()
    exif[0x0112] = orientation
    options: dict[str, dict[str, object]] = {"JPEG": {"quality": 100, "subsampling": 0}, "WEBP": {"lossless": True}}
    stored = upright if turn is None else upright.transpose(turn)
    return encode(stored, image_format, exif=exif, **options.get(image_format, {}))


_AS_STORED = {
    2: Transpose.FLIP_LEFT_RIGHT,
    3: Transpose.ROTATE_180,
    4: Transpose.FLIP_TOP_BOTTOM,
    5: Transpose.TRANSPOSE,
    6: Transpose.ROTATE_90,
    7: Transpose.TRANSVERSE,
    8: Transpose.ROTATE_270,
}


def test_damaged_exif_does_not_cost_the_picture() -> None:
    """Orientation is metadata: where it cannot be read, the picture is taken as it is stored."""
    body = jpeg(90, 60, exif=b"Exif\x00\x00" + b"II*\x00" + struct.pack("<IH", 8, 1) + b"\x12\x01")
    with pytest.warns(UserWarning, match="EXIF"):
        pixels = _read(body)
    assert np.array_equal(pixels, _read(jpeg(90, 60)))


@pytest.mark.parametrize("image_format", ["GIF", "WEBP", "PNG"])
def test_of_an_animation_the_first_frame_counts(image_format: str) -> None:
    """Red, then blue."""
    assert (_read(animation(image_format)) == (255, 0, 0)).all()


@pytest.mark.parametrize("image_format", ["BMP", "PNG", "WEBP"])
def test_lossless_formats_agree(image_format: str) -> None:
    """The same pixels whatever carries them."""
    picture = photo(90, 70)
    options = {"lossless": True} if image_format == "WEBP" else {}
    assert same(_read(encode(picture, image_format, **options)), timm_eval(picture, SMALL))


def test_a_jpeg_with_further_pictures_is_a_jpeg() -> None:
    """Phones append depth maps and second eyes; Pillow calls such a file MPO."""
    picture = photo(400, 300)
    body = encode(picture, "MPO", save_all=True, append_images=[photo(400, 300, seed=1)])
    assert read_header(body, max_pixels=10**6).format == "JPEG"
    assert np.array_equal(_read(body), _read(encode(picture, "JPEG")))


def test_a_single_pixel_fills_the_input() -> None:
    """1 x 1."""
    assert (_read(encode(Image.new("RGB", (1, 1), (9, 8, 7)), "PNG")) == (9, 8, 7)).all()


@pytest.mark.parametrize(("width", "height"), [(20_000, 1), (1, 20_000)])
def test_a_line_of_pixels_is_read_without_blowing_it_up(width: int, height: int) -> None:
    """timm would resize it to 720,000 x 36; its centre is all that is needed."""
    colours = np.zeros((height, width, 3), np.uint8)
    colours[height // 2 :, width // 2 :] = 200
    pixels = _read(encode(Image.fromarray(colours), "PNG"))
    assert pixels.shape == (32, 32, 3)
    assert (pixels.min() < 10, pixels.max() > 190) == (True, True)


# Headers.


@pytest.mark.parametrize("image_format", FORMATS)
def test_the_header_tells_format_and_size(image_format: str) -> None:
    """For each format that is read."""
    body = encode(photo(41, 23), image_format)
    assert read_header(body, max_pixels=1000) == ImageHeader(image_format, 41, 23, len(body))


@pytest.mark.parametrize("image_format", FORMATS)
def test_a_calibration_sample_has_the_format_and_size_asked_for(image_format: str) -> None:
    """What `encode_sample` writes, `read_header` reads."""
    header = read_header(encode_sample(image_format, 64, 48), max_pixels=64 * 48)
    assert (header.format, header.width_px, header.height_px) == (image_format, 64, 48)


def test_the_pixel_limit_is_inclusive() -> None:
    """41 x 23 = 943 pixels are allowed by a limit of 943 and not by one of 942."""
    body = png(41, 23)
    assert read_header(body, max_pixels=943).width_px == 41
    assert failure(body, max_pixels=942).kind is ErrorKind.TOO_MANY_PIXELS


def test_a_pixel_bomb_is_refused_with_its_figures() -> None:
    """A client can tell by how much it is over."""
    error = failure(png_header_bomb(20_000, 20_000), max_pixels=50_000_000)
    assert error.kind is ErrorKind.TOO_MANY_PIXELS
    assert error.facts == {"width_px": 20_000, "height_px": 20_000, "limit_pixels": 50_000_000}


def test_a_pixel_bomb_is_refused_by_its_header_alone() -> None:
    """Memory for its pixels (1.6 GB) is never asked for, and nothing beyond the header is read."""
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert failure(png_header_bomb()[:45]).kind is ErrorKind.TOO_MANY_PIXELS
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib < 50 * 1024


def test_a_compressed_metadata_bomb_is_not_inflated() -> None:
    """64 MiB of zeros in a text chunk: refused, or read without them."""
    text = b"Comment\x00\x00" + zlib.compress(bytes(64 << 20))
    body = png(20, 20)
    bomb = body[:33] + png_chunk(b"zTXt", text) + body[33:]
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert failure(bomb).kind is ErrorKind.UNDECODABLE_IMAGE
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib < 50 * 1024


# Refusals.


def test_no_bytes_are_an_empty_image() -> None:
    """A kind of its own: the client forgot the image."""
    assert failure(b"").kind is ErrorKind.EMPTY_IMAGE


@pytest.mark.parametrize("body", [b"\x00", b"hello, this is text", b"<html></html>", b"\xff\xd8", b"\x89PNG\r\n\x1a\n"])
def test_what_is_not_an_image_is_undecodable(body: bytes) -> None:
    """Text, and signatures with nothing behind them."""
    assert failure(body).kind is ErrorKind.UNDECODABLE_IMAGE


def _avif() -> bytes:
    return b"\x00\x00\x00\x20ftypavif\x00\x00\x00\x00avifmif1miafMA1B"


def _heic() -> bytes:
    return b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic"


@pytest.mark.parametrize(
    ("body", "name"),
    [
        (lambda: encode(photo(20, 20), "TIFF"), "TIFF"),
        (lambda: encode(photo(20, 20), "TIFF", big_tiff=True), "TIFF"),
        (lambda: encode(photo(20, 20), "ICO", sizes=[(16, 16)]), "ICO"),
        (lambda: encode(photo(20, 20), "AVIF"), "AVIF"),
        (lambda: encode(photo(20, 20), "JPEG2000"), "JPEG 2000"),
        (_avif, "AVIF"),
        (_heic, "HEIC"),
        (lambda: b"%PDF-1.7\n", "PDF"),
        (lambda: b'<svg xmlns="http://www.w3.org/2000/svg"/>', "SVG"),
    ],
)
def test_a_format_that_is_not_read_is_named(body: Callable[[], bytes], name: str) -> None:
    """And the sentence lists those that are."""
    error = failure(body())
    assert error.kind is ErrorKind.UNSUPPORTED_MEDIA_TYPE
    assert error.detail.startswith(f"{name} images are not read; send one of JPEG, PNG")


@pytest.mark.parametrize("image_format", FORMATS)
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_an_image_that_is_cut_short_is_undecodable(image_format: str, share: float) -> None:
    """Half a picture is not classified."""
    body = encode(photo(120, 90), image_format)
    assert failure(body[: int(len(body) * share)]).kind is ErrorKind.UNDECODABLE_IMAGE


def test_a_png_with_a_wrong_checksum_is_undecodable() -> None:
    """One bit flipped in the picture's data."""
    body = bytearray(png(120, 90))
    body[len(body) // 2] ^= 1
    assert failure(bytes(body)).kind is ErrorKind.UNDECODABLE_IMAGE


def test_the_refusal_is_one_short_line_without_addresses() -> None:
    """It goes to a client."""
    detail = failure(jpeg(120, 90)[:2000]).detail
    assert "\n" not in detail
    assert "0x" not in detail
    assert len(detail) < 160


def _file(body: bytes) -> "io.BytesIO":
    return io.BytesIO(body)


FLOAT, ASCII = 11, 2


@pytest.mark.parametrize(
    ("tag", "kind", "value"),
    [
        (0x010E, FLOAT, struct.pack("<f", 1.5)),  # a description that is a number
        (0x011A, ASCII, b"72\0\0"),  # a resolution that is a text
        (0x0132, FLOAT, struct.pack("<f", 2.0)),  # a date that is a number
    ],
)
def test_odd_tags_beside_the_orientation_do_not_matter(tag: int, kind: int, value: bytes) -> None:
    """Only the orientation is read."""
    orientation = struct.pack("<HHIHH", 0x0112, 3, 1, 6, 0)
    odd = struct.pack("<HHI", tag, kind, 1 if kind == FLOAT else 3) + value
    entries = sorted([orientation, odd], key=lambda entry: struct.unpack_from("<H", entry))
    tags = b"II*\0" + struct.pack("<IH", 8, 2) + b"".join(entries) + bytes(4)
    turned = encode(photo(64, 48), "JPEG", exif=b"Exif\0\0" + tags)
    expected = decode(encode(photo(64, 48), "JPEG"), preprocessing(32, 1.0, crop_mode="squash"))
    found = decode(turned, preprocessing(32, 1.0, crop_mode="squash"))
    assert np.abs(np.rot90(expected, -1).astype(int) - found.astype(int)).max() <= 2
