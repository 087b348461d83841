"""Image bytes → header, and image bytes → the pixels a graph wants. The service's one module with an image library.

The transform is timm's evaluation transform: the shorter edge is resized to floor(size / crop_pct) with antialiased
bicubic, then the centre is cropped. It is done in one of two ways.

Quickly: JPEGs are decoded by libjpeg-turbo without a detour, at a reduced DCT scale when that still leaves twice the
pixels the resize needs, and only the crop is ever resized. Unless the scale is reduced, that gives the same pixels but
for rounding; and it keeps a 20,000 × 1 image from becoming a 5-million-pixel-wide one. Exactly: everything is decoded
and resized by Pillow, bit for bit as timm does. `docs/preprocessing.md` says what each costs and changes.

What is done to images that are turned or not plain RGB is written in `model_store.pictures`, where training reads it
too. The service needs the parts rather than the whole, because it decodes at a reduced scale.
"""

import io
import math
import struct
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import simplejpeg
from PIL import Image, PngImagePlugin, UnidentifiedImageError
from PIL.Image import Resampling, Transpose

from model_store import pictures
from model_store.manifest import Preprocessing
from model_store.pictures import Orientation, orientation, to_rgb
from service.core.errors import EffserveError, ErrorKind
from service.core.values import ImageHeader, Pixels, Source
from service.pipeline import cropping, resizing
from service.pipeline.cropping import Crop, Frame, Region
from service.pipeline.segments import check_pieces

Array = npt.NDArray[np.uint8]

FORMATS = pictures.FORMATS
"""What is read."""
PIXELS = "PIXELS"
"""The format of an image that came decoded."""

DRAFT_MARGIN = 2.0
"""A JPEG may be decoded at a reduced scale that leaves this many times the resize target on the shorter edge.
With 2 the antialiased resize still does at least one octave itself, and the result differs by under one level."""
MOST_COPIED_PIXELS = 4_000_000
"""Larger crops are resized by Pillow, in place: the quicker way takes copies, and of them decoding takes nearly all the
time anyhow."""
MOST_RESIZED_PIXELS = 50_000_000
"""timm's whole resized image; a photo's has some hundred thousand."""

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


def decode(body: Source, preprocessing: Preprocessing, *, exact: bool = False) -> Array:
    """Pixels [size, size, 3], RGB, for one variant. Raises `EffserveError(UNDECODABLE_IMAGE)`.

    `exact` gives those of timm's transform by Pillow to the bit, and takes longer. Runs in a lane's thread; decoding
    and resizing release the GIL.
    """
    if isinstance(body, Pixels):
        return _prepare(body, preprocessing, exact=exact)
    with _open(body) as opened:
        try:
            return _exactly(opened, preprocessing) if exact else _quickly(opened, body, preprocessing)
        except MemoryError:
            raise
        except Exception as error:
            # The library raises whatever its parsers stumble over; for a file that got here, it is the file's fault.
            raise EffserveError(ErrorKind.UNDECODABLE_IMAGE, f"the image is damaged: {_one_line(error)}") from error


def _exactly(opened: Image.Image, preprocessing: Preprocessing) -> Array:
    held = orientation(_loaded(opened))
    return _reference(to_rgb(opened if held is None else opened.transpose(held.turn)), preprocessing)


def _quickly(opened: Image.Image, body: bytes, preprocessing: Preprocessing) -> Array:
    full_size, scale = opened.size, _draft(opened, preprocessing)
    pixels = _jpeg(body, opened, reduced=scale < 1)
    held = orientation(_loaded(opened) if pixels is None else opened)
    frame = _frame(full_size, scale, held)
    if pixels is not None:
        return _fit(_turned(pixels, held), frame, preprocessing)
    return _fit(to_rgb(opened if held is None else opened.transpose(held.turn)), frame, preprocessing)


def _loaded(opened: Image.Image) -> Image.Image:
    opened.load()
    return opened


def _prepare(pixels: Pixels, preprocessing: Preprocessing, *, exact: bool) -> Array:
    """Resized and cropped like any image, unless that is done."""
    given = np.frombuffer(pixels.samples, np.uint8).reshape(pixels.height_px, pixels.width_px, 3)
    if pixels.prepared:
        return given
    if exact:
        return _reference(Image.fromarray(given), preprocessing)
    return _fit(given, Frame(pixels.width_px, pixels.height_px), preprocessing)


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


def _sample_pixels(width_px: int, height_px: int) -> Array:
    tile = _sample_tile(min(width_px, 512), min(height_px, 512))
    repeated = np.tile(tile, (-(-height_px // len(tile)), -(-width_px // len(tile[0])), 1))
    return repeated[:height_px, :width_px]


def _sample_tile(width_px: int, height_px: int) -> Array:
    noise = np.random.default_rng(0).normal(0, 6, (height_px, width_px, 3))
    rows, columns = np.mgrid[0:height_px, 0:width_px]
    waves = np.stack([np.sin(rows / 23), np.cos(columns / 31), np.sin((rows + columns) / 47)], axis=-1)
    return np.clip(128 + 80 * waves + noise, 0, 255).astype(np.uint8)


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
    width_px, height_px = opened.size
    scale = DRAFT_MARGIN * cropping.target_px(preprocessing) / min(width_px, height_px)
    if scale >= 1:
        return 1.0
    drafted = opened.draft(None, (math.ceil(width_px * scale), math.ceil(height_px * scale)))
    return 1.0 if drafted is None else drafted[1][2] / width_px


def _jpeg(body: bytes, opened: Image.Image, *, reduced: bool) -> Array | None:
    """Pixels [height, width, 3] of a JPEG at the scale that was drafted, as stored.

    None for other formats and for whatever the decoder has something to say about, be it a warning: then Pillow, which
    has the same library in it, gives the verdict. The size is compared before anything is decoded, because memory is
    allocated by it and the limit of pixels was checked by Pillow's reading of the header.
    """
    if _format(opened) != "JPEG" or opened.mode not in ("RGB", "L"):
        return None
    width_px, height_px = opened.size
    least = {"min_width": width_px, "min_height": height_px} if reduced else {}
    try:
        if simplejpeg.decode_jpeg_header(body, **least)[:2] != (height_px, width_px):
            return None
        pixels: Array = simplejpeg.decode_jpeg(body, **least)
    except (ValueError, KeyError):
        return None
    return pixels


def _turned(pixels: Array, held: Orientation | None) -> Array:
    """Upright, as a view."""
    return pixels if held is None else _TURNED[held.turn](pixels)


_TURNED: dict[Transpose, Callable[[Array], Array]] = {
    Transpose.FLIP_LEFT_RIGHT: lambda pixels: pixels[:, ::-1],
    Transpose.FLIP_TOP_BOTTOM: lambda pixels: pixels[::-1],
    Transpose.ROTATE_180: lambda pixels: pixels[::-1, ::-1],
    Transpose.ROTATE_90: lambda pixels: pixels.swapaxes(0, 1)[::-1],
    Transpose.ROTATE_270: lambda pixels: pixels[::-1].swapaxes(0, 1),
    Transpose.TRANSPOSE: lambda pixels: pixels.swapaxes(0, 1),
    Transpose.TRANSVERSE: lambda pixels: pixels[::-1, ::-1].swapaxes(0, 1),
}


def _frame(full_size: tuple[int, int], scale: float, held: Orientation | None) -> Frame:
    width_px, height_px = full_size
    if held is None:
        return Frame(width_px, height_px, scale)
    if held.swapped:
        width_px, height_px = height_px, width_px
    return Frame(width_px, height_px, scale, held.left, held.top)


def _fit(source: Image.Image | Array, frame: Frame, preprocessing: Preprocessing) -> Array:
    """Resize the crop, and nothing else."""
    size, (width_px, height_px) = preprocessing.input_size_px, _size(source)
    box = cropping.decoded_box(width_px, height_px, frame, preprocessing)
    needed = cropping.region(box, size, width_px, height_px)
    if not resizing.AVAILABLE or needed.pixels > MOST_COPIED_PIXELS:
        picture = source if isinstance(source, Image.Image) else Image.fromarray(source)
        return _array(_resize(picture, box, needed, preprocessing))
    return resizing.resize(_samples(source, needed), needed.width, needed.height, box.within(needed), preprocessing)


def _size(source: Image.Image | Array) -> tuple[int, int]:
    return source.size if isinstance(source, Image.Image) else (source.shape[1], source.shape[0])


def _samples(source: Image.Image | Array, needed: Region) -> bytes:
    if isinstance(source, Image.Image):
        return source.crop((needed.left, needed.top, needed.right, needed.bottom)).tobytes()
    return source[needed.top : needed.bottom, needed.left : needed.right].tobytes()


def _resize(source: Image.Image, box: Crop, needed: Region, preprocessing: Preprocessing) -> Image.Image:
    """The same by Pillow, without a copy of the source: columns first, then rows, as for a whole image unless that is
    tall.

    Given a box, Pillow picks the cheaper order, and bicubic overshoot is clipped in between: the result would depend
    on the shape of the image. So the two passes are made one by one, over the rows that the second one reads.
    """
    size, first, last = preprocessing.input_size_px, needed.top, needed.bottom
    kernel = _kernel(preprocessing)
    columns = source.resize((size, last - first), kernel, box=(box.left, first, box.right, last))
    return columns.resize((size, size), kernel, box=(0, box.top - first, size, box.bottom - first))


def _kernel(preprocessing: Preprocessing) -> Resampling:
    return Resampling.BICUBIC if preprocessing.interpolation == "bicubic" else Resampling.BILINEAR


def _array(picture: Image.Image) -> Array:
    return np.array(picture, dtype=np.uint8, order="C")


def _reference(picture: Image.Image, preprocessing: Preprocessing) -> Array:
    """What timm does, literally: resize everything, then cut out the centre.

    Of an image so long and thin that this would take gigabytes, only the crop is resized all the same.
    """
    size, kernel = preprocessing.input_size_px, _kernel(preprocessing)
    if preprocessing.crop_mode == "squash":
        return _array(picture.resize((size, size), kernel))
    width_px, height_px = cropping.resized_px(*picture.size, preprocessing)
    if width_px * height_px > MOST_RESIZED_PIXELS:
        box = cropping.crop_box(*picture.size, preprocessing)
        return _array(_resize(picture, box, cropping.region(box, size, *picture.size), preprocessing))
    left, top = cropping.offset_px(width_px, size), cropping.offset_px(height_px, size)
    return _array(picture.resize((width_px, height_px), kernel).crop((left, top, left + size, top + size)))


def _one_line(error: BaseException) -> str:
    """Pillow's message without object addresses, short enough for a client."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text.split(" <_io.BytesIO")[0][:120]
