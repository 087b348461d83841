"""How a body may come over HTTP/1.1: compressed, in chunks, one after the other on one connection. On real sockets."""

import asyncio
import base64
import gzip
import json
import zlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from tests.contract.grpc_kit import IMAGE_BYTES
from tests.contract.http_kit import Kit, real
from tests.fixtures import jpeg, tiny_store

pytestmark = pytest.mark.asyncio(loop_scope="module")

PHOTO = jpeg(160, 120)
ENOUGH = "budget_ms=60000"
Encode = Callable[[bytes], bytes]
ENCODINGS: dict[str, Encode] = {"gzip": gzip.compress, "deflate": zlib.compress, "GZIP": gzip.compress}


def forms() -> dict[str, tuple[bytes, str]]:
    """Body and type of the photo in each envelope."""
    upload = httpx.Request("POST", "http://x", files={"image": ("a.jpg", PHOTO, "image/jpeg")})
    in_json = json.dumps({"image": base64.b64encode(PHOTO).decode()}).encode()
    return {
        "raw": (PHOTO, "image/jpeg"),
        "multipart": (upload.read(), upload.headers["content-type"]),
        "json": (in_json, "application/json"),
    }


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two trained variants."""
    return tiny_store(tmp_path_factory.mktemp("store"))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def kit(store: Path) -> AsyncIterator[Kit]:
    """A server over the store."""
    async with real(store) as serving:
        yield serving


async def predictions(kit: Kit, body: bytes, **headers: str) -> Any:  # noqa: ANN401
    """Of a good answer."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    response = await kit.client.post(f"/classify?{ENOUGH}", content=body, headers=named)
    return response.raise_for_status().json()["predictions"]


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("form", forms())
async def test_a_compressed_body_is_the_same_image(kit: Kit, form: str, encoding: str) -> None:
    """In each envelope."""
    body, media_type = forms()[form]
    compressed = ENCODINGS[encoding](body)
    found = await predictions(kit, compressed, content_type=media_type, content_encoding=encoding)
    assert found == await predictions(kit, PHOTO, content_type="image/jpeg")


async def test_better_answers_for_a_compressed_body_too(kit: Kit) -> None:
    """`/classify/anytime` reads bodies in the same way."""
    headers = {"Content-Type": "image/jpeg", "Content-Encoding": "gzip"}
    url = f"/classify/anytime?{ENOUGH}"
    events = (await kit.client.post(url, content=gzip.compress(PHOTO), headers=headers)).raise_for_status().text
    assert [line for line in events.splitlines() if line.startswith("event")] == ["event: answer", "event: final"]


async def test_the_limit_counts_what_was_compressed(kit: Kit) -> None:
    """A bomb is given up at the limit, and takes no room afterwards."""
    headers = {"Content-Type": "image/jpeg", "Content-Encoding": "gzip"}
    at_limit, beyond = (gzip.compress(bytes(IMAGE_BYTES + more)) for more in (0, 1))
    refused = await kit.client.post("/classify", content=beyond, headers=headers)
    assert (refused.status_code, refused.json()["limit_bytes"]) == (413, IMAGE_BYTES)
    read = await kit.client.post("/classify", content=at_limit, headers=headers)
    assert read.json()["kind"] == "undecodable-image"


def request(body: bytes, *headers: str, version: str = "1.1") -> bytes:
    """The head of a request and what follows it."""
    lines = [f"POST /classify?{ENOUGH} HTTP/{version}", "Host: x", "Content-Type: image/jpeg", *headers]
    return "".join(f"{line}\r\n" for line in [*lines, ""]).encode() + body


def chunked(body: bytes, size: int) -> bytes:
    """In chunks of this size, one of them with an extension, and a trailer field."""
    parts = [body[at : at + size] for at in range(0, len(body), size)]
    lines = [b"%x%s\r\n%s\r\n" % (len(part), b";a=b" if not at else b"", part) for at, part in enumerate(parts)]
    return b"".join([*lines, b"0\r\nX-Trailer: 1\r\n\r\n"])


async def answer(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], dict[str, Any]]:
    """Status, headers and document of the next response on a connection."""
    status = int((await reader.readline()).split()[1])
    headers = {}
    while line := (await reader.readline()).decode().strip():
        name, _, value = line.partition(": ")
        headers[name.lower()] = value
    return status, headers, json.loads(await reader.readexactly(int(headers["content-length"])))


@pytest.mark.parametrize("size", [1, 7, 1000, 100_000])
async def test_a_body_may_come_in_chunks(kit: Kit, size: int) -> None:
    """Of any size, written in pieces that have nothing to do with them."""
    reader, writer = await asyncio.open_connection("127.0.0.1", kit.port)
    whole = request(chunked(PHOTO, size), "Transfer-Encoding: chunked")
    for at in range(0, len(whole), 777):
        writer.write(whole[at : at + 777])
        await writer.drain()
    status, _, document = await answer(reader)
    writer.close()
    assert (status, document["image"]["bytes"]) == (200, len(PHOTO))
    assert document["predictions"] == await predictions(kit, PHOTO, content_type="image/jpeg")


async def test_a_connection_serves_one_request_after_the_other(kit: Kit) -> None:
    """With a length, in chunks, compressed, and after a refusal, whose body was read or not."""
    reader, writer = await asyncio.open_connection("127.0.0.1", kit.port)
    squeezed = gzip.compress(PHOTO)
    length = f"Content-Length: {len(PHOTO)}"
    sent = [
        (request(PHOTO, length), 200),
        (request(chunked(PHOTO, 100), "Transfer-Encoding: chunked"), 200),
        (request(chunked(squeezed, 100), "Transfer-Encoding: chunked", "Content-Encoding: gzip"), 200),
        (request(b"no image", "Content-Length: 8"), 400),
        (request(PHOTO, length, "X-Latency-Budget-Ms: nonsense").replace(f"?{ENOUGH}".encode(), b""), 422),
        (request(PHOTO, length, "Content-Encoding: br"), 415),
        (request(chunked(bytes(IMAGE_BYTES + 1), 5000), "Transfer-Encoding: chunked"), 413),
        (request(PHOTO, length), 200),
    ]
    for one, status in sent:
        writer.write(one)
        assert (await answer(reader))[0] == status
    writer.close()


async def test_requests_may_be_sent_before_the_answers(kit: Kit) -> None:
    """Pipelined: answers come in the order of the questions."""
    reader, writer = await asyncio.open_connection("127.0.0.1", kit.port)
    length = f"Content-Length: {len(PHOTO)}"
    writer.write(b"".join(request(PHOTO, length, f"X-Request-Id: {number}") for number in range(5)))
    found = [(await answer(reader))[2]["request_id"] for _ in range(5)]
    writer.close()
    assert found == [str(number) for number in range(5)]


@pytest.mark.parametrize(
    ("headers", "version", "stays"),
    [((), "1.1", True), (("Connection: close",), "1.1", False), ((), "1.0", False)],
)
async def test_a_connection_ends_when_the_client_says_so(
    kit: Kit, headers: tuple[str, ...], version: str, stays: bool
) -> None:
    """Or speaks the version that knows no other way."""
    reader, writer = await asyncio.open_connection("127.0.0.1", kit.port)
    writer.write(request(PHOTO, f"Content-Length: {len(PHOTO)}", *headers, version=version))
    assert (await answer(reader))[0] == 200
    if stays:
        writer.write(request(PHOTO, f"Content-Length: {len(PHOTO)}"))
        assert (await answer(reader))[0] == 200
    else:
        assert await reader.read() == b""
    writer.close()


@pytest.mark.parametrize("body", [b"zz\r\nnonsense\r\n", b"5\r\nabc\r\n0\r\n\r\n", b"-1\r\n\r\n"])
async def test_chunks_that_are_none_are_refused(kit: Kit, body: bytes) -> None:
    """With 400; the service goes on."""
    reader, writer = await asyncio.open_connection("127.0.0.1", kit.port)
    writer.write(request(body, "Transfer-Encoding: chunked"))
    assert (await reader.readline()).startswith(b"HTTP/1.1 400")
    writer.close()
    assert await predictions(kit, PHOTO, content_type="image/jpeg")


async def test_a_client_that_asks_first_is_told_to_go_on(kit: Kit) -> None:
    """`Expect: 100-continue`, as curl sends it with larger bodies."""
    reader, writer = await asyncio.open_connection("127.0.0.1", kit.port)
    writer.write(request(b"", f"Content-Length: {len(PHOTO)}", "Expect: 100-continue"))
    assert (await reader.readline()).startswith(b"HTTP/1.1 100")
    assert await reader.readline() == b"\r\n"
    writer.write(PHOTO)
    assert (await answer(reader))[0] == 200
    writer.close()
