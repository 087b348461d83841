"""One image, one set of logits: whatever protocol and coding it comes by, alone or in a batch."""

import asyncio
import base64
import gzip
import itertools
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import pytest_asyncio
from PIL import Image

from model_store import manifest as manifests
from service.pipeline.image import decode
from service.pipeline.session import Session, SessionOptions
from service.wire import classifier_pb2, classifier_pb2_grpc
from tests.contract.oip_kit import (
    ENOUGH,
    LENGTH,
    Kit,
    document,
    in_binary,
    lengths,
    message,
    raw_scores,
    scores,
    serving,
)
from tests.fixtures import CLASSES, encode, jpeg, photo, pixels_of, tiny_store

pytestmark = pytest.mark.asyncio(loop_scope="module")

PHOTO, OTHER = jpeg(160, 120), jpeg(90, 140, seed=1)
PIXELS = pixels_of(photo(60, 50, seed=2))
"""Small enough for JSON; a PNG of them is the same image."""
Scores = dict[str, bytes]
BINARY: dict[str, Any] = {"parameters": ENOUGH | {"binary_data_output": True}}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two trained variants."""
    return tiny_store(tmp_path_factory.mktemp("store"))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def kit(store: Path) -> AsyncIterator[Kit]:
    """Servers over the store."""
    async with serving(store) as made:
        yield made


def of_the_graph(store: Path, body: bytes, name: str = "b1") -> bytes:
    """Logits of a session of the test's own."""
    folder = store / name / "1"
    preparation = manifests.read(folder).preprocessing
    size = preparation.input_size_px
    session = Session(folder / "model.onnx", input_size_px=size, classes=CLASSES, options=SessionOptions())
    return session.run(decode(body, preparation)[None]).tobytes()


async def in_json(kit: Kit, images: list[bytes]) -> Scores:
    """Base64 in, numbers out."""
    return scores(await kit.post(document(images)))


async def binary_out(kit: Kit, images: list[bytes]) -> Scores:
    """Base64 in, binary out."""
    return scores(await kit.post(document(images, **BINARY)))


async def binary_in(kit: Kit, images: list[bytes]) -> Scores:
    """Binary both ways."""
    body, headers = in_binary(lengths(images), "BYTES", [len(images)], **BINARY)
    return scores(await kit.http.post("/v2/models/efficientnet/infer", content=body, headers=headers))


async def contents(kit: Kit, images: list[bytes]) -> Scores:
    """The message's own field."""
    asked = message(shape=[len(images), 1], contents={"bytes_contents": images})
    return raw_scores(await kit.stub.ModelInfer(asked))


async def raw_contents(kit: Kit, images: list[bytes]) -> Scores:
    """As Triton's clients send it."""
    return raw_scores(await kit.stub.ModelInfer(message(shape=[len(images), 1], raw=lengths(images))))


async def native(kit: Kit, images: list[bytes], ask: Callable[[bytes, str], Awaitable[list[float]]]) -> Scores:
    """One question an image, all at once. Logits are what the observer was told: these protocols do not send them."""
    names = [uuid.uuid4().hex for _ in images]
    probabilities = await asyncio.gather(*(ask(image, name) for image, name in zip(images, names, strict=True)))
    logits = {event.answer.request_id: event.answer.logits for event in kit.seen.answered}
    return {
        "logits": b"".join(logits[name] for name in names),
        "probabilities": np.array(probabilities, np.float32).tobytes(),
    }


async def uploaded(kit: Kit, images: list[bytes], envelope: Callable[[bytes], dict[str, Any]]) -> Scores:
    """To `/classify`."""

    async def ask(image: bytes, name: str) -> list[float]:
        request = {"headers": {}, **envelope(image)}
        request["headers"]["X-Request-Id"] = name
        response = await kit.http.post(f"/classify?budget_ms=60000&top_k={CLASSES}", **request)
        found = {one["index"]: one["probability"] for one in response.raise_for_status().json()["predictions"]}
        return [found[index] for index in range(CLASSES)]

    return await native(kit, images, ask)


async def raw_body(kit: Kit, images: list[bytes]) -> Scores:
    """The file and nothing else."""
    return await uploaded(kit, images, lambda image: {"content": image, "headers": {"Content-Type": "image/jpeg"}})


async def compressed_body(kit: Kit, images: list[bytes]) -> Scores:
    """The same, in gzip."""
    headers = {"Content-Type": "image/jpeg", "Content-Encoding": "gzip"}
    return await uploaded(kit, images, lambda image: {"content": gzip.compress(image), "headers": dict(headers)})


async def multipart(kit: Kit, images: list[bytes]) -> Scores:
    """As a browser sends it."""
    return await uploaded(kit, images, lambda image: {"files": {"image": ("a.jpg", image, "image/jpeg")}})


async def base64_in_json(kit: Kit, images: list[bytes]) -> Scores:
    """As a program without bytes sends it."""
    return await uploaded(kit, images, lambda image: {"json": {"image": base64.b64encode(image).decode()}})


async def own_message(kit: Kit, images: list[bytes]) -> Scores:
    """`effserve.v1`."""

    async def ask(image: bytes, name: str) -> list[float]:
        stub: Any = classifier_pb2_grpc.ClassifierStub(kit.channel)  # type: ignore[no-untyped-call]
        asked = classifier_pb2.ClassifyRequest(image=image, budget_ms=60_000, top_k=CLASSES, request_id=name)
        found = {one.index: one.probability for one in (await stub.Classify(asked)).predictions}
        return [found[index] for index in range(CLASSES)]

    return await native(kit, images, ask)


async def whole_body(kit: Kit, images: list[bytes]) -> Scores:
    """The protocol's path with no JSON at all: a header length of 0 says so. One image a request."""
    headers = {LENGTH: "0", "X-Latency-Budget-Ms": "60000"}
    posts = (kit.http.post("/v2/models/efficientnet/infer", content=image, headers=headers) for image in images)
    found = [scores(response) for response in await asyncio.gather(*posts)]
    return {name: b"".join(one[name] for one in found) for name in ("logits", "probabilities")}


Way = Callable[[Kit, list[bytes]], Awaitable[Scores]]
WAYS: list[Way] = [
    raw_body, compressed_body, multipart, base64_in_json, own_message, whole_body, in_json, binary_out, binary_in,
    contents, raw_contents,
]  # fmt: skip
"""All of them. Those of the Open Inference Protocol take a batch in one request, the others several requests."""


@pytest.mark.parametrize("way", WAYS)
async def test_logits_are_those_of_the_graph(kit: Kit, store: Path, way: Way) -> None:
    """To the bit, alone and with others: over HTTP, gRPC and the Open Inference Protocol on both, in every coding."""
    assert (await way(kit, [PHOTO]))["logits"] == of_the_graph(store, PHOTO)
    batch = await way(kit, [OTHER, PHOTO, OTHER])
    assert batch["logits"] == of_the_graph(store, OTHER) + of_the_graph(store, PHOTO) + of_the_graph(store, OTHER)


@pytest.mark.parametrize(("one", "other"), list(itertools.pairwise(WAYS)))
async def test_probabilities_are_the_same_too(
    kit: Kit,
    one: Way,
    other: Way,
) -> None:
    """They are made in one place."""
    assert await one(kit, [PHOTO, OTHER]) == await other(kit, [PHOTO, OTHER])


@pytest.mark.parametrize("datatype", ["UINT8", "FP32"])
async def test_pixels_give_what_their_file_gives(kit: Kit, store: Path, datatype: str) -> None:
    """In JSON, nested and flat, in binary, as contents and raw: resized as the PNG is."""
    batch = np.stack([PIXELS, PIXELS[::-1]])
    typed = batch if datatype == "UINT8" else batch.astype(np.float32)
    wanted = b"".join(of_the_graph(store, encode(photo_of, "PNG")) for photo_of in map(_picture, batch))
    flat = await kit.post(document(typed.ravel().tolist(), datatype, typed.shape))
    nested = await kit.post(document(typed.tolist(), datatype, typed.shape))
    body, headers = in_binary(typed.tobytes(), datatype, typed.shape)
    binary = await kit.http.post("/v2/models/efficientnet/infer", content=body, headers=headers)
    field = {"UINT8": "uint_contents", "FP32": "fp32_contents"}[datatype]
    filled = await kit.stub.ModelInfer(message(datatype, typed.shape, contents={field: typed.ravel().tolist()}))
    raw = await kit.stub.ModelInfer(message(datatype, typed.shape, raw=typed.tobytes()))
    found = [*map(scores, (flat, nested, binary)), *map(raw_scores, (filled, raw))]
    assert [one["logits"] for one in found] == [wanted] * 5


async def test_pixels_of_the_variants_size_are_run_as_they_are(kit: Kit, store: Path) -> None:
    """For a variant's own name; the routed model would crop them."""
    exact = pixels_of(photo(32, 32))
    session = Session(store / "b0/1/model.onnx", input_size_px=32, classes=CLASSES, options=SessionOptions())
    named = await kit.stub.ModelInfer(message("UINT8", (1, 32, 32, 3), raw=exact.tobytes(), model="b0"))
    assert raw_scores(named)["logits"] == session.run(exact[None]).tobytes()
    cropped = message("UINT8", (1, 32, 32, 3), raw=exact.tobytes(), parameters=ENOUGH | {"variant": "b0"})
    as_a_file = of_the_graph(store, encode(_picture(exact), "PNG"), "b0")
    assert raw_scores(await kit.stub.ModelInfer(cropped))["logits"] == as_a_file


def _picture(pixels: npt.NDArray[np.uint8]) -> Image.Image:
    return Image.fromarray(pixels)
