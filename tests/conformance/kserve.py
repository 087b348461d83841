"""What KServe's own clients can do with a running server. Runs in their environment, which is not ours.

`python kserve.py CLIENT HTTP_ADDRESS GRPC_ADDRESS IMAGE` prints a line of JSON: each check with null, or the reason why
it failed. CLIENT is `rest` or `grpc`. The server holds b0 (32 pixels), b1 and ten classes.
"""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest, RESTConfig
from kserve.protocol.infer_type import RequestedOutput

ENOUGH = {"budget_ms": 60_000}
CLASSES = 10


@dataclass
class Subject:
    """One client, connected."""

    name: str
    client: Any
    address: tuple[str, ...]
    """What its calls take first: over REST the server's URL."""
    image: bytes

    async def call(self, method: str, *arguments: Any, **options: Any) -> Any:  # noqa: ANN401
        """What a method gives."""
        return await getattr(self.client, method)(*self.address, *arguments, **options)

    async def infer(self, tensor: Any, model: str = "efficientnet", **options: Any) -> Any:  # noqa: ANN401
        """A result, by a budget that buys everything unless another one is named."""
        request = InferRequest(model, [tensor], **{"parameters": ENOUGH, **options})
        named = {"model_name": model} if self.address else {}
        return await self.call("infer", request, **named)

    def files(self, *images: bytes) -> Any:  # noqa: ANN401
        """Encoded images as an input."""
        return tensor(np.array(images or (self.image,), np.object_).reshape(-1, 1), "BYTES")

    def told(self, result: Any, name: str) -> Any:  # noqa: ANN401
        """A parameter that came back."""
        value = result.parameters[name]
        return value if self.address else getattr(value, value.WhichOneof("parameter_choice"))


def tensor(array: Any, datatype: str, *, binary: bool = True) -> Any:  # noqa: ANN401
    """An input."""
    made = InferInput("image", list(array.shape), datatype)
    made.set_data_from_numpy(array, binary_data=binary)
    return made


def levels() -> Any:  # noqa: ANN401
    """Two images of the size of b0."""
    return np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)


async def health(subject: Subject) -> None:
    """Live, ready, and models that are and are not."""
    assert await subject.call("is_server_live")
    assert await subject.call("is_server_ready")
    assert await subject.call("is_model_ready", "efficientnet")
    assert not await subject.call("is_model_ready", "b9")


async def encoded_image(subject: Subject) -> None:
    """The routed model says which variant it was."""
    result = await subject.infer(subject.files())
    assert result.outputs[0].as_numpy().shape == (1, CLASSES)
    assert (subject.told(result, "variant"), subject.told(result, "reason")) == ("b1", "most_accurate_that_fits")


async def batch(subject: Subject) -> None:
    """The same image gives the same row, alone or among others."""
    one = (await subject.infer(subject.files())).outputs[0].as_numpy()
    three = (await subject.infer(subject.files(subject.image, subject.image, subject.image))).outputs[0].as_numpy()
    assert three.tobytes() == one.tobytes() * 3


async def pixels(subject: Subject) -> None:
    """UINT8 and FP32 with the same values are the same image."""
    whole = (await subject.infer(tensor(levels(), "UINT8"), "b0")).outputs[0].as_numpy()
    floats = (await subject.infer(tensor(levels().astype(np.float32), "FP32"), "b0")).outputs[0].as_numpy()
    assert whole.tobytes() == floats.tobytes()


async def plain_tensors(subject: Subject) -> None:
    """Without binary data: JSON over REST, `contents` over gRPC."""
    plain = (await subject.infer(tensor(levels(), "UINT8", binary=False), "b0")).outputs[0].as_numpy()
    binary = (await subject.infer(tensor(levels(), "UINT8"), "b0")).outputs[0].as_numpy()
    assert np.asarray(plain, np.float32).tobytes() == binary.tobytes()


async def named_outputs(subject: Subject) -> None:
    """Only what is asked for."""
    wanted = [RequestedOutput("probabilities")]
    result = await subject.infer(subject.files(), request_outputs=wanted)
    assert [output.name for output in result.outputs] == ["probabilities"]


async def request_ids(subject: Subject) -> None:
    """The client's own comes back."""
    assert (await subject.infer(subject.files(), request_id="mine")).id == "mine"


async def errors(subject: Subject) -> None:
    """Exceptions with the server's own sentence."""
    for model, image, words in (("b9", subject.image, "no model"), ("b0", b"no image", "not an image")):
        try:
            await subject.infer(subject.files(image), model)
        except Exception as error:
            said = str(error)
        else:
            said = "no exception"
        assert words in said, said


Check = Callable[[Subject], Awaitable[None]]
CHECKS: tuple[Check, ...] = (
    health, encoded_image, batch, pixels, plain_tensors, named_outputs, request_ids, errors,
)  # fmt: skip


async def run(name: str, http: str, grpc: str, image: bytes) -> dict[str, str | None]:
    """All checks of a client; None for those that hold."""
    over_rest = name == "rest"
    client = InferenceRESTClient(RESTConfig(protocol="v2")) if over_rest else InferenceGRPCClient(grpc)
    subject = Subject(name, client, (f"http://{http}",) if over_rest else (), image)
    results: dict[str, str | None] = {}
    for check in CHECKS:
        try:
            await check(subject)
        except Exception as error:
            results[check.__name__] = f"{type(error).__name__}: {error}"[:300]
        else:
            results[check.__name__] = None
    await client.close()
    return results


if __name__ == "__main__":
    _, wanted, over_http, over_grpc, photo = sys.argv
    found = asyncio.run(run(wanted, over_http, over_grpc, Path(photo).read_bytes()))
    sys.stdout.write("\n" + json.dumps(found) + "\n")
