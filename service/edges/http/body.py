"""The body of a request, whole and decompressed; of `POST /classify`, the encoded image in it: raw, multipart field
`image`, or base64 in JSON.

The byte limit is enforced while the body streams in, before anything is parsed, and again while it is decompressed.
Multipart parts stay in memory, because the limit already bounds them.
"""

import asyncio
import base64
import binascii
import zlib
from collections.abc import AsyncGenerator, Callable

from pydantic import ValidationError
from starlette.datastructures import FormData, Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from service.core.errors import EffserveError, ErrorKind
from service.edges.http.json_faults import fault
from service.edges.http.models import ImageUpload
from service.edges.http.uploads import Upload
from service.edges.oip.inference import aside

ENVELOPE_BYTES = 65_536
"""Room for what multipart and JSON put around an image."""
RAW, MULTIPART, JSON = "raw", "multipart/form-data", "application/json"
FIELD = "image"
IDENTITY = "identity"
GZIP_OR_ZLIB = 32 + zlib.MAX_WBITS


async def read_image(request: Request, upload: Upload, *, limit_bytes: int, timeout_s: float) -> bytes:
    """The encoded image of a request.

    Raises `EffserveError`: UNSUPPORTED_MEDIA_TYPE, IMAGE_TOO_LARGE, MALFORMED_REQUEST, UPLOAD_TIMEOUT, QUEUE_FULL when
    there is no room for the upload, or CANCELLED when the client leaves half-way.
    """
    form = _form(request)
    body = await read_body(
        request,
        upload,
        limit_bytes=_allowed_bytes(form, limit_bytes),
        timeout_s=timeout_s,
        beyond=_too_large(limit_bytes),
    )
    if form == RAW:
        return body
    if form == JSON:
        image = await _elsewhere(body, _from_json)
    else:
        image = await _elsewhere(body, lambda whole: asyncio.run(_from_multipart(request.headers, whole)))
    if len(image) > limit_bytes:
        raise _too_large(limit_bytes)
    return image


async def read_body(
    request: Request, upload: Upload, *, limit_bytes: int, timeout_s: float, beyond: EffserveError
) -> bytes:
    """The whole body without its content encoding. Raises `beyond` when it is larger, with or without, and
    UNSUPPORTED_MEDIA_TYPE, MALFORMED_REQUEST, UPLOAD_TIMEOUT, QUEUE_FULL and CANCELLED as above."""
    encoding = _encoding(request)
    try:
        async with asyncio.timeout(timeout_s):
            body = await _read(request, upload, limit_bytes, beyond)
    except TimeoutError:
        detail = f"the body was not whole after {timeout_s:g} s"
        raise EffserveError(ErrorKind.UPLOAD_TIMEOUT, detail, {"limit_s": timeout_s}) from None
    if encoding == IDENTITY:
        return body
    whole = await aside(len(body), lambda: _inflated(body, encoding, limit_bytes, beyond))
    upload.grow(len(whole))
    return whole


def _encoding(request: Request) -> str:
    encoding = request.headers.get("content-encoding", "").strip().lower() or IDENTITY
    if encoding not in (IDENTITY, "gzip", "deflate"):
        detail = f"content encoding {encoding[:40]!r} is not supported; there are gzip and deflate"
        raise EffserveError(ErrorKind.UNSUPPORTED_MEDIA_TYPE, detail)
    return encoding


def _inflated(body: bytes, encoding: str, limit_bytes: int, beyond: EffserveError) -> bytes:
    stream = zlib.decompressobj(GZIP_OR_ZLIB)
    try:
        whole = stream.decompress(body, limit_bytes + 1)
    except zlib.error as error:
        raise EffserveError(ErrorKind.MALFORMED_REQUEST, f"the body is not {encoding}: {error}") from None
    if len(whole) > limit_bytes:
        raise beyond
    if not stream.eof or stream.unused_data:
        raise EffserveError(ErrorKind.MALFORMED_REQUEST, f"the body is not {encoding}, or is cut short")
    return whole


def _allowed_bytes(form: str, limit_bytes: int) -> int:
    """For the whole body: base64 is a third longer than what it stands for."""
    if form == RAW:
        return limit_bytes
    return (limit_bytes * 4 // 3 if form == JSON else limit_bytes) + ENVELOPE_BYTES


async def _elsewhere(body: bytes, parse: Callable[[bytes], bytes]) -> bytes:
    """Parsing an envelope copies the body several times: not on the event loop, where everybody waits."""
    return await asyncio.to_thread(parse, body)


def _form(request: Request) -> str:
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type in (MULTIPART, JSON):
        return media_type
    if media_type in ("", "application/octet-stream") or media_type.startswith("image/"):
        return RAW
    hint = " (what curl sends unless told: add -H 'Content-Type: image/jpeg')" if "urlencoded" in media_type else ""
    detail = f"content type {media_type[:80]!r}{hint} is none of image/*, {MULTIPART}, {JSON}"
    raise EffserveError(ErrorKind.UNSUPPORTED_MEDIA_TYPE, detail)


async def _read(request: Request, upload: Upload, limit_bytes: int, beyond: EffserveError) -> bytes:
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > limit_bytes:
        raise beyond
    chunks, total_bytes = [], 0
    try:
        async for chunk in request.stream():
            total_bytes += len(chunk)
            if total_bytes > limit_bytes:
                raise beyond
            upload.grow(len(chunk))
            chunks.append(chunk)
    except ClientDisconnect as error:
        raise EffserveError(ErrorKind.CANCELLED, "the client went away before its image was whole") from error
    return b"".join(chunks)


def _from_json(body: bytes) -> bytes:
    try:
        upload = ImageUpload.model_validate_json(body)
        return base64.b64decode("".join(upload.image.split()), validate=True)
    except ValidationError as error:
        place, words = fault(error)
        detail = f'{place or "the body"} {words}; JSON is {{"image": "<base64>"}}, parameters stand in the query'
        raise EffserveError(ErrorKind.MALFORMED_REQUEST, detail) from None
    except (binascii.Error, ValueError) as error:
        raise EffserveError(ErrorKind.MALFORMED_REQUEST, f"image is not base64: {error}") from None


async def _from_multipart(headers: Headers, body: bytes) -> bytes:
    async def whole() -> AsyncGenerator[bytes, None]:
        yield body

    parser = MultiPartParser(headers, whole(), max_files=1, max_fields=8)
    parser.spool_max_size = len(body) + 1
    try:
        form = await parser.parse()
    except (MultiPartException, KeyError, ValueError) as error:
        reason = getattr(error, "message", None) or "it does not parse"
        raise EffserveError(ErrorKind.MALFORMED_REQUEST, f"multipart: {reason}") from None
    try:
        return await _field(form)
    finally:
        await form.close()


async def _field(form: FormData) -> bytes:
    extra = sorted(set(form) - {FIELD})
    if extra:
        detail = (
            f"multipart: {extra[0][:40]!r} is not a field; the only one is {FIELD!r}, parameters stand in the query"
        )
        raise EffserveError(ErrorKind.MALFORMED_REQUEST, detail)
    value = form.get(FIELD)
    if isinstance(value, UploadFile):
        return await value.read()
    detail = f"multipart: field {FIELD!r} is missing or not a file (curl: -F {FIELD}=@photo.jpg)"
    raise EffserveError(ErrorKind.MALFORMED_REQUEST, detail)


def _too_large(limit_bytes: int) -> EffserveError:
    detail = f"the image has more than {limit_bytes} bytes"
    return EffserveError(ErrorKind.IMAGE_TOO_LARGE, detail, {"limit_bytes": limit_bytes})
