"""How many pieces is an image file made of? Counted before an image library walks them.

The library walks PNG chunks, JPEG segments and GIF blocks one by one in Python. Files of megabytes of empty pieces
would keep the interpreter, and with it every other request, busy for seconds. Real files have tens of pieces, or one
for some kilobytes of data; here the count is cut off long before it hurts.
"""

import struct
from collections.abc import Iterator

from service.core.errors import EffserveError, ErrorKind

MOST_PIECES = 2_000
"""A real JPEG with a large colour profile has about a hundred."""
LEAST_PNG_DATA_BYTES = 1_024
"""Image data comes in chunks of 8 kB and more; on average it must at least be of this size."""
_PNG, _JPEG, _GIF = b"\x89PNG\r\n\x1a\n", b"\xff\xd8", (b"GIF87a", b"GIF89a")
_LENGTH = struct.Struct(">I")
_STANDALONE = frozenset({0x01, 0xFF, *range(0xD0, 0xD9)})
"""JPEG markers without a length: TEM, fill bytes, RST0–7, SOI."""
_SCAN, _END = 0xDA, 0xD9


def check_pieces(body: bytes) -> None:
    """Raise `EffserveError(UNDECODABLE_IMAGE)` for a file of absurdly many pieces. Other damage is found later."""
    most = MOST_PIECES + len(body) // LEAST_PNG_DATA_BYTES if body.startswith(_PNG) else MOST_PIECES
    for number, _ in enumerate(_pieces(body), start=1):
        if number > most:
            detail = f"the file consists of more than {most} pieces; no camera or editor writes that"
            raise EffserveError(ErrorKind.UNDECODABLE_IMAGE, detail, {"limit_pieces": most})


def _pieces(body: bytes) -> Iterator[int]:
    """The offsets of the pieces that are walked in Python; none for formats that are not."""
    if body.startswith(_PNG):
        return _png(body)
    if body.startswith(_JPEG):
        return _jpeg(body)
    return _gif(body) if body.startswith(_GIF) else iter(())


def _png(body: bytes) -> Iterator[int]:
    """Chunks: length, kind, content, checksum."""
    at = len(_PNG)
    while at + 8 <= len(body):
        yield at
        at += 12 + _LENGTH.unpack_from(body, at)[0]


def _jpeg(body: bytes) -> Iterator[int]:
    """Segments up to the first scan: 0xFF, marker, length with itself, content."""
    at = 2
    while at + 4 <= len(body):
        yield at
        marker = body[at + 1]
        if body[at] != 0xFF or marker in _STANDALONE:
            at += 1
        elif marker in (_SCAN, _END):
            return
        else:
            at += 2 + max(body[at + 2] << 8 | body[at + 3], 2)


def _gif(body: bytes) -> Iterator[int]:
    """Blocks of up to 255 bytes in the extensions before the first image."""
    at = 13 + (3 << (body[10] & 7) + 1 if len(body) > 10 and body[10] & 0x80 else 0)
    while at + 2 < len(body) and body[at] == 0x21:
        at += 2
        while at < len(body) and body[at]:
            yield at
            at += 1 + body[at]
        yield at
        at += 1
