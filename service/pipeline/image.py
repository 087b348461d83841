"""Image bytes → header, and image bytes → the pixels a graph wants. The service's one module with an image library.

The transform is timm's evaluation transform: the shorter edge is resized to floor(size / crop_pct) with antialiased
bicubic, then the centre is cropped. Only the crop is ever resized (`box=`), which gives the same pixels (but for
rounding: Pillow takes the box in single precision) and keeps a 20,000 × 1 image from becoming a 5-million-pixel-wide
one. JPEGs are decoded at a reduced DCT scale when that still leaves twice the pixels the resize needs.

What is done to images that are turned or not plain RGB is written in `model_store.pictures`, where training reads it
too. The service needs the parts rather than the whole, because it decodes at a reduced scale.
"""

import io
import math
import struct
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, PngImagePlugin, UnidentifiedImageError
from PIL.Image import Resampling

from model_store import pictures
from model_store.manifest import Preprocessing
from model_store.pictures import Orientation, orientation, to_rgb
from service.core.errors import EffserveError, ErrorKind
from service.core.values import ImageHeader, Pixels, Source
from service.pipeline.segments import check_pieces

FORMATS = pictures.FORMATS
"""What is read."""
PIXELS = "PIXELS"
"""The format of an image that came decoded."""

DRAFT_MARGIN = 2.0
"""A JPEG may be decoded at a reduced scale that leaves this many times the resize target on the shorter edge.
With 2 the antialiased resize still does at least one octave itself, and the result differs by under one level."""

_ALIASES = {"MPO": "JPEG"}
"""Phones append further pictures (depth, the other eye) to a JPEG, which Pillow calls MPO. The first counts."""

# The pixel limit is checked here, with the operator's figure. Pillow's own would warn below it or raise above.
Image.MAX_IMAGE_PIXELS = None
# Compressed texts in a PNG are inflated while its header is read. Pillow's limit of 64 MB for all of them would keep
# the event loop busy for a tenth of a second.
PngImagePlugin.MAX_TEXT_MEMORY = 4 * PngImagePlugin.MAX_TEXT_CHUNK

_FOREIGN = {
    b"II*\x00": "TIFF",
    b"MM\x00*": "TIFF",
    b"II+\x00": "TIFF",
    b"MM\x00+": "TIFF",
    b"\x00\x00\x01\x00": "ICO",
    b"8BPS": "PSD",
    b"%PDF": "PDF",
    b"\xff\x0a": "JPEG XL",
    b"\x00\x00\x00\x0cJXL ": "JPEG XL",
    b"\x00\x00\x00\x0cjP  ": "JPEG 2000",
    b"<svg": "SVG",
}
_ISO_BRANDS = {b"avif": "AVIF", b"avis": "AVIF", b"heic": "HEIC", b"heix": "HEIC", b"mif1": "HEIF", b"msf1": "HEIF"}

# What Pillow raises for damaged files, by experience and by its source: each is the file's fault, not ours.
_DAMAGE = (OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, OverflowError, struct.error)


def read_header(body: Source, *, max_pixels: int) -> ImageHeader:
    """Format and size from the first bytes; nothing is decoded.

    Raises `EffserveError`: EMPTY_IMAGE, UNDECODABLE_IMAGE, UNSUPPORTED_MEDIA_TYPE or TOO_MANY_PIXELS.
    """
    header = _header_of_pixels(body) if isinstance(body, Pixels) else _header_of_file(body)
    width_px, height_px = header.width_px, header.height_px
    if width_px * height_px > max_pixels:
        detail = f"the image has {width_px} x {height_px} pixels; the limit is {max_pixels} pixels"
        facts: dict[str, float | int | str] = {"width_px": width_px, "height_px": height_px, "limit_pixels": max_pixels}
        raise EffserveError(ErrorKind.TOO_MANY_PIXELS, detail, facts)
    return header


def _header_of_pixels(pixels: Pixels) -> ImageHeader:
    if not pixels.samples:
        raise EffserveError(ErrorKind.EMPTY_IMAGE, "the image has no pixels")
    return ImageHeader(PIXELS, pixels.width_px, pixels.height_px, len(pixels.samples))


def _header_of_file(body: bytes) -> ImageHeader:
    if not body:
        raise EffserveError(ErrorKind.EMPTY_IMAGE, "the image has no bytes")
    check_pieces(body)
    with _open(body) as opened:
        return ImageHeader(_format(opened), *opened.size, len(body))


def decode(body: Source, preprocessing: Preprocessing) -> npt.NDArray[np.uint8]:
    """Pixels [size, size, 3], RGB, for one variant. Raises `EffserveError(UNDECODABLE_IMAGE)`.

    Runs in a lane's thread; decoding and resizing release the GIL.
    """
    if isinstance(body, Pixels):
        return _prepare(body, preprocessing)
    with _open(body) as opened:
        try:
            full_size, scale = opened.size, _draft(opened, preprocessing)
            held = orientation(_loaded(opened))
            upright = opened if held is None else opened.transpose(held.turn)
            resized = _resize(to_rgb(upright), _frame(full_size, scale, held), preprocessing)
        except MemoryError:
            raise
        except Exception as error:
            # The library raises whatever its parsers stumble over; for a file that got here, it is the file's fault.
            raise EffserveError(ErrorKind.UNDECODABLE_IMAGE, f"the image is damaged: {_one_line(error)}") from error
    return np.array(resized, dtype=np.uint8, order="C")


def _prepare(pixels: Pixels, preprocessing: Preprocessing) -> npt.NDArray[np.uint8]:
    """Resized and cropped like any image, unless that is done."""
    shape = (pixels.height_px, pixels.width_px, 3)
    given = np.frombuffer(pixels.samples, np.uint8).reshape(shape)
    if pixels.prepared:
        return given
    frame = _Frame(pixels.width_px, pixels.height_px, 1.0, remainder_left=False, remainder_top=False)
    return np.array(_resize(Image.fromarray(given), frame, preprocessing), dtype=np.uint8, order="C")


def sample(image_format: str, width_px: int, height_px: int) -> Source:
    """An image of smooth shapes and mild noise, encoded unless its format is PIXELS, for calibrating decode times."""
    if image_format == PIXELS:
        return Pixels(_sample_pixels(width_px, height_px).tobytes(), width_px, height_px)
    return encode_sample(image_format, width_px, height_px)


def encode_sample(image_format: str, width_px: int, height_px: int) -> bytes:
    """The same, always encoded."""
    picture = Image.fromarray(_sample_pixels(width_px, height_px))
    if image_format == "GIF":
        # The fixed palette: finding the best one takes seconds, and decoding does not care.
        picture = picture.convert("P")
    buffer = io.BytesIO()
    picture.save(buffer, image_format, **({"quality": 90} if image_format == "JPEG" else {}))
    return buffer.getvalue()


def _sample_pixels(width_px: int, height_px: int) -> npt.NDArray[np.uint8]:
    tile = _sample_tile(min(width_px, 512), min(height_px, 512))
    repeated = np.tile(tile, (-(-height_px // len(tile)), -(-width_px // len(tile[0])), 1))
    return repeated[:height_px, :width_px]


def _sample_tile(width_px: int, height_px: int) -> npt.NDArray[np.uint8]:
    noise = np.random.default_rng(0).normal(0, 6, (height_px, width_px, 3))
    rows, columns = np.mgrid[0:height_px, 0:width_px]
    waves = np.stack([np.sin(rows / 23), np.cos(columns / 31), np.sin((rows + columns) / 47)], axis=-1)
    return np.clip(128 + 80 * waves + noise, 0, 255).astype(np.uint8)


@dataclass(frozen=True, slots=True)
class Crop:
    """The part of a source image that ends up in the input, in source pixels."""

    left: float
    top: float
    right: float
    bottom: float


def crop_box(width_px: int, height_px: int, preprocessing: Preprocessing) -> Crop:
    """Where timm's resize-then-crop looks in the source.

    The resized image would have floor(size / crop_pct) on the shorter edge and int(that · long / short) on the
    longer one; the crop's offset is rounded there (half to even, as Python and timm do), then mapped back.
    """
    if preprocessing.crop_mode == "squash":
        return Crop(0, 0, width_px, height_px)
    size, short = preprocessing.input_size_px, min(width_px, height_px)
    target = math.floor(size / preprocessing.crop_pct)
    resized = tuple(target if edge == short else int(target * edge / short) for edge in (width_px, height_px))
    (left, x_scale), (top, y_scale) = (
        (round((edge - size) / 2), source / edge) for edge, source in zip(resized, (width_px, height_px), strict=True)
    )
    return Crop(
        max(left * x_scale, 0), max(top * y_scale, 0),
        min((left + size) * x_scale, width_px), min((top + size) * y_scale, height_px),
    )  # fmt: skip


def _open(body: bytes) -> Image.Image:
    try:
        return Image.open(io.BytesIO(body), formats=FORMATS)
    except UnidentifiedImageError:
        raise _unidentified(body) from None
    except _DAMAGE as error:
        raise EffserveError(ErrorKind.UNDECODABLE_IMAGE, f"the header is damaged: {_one_line(error)}") from error


def _format(opened: Image.Image) -> str:
    name = opened.format or ""
    return _ALIASES.get(name, name)


def _unidentified(body: bytes) -> EffserveError:
    """Another image format is a 415; anything else is not an image."""
    foreign = next((name for magic, name in _FOREIGN.items() if body.startswith(magic)), None)
    if body[4:8] == b"ftyp":
        foreign = _ISO_BRANDS.get(body[8:12])
    if foreign is not None:
        detail = f"{foreign} images are not read; send one of {', '.join(FORMATS)}"
        return EffserveError(ErrorKind.UNSUPPORTED_MEDIA_TYPE, detail)
    return EffserveError(ErrorKind.UNDECODABLE_IMAGE, "the bytes are not an image, or its header is cut short")


def _draft(opened: Image.Image, preprocessing: Preprocessing) -> float:
    """Let the JPEG decoder do part of the downscaling; returns by how much it does (1.0, 0.5, 0.25 or 0.125)."""
    if _format(opened) != "JPEG" or opened.mode not in ("RGB", "L", "YCbCr"):
        return 1.0
    least = DRAFT_MARGIN * math.floor(preprocessing.input_size_px / preprocessing.crop_pct)
    width_px, height_px = opened.size
    scale = least / min(width_px, height_px)
    if scale >= 1:
        return 1.0
    drafted = opened.draft(None, (math.ceil(width_px * scale), math.ceil(height_px * scale)))
    return 1.0 if drafted is None else drafted[1][2] / width_px


@dataclass(frozen=True, slots=True)
class _Frame:
    """Where the picture lies in what was decoded.

    At 1/8 scale a JPEG 901 pixels wide comes out 113 wide and fills 112.6 of them. Taking it for 113 would shift the
    far edge by three source pixels, which is many levels at sharp edges.
    """

    width_px: int
    height_px: int
    """Size of the whole picture, upright."""
    scale: float
    """Decoded pixels per pixel of the whole picture."""
    remainder_left: bool
    remainder_top: bool
    """The edges with the pixel that is filled in part: right and bottom as stored, elsewhere once turned."""


def _frame(full_size: tuple[int, int], scale: float, held: Orientation | None) -> _Frame:
    width_px, height_px = full_size
    if held is None:
        return _Frame(width_px, height_px, scale, remainder_left=False, remainder_top=False)
    if held.swapped:
        width_px, height_px = height_px, width_px
    return _Frame(width_px, height_px, scale, held.left, held.top)


def _loaded(opened: Image.Image) -> Image.Image:
    opened.load()
    return opened


def _resize(source: Image.Image, frame: _Frame, preprocessing: Preprocessing) -> Image.Image:
    """Resize the crop: columns first, then rows, as Pillow does for a whole image unless that is tall.

    Given a box, Pillow picks the cheaper order, and bicubic overshoot is clipped in between: the result would depend
    on the shape of the image. So the two passes are made one by one, over the rows that the second one reads.
    """
    size, box = preprocessing.input_size_px, _decoded_box(source, frame, preprocessing)
    kernel = Resampling.BICUBIC if preprocessing.interpolation == "bicubic" else Resampling.BILINEAR
    reach = math.ceil(2 * max((box.bottom - box.top) / size, 1.0)) + 1
    first, last = max(math.floor(box.top) - reach, 0), min(math.ceil(box.bottom) + reach, source.height)
    columns = source.resize((size, last - first), kernel, box=(box.left, first, box.right, last))
    return columns.resize((size, size), kernel, box=(0, box.top - first, size, box.bottom - first))


def _decoded_box(source: Image.Image, frame: _Frame, preprocessing: Preprocessing) -> Crop:
    """The crop in pixels of the decoded image."""
    crop, scale = crop_box(frame.width_px, frame.height_px, preprocessing), frame.scale
    x = source.width - frame.width_px * scale if frame.remainder_left else 0.0
    y = source.height - frame.height_px * scale if frame.remainder_top else 0.0
    return Crop(
        x + crop.left * scale, y + crop.top * scale,
        min(x + crop.right * scale, source.width), min(y + crop.bottom * scale, source.height),
    )  # fmt: skip


def _one_line(error: BaseException) -> str:
    """Pillow's message without object addresses, short enough for a client."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text.split(" <_io.BytesIO")[0][:120]
