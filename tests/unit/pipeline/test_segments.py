"""Files made of absurdly many pieces are refused before an image library walks them."""

import pytest

from service.core.errors import EffserveError, ErrorKind
from service.pipeline.segments import MOST_PIECES, check_pieces
from tests.fixtures import animation, encode, jpeg, photo, png, png_chunk

MANY = 100_000


def png_flood() -> bytes:
    """Empty private chunks after the header."""
    whole = png(8, 8)
    return whole[:33] + png_chunk(b"abCd", b"") * MANY + whole[33:]


def jpeg_flood() -> bytes:
    """Empty comments."""
    whole = jpeg(8, 8)
    return whole[:2] + b"\xff\xfe\x00\x02" * MANY + whole[2:]


def jpeg_of_fill_bytes() -> bytes:
    """0xFF may be repeated before a marker."""
    whole = jpeg(8, 8)
    return whole[:2] + b"\xff" * MANY + whole[2:]


def gif_flood() -> bytes:
    """Comments of one byte."""
    whole = animation("GIF")
    start = 13 + (3 << (whole[10] & 7) + 1 if whole[10] & 0x80 else 0)
    return whole[:start] + b"\x21\xfe\x01x\x00" * MANY + whole[start:]


@pytest.mark.parametrize("flood", [png_flood, jpeg_flood, jpeg_of_fill_bytes, gif_flood])
def test_a_flood_of_pieces_is_refused(flood: object) -> None:
    """It would keep the interpreter busy for seconds."""
    assert callable(flood)
    with pytest.raises(EffserveError, match="pieces") as caught:
        check_pieces(flood())
    assert caught.value.kind is ErrorKind.UNDECODABLE_IMAGE


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "GIF", "WEBP", "BMP"])
def test_real_files_pass(image_format: str) -> None:
    """Whatever their size."""
    check_pieces(encode(photo(1600, 1200), image_format))


def test_a_jpeg_with_every_kind_of_metadata_passes() -> None:
    """A large colour profile is split over many segments."""
    check_pieces(jpeg(64, 48, icc_profile=bytes(2_000_000), comment=b"x" * 60_000, exif=b"Exif\0\0" + bytes(60_000)))


def test_the_limit_grows_with_what_a_png_holds() -> None:
    """Its data may come in chunks of a kilobyte."""
    data = png_chunk(b"IDAT", bytes(1_100)) * (2 * MOST_PIECES)
    check_pieces(png(8, 8)[:33] + data)


@pytest.mark.parametrize("whole", [png(16, 16), jpeg(16, 16), animation("GIF")])
def test_a_file_cut_anywhere_is_left_to_the_decoder(whole: bytes) -> None:
    """Counting pieces judges nothing else."""
    for length in range(len(whole)):
        check_pieces(whole[:length])
