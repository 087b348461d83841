"""What NVIDIA's own clients can do with a running server. Runs in the clients' environment, which is not ours.

`python triton.py CLIENT HTTP_ADDRESS GRPC_ADDRESS IMAGE` prints a line of JSON: each check with null, or the reason why
it failed. CLIENT is `http`, `http.aio`, `grpc` or `grpc.aio`; all of them go through the same checks. The server holds
b0 (32 pixels), b1 and ten classes, traces its requests, and may be changed.
"""

import asyncio
import importlib
import inspect
import json
import queue
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tritonclient.utils import InferenceServerException

ENOUGH = {"budget_ms": 60_000}
CLASSES = 10
BACKGROUND = 4
"""Requests at once."""


@dataclass
class Subject:
    """One client, connected."""

    name: str
    module: Any
    client: Any
    image: bytes

    @property
    def over_grpc(self) -> bool:
        """Its protocol."""
        return self.name.startswith("grpc")

    @property
    def waits(self) -> bool:
        """It is not one of asyncio's."""
        return not self.name.endswith("aio")

    async def call(self, method: str, *arguments: Any, **options: Any) -> Any:  # noqa: ANN401
        """What the method gives, now or later."""
        result = getattr(self.client, method)(*arguments, **options)
        return await result if inspect.isawaitable(result) else result

    async def said(self, method: str, *arguments: Any) -> Any:  # noqa: ANN401
        """A description as a document."""
        return await self.call(method, *arguments, **({"as_json": True} if self.over_grpc else {}))

    def tensor(self, array: Any, datatype: str, **options: Any) -> Any:  # noqa: ANN401
        """An input."""
        made = self.module.InferInput("image", list(array.shape), datatype)
        made.set_data_from_numpy(array, **options)
        return made

    def files(self, *images: bytes) -> Any:  # noqa: ANN401
        """Encoded images as an input."""
        return self.tensor(np.array(images or (self.image,), np.object_).reshape(-1, 1), "BYTES")

    async def infer(self, tensor: Any, model: str = "efficientnet", **options: Any) -> Any:  # noqa: ANN401
        """A result, by a budget that buys everything unless another one is named."""
        return await self.call("infer", model, [tensor], **{"parameters": ENOUGH, **options})

    def told(self, result: Any) -> dict[str, Any]:  # noqa: ANN401
        """The parameters that came back."""
        if not self.over_grpc:
            return dict(result.get_response()["parameters"])
        given = result.get_response().parameters
        return {name: getattr(one, one.WhichOneof("parameter_choice")) for name, one in given.items()}


async def health(subject: Subject) -> None:
    """Live, ready, and models that are and are not."""
    assert await subject.call("is_server_live")
    assert await subject.call("is_server_ready")
    assert await subject.call("is_model_ready", "efficientnet")
    assert await subject.call("is_model_ready", "b0", "1")
    assert not await subject.call("is_model_ready", "b9")


async def metadata(subject: Subject) -> None:
    """Of the server and of models."""
    assert "statistics" in (await subject.said("get_server_metadata"))["extensions"]
    said = await subject.said("get_model_metadata", "b0")
    assert (said["inputs"][0]["datatype"], [int(n) for n in said["inputs"][0]["shape"]]) == ("UINT8", [-1, 32, 32, 3])


async def configuration(subject: Subject) -> None:
    """In Triton's terms."""
    said = await subject.said("get_model_config", "efficientnet")
    said = said.get("config", said)
    assert said["max_batch_size"] > 1
    assert said["input"][0]["data_type"] == "TYPE_STRING"


async def repository_index(subject: Subject) -> None:
    """What there is."""
    said = await subject.said("get_model_repository_index")
    listed = said["models"] if isinstance(said, dict) else said
    assert {one["name"] for one in listed} == {"b0", "b1", "efficientnet"}


async def statistics(subject: Subject) -> None:
    """They count."""
    await subject.infer(subject.files(), "b1")
    said = await subject.said("get_inference_statistics", "b1")
    assert int(said["model_stats"][0]["inference_stats"]["success"]["count"]) >= 1


async def encoded_image(subject: Subject) -> None:
    """The routed model says which variant it was."""
    result = await subject.infer(subject.files(), request_id="mine")
    assert result.as_numpy("logits").shape == (1, CLASSES)
    assert abs(float(result.as_numpy("probabilities").sum()) - 1) < 1e-5
    assert subject.told(result)["variant"] == "b1"


async def batch(subject: Subject) -> None:
    """The same image gives the same row, alone or among others."""
    one = (await subject.infer(subject.files())).as_numpy("logits")
    three = (await subject.infer(subject.files(subject.image, subject.image, subject.image))).as_numpy("logits")
    assert three.tobytes() == one.tobytes() * 3


async def pixels(subject: Subject) -> None:
    """UINT8 and FP32 with the same values are the same image."""
    array = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)
    levels = (await subject.infer(subject.tensor(array, "UINT8"), "b0")).as_numpy("logits")
    floats = (await subject.infer(subject.tensor(array.astype(np.float32), "FP32"), "b0")).as_numpy("logits")
    assert levels.tobytes() == floats.tobytes()


async def named_outputs(subject: Subject) -> None:
    """Only what is asked for."""
    result = await subject.infer(subject.files(), outputs=[subject.module.InferRequestedOutput("probabilities")])
    assert result.as_numpy("probabilities").shape == (1, CLASSES)
    assert result.as_numpy("logits") is None


async def classification(subject: Subject) -> None:
    """Value, index, label."""
    wanted = subject.module.InferRequestedOutput("probabilities", class_count=3)
    found = (await subject.infer(subject.files(), outputs=[wanted])).as_numpy("probabilities")
    assert found.shape == (1, 3)
    value, index, label = found[0, 0].decode().split(":")
    assert (label, 0 < float(value) <= 1) == (f"class {index}", True)


async def budgets(subject: Subject) -> None:
    """As a parameter, as a header, and as Triton's timeout."""
    by_parameter = await subject.infer(subject.files(), parameters={"budget_ms": 5000})
    by_header = await subject.infer(subject.files(), parameters=None, headers={"x-latency-budget-ms": "6000"})
    by_timeout = await subject.infer(subject.files(), parameters=None, timeout=7_000_000)
    found = [subject.told(one)["budget_ms"] for one in (by_parameter, by_header, by_timeout)]
    assert found == [5000, 6000, 7000], found


async def errors(subject: Subject) -> None:
    """Exceptions with the server's own sentence."""
    for model, image, words in (("b9", subject.image, "no model"), ("b0", b"no image", "not an image")):
        try:
            await subject.infer(subject.files(image), model)
        except InferenceServerException as error:
            said = str(error)
        else:
            said = "no exception"
        assert words in said, said


async def load_and_unload(subject: Subject) -> None:
    """A variant goes and comes back; the others answer on."""
    await subject.call("unload_model", "b1")
    assert not await subject.call("is_model_ready", "b1")
    assert subject.told(await subject.infer(subject.files()))["variant"] == "b0"
    said = await subject.said("get_model_repository_index")
    rows = said["models"] if isinstance(said, dict) else said
    assert {one["name"]: one["state"] for one in rows}["b1"] == "UNAVAILABLE", rows
    await subject.call("load_model", "b1")
    assert await subject.call("is_model_ready", "b1")
    assert subject.told(await subject.infer(subject.files()))["variant"] == "b1"


async def refused_changes(subject: Subject) -> None:
    """The routed model, unknown names, and Triton's overrides; each with the reason."""
    overrides = {"config": "{}"}
    for method, name, options, words in (
        ("load_model", "efficientnet", {}, "neither loaded nor unloaded"),
        ("unload_model", "efficientnet", {}, "neither loaded nor unloaded"),
        ("load_model", "b9", {}, "the store has no"),
        ("load_model", "b0", overrides, "config: a variant is loaded as the store holds it"),
    ):
        await refusal(subject, words, method, name, **options)


async def refusal(subject: Subject, words: str, method: str, *arguments: Any, **options: Any) -> None:  # noqa: ANN401
    """A call that must fail with these words."""
    try:
        await subject.call(method, *arguments, **options)
    except InferenceServerException as error:
        said = str(error)
    else:
        said = "no exception"
    assert words in said, said


def plain(settings: Any, *, lists: bool = False) -> dict[str, Any]:  # noqa: ANN401
    """Settings as HTTP has them: over gRPC each value lies in a message."""
    if "settings" not in settings:
        return dict(settings)
    if lists:
        return {name: one["value"] for name, one in settings["settings"].items()}
    return {name: next(iter(one.values())) for name, one in settings["settings"].items()}


async def log_settings(subject: Subject) -> None:
    """The level of log lines, read and changed; what cannot be changed is refused."""
    at_start = plain(await subject.said("get_log_settings"))
    assert (at_start["log_info"], at_start["log_verbose_level"], at_start["log_file"]) == (True, 0, ""), at_start
    changed = plain(await subject.said("update_log_settings", {"log_verbose_level": 1}))
    assert changed == at_start | {"log_verbose_level": 1}, changed
    await subject.call("update_log_settings", {"log_verbose_level": 0, "log_info": None})
    assert plain(await subject.said("get_log_settings")) == at_start
    await refusal(subject, "log_format: ", "update_log_settings", {"log_format": "default"})


async def trace_settings(subject: Subject) -> None:
    """Which requests are traced, read and changed, for all models together; None is what it was at the start."""
    at_start = plain(await subject.said("get_trace_settings"), lists=True)
    assert at_start["trace_level"] == ["TIMESTAMPS"], at_start
    assert plain(await subject.said("get_trace_settings", "b0"), lists=True) == at_start
    settings = {"trace_level": ["OFF"], "trace_rate": "1000"}
    changed = plain(await subject.said("update_trace_settings", None, settings), lists=True)
    rate = ["1000"] if subject.over_grpc else "1000"
    assert changed == at_start | {"trace_level": ["OFF"], "trace_rate": rate}, changed
    await subject.call("update_trace_settings", settings={"trace_level": None, "trace_rate": None})
    assert plain(await subject.said("get_trace_settings"), lists=True) == at_start
    await refusal(subject, "trace_rate: ", "update_trace_settings", "b0", {"trace_rate": "7"})


async def compression(subject: Subject) -> None:
    """Of requests, by each algorithm of the client."""
    option = "compression_algorithm" if subject.over_grpc else "request_compression_algorithm"
    for algorithm in ("gzip", "deflate"):
        assert (await subject.infer(subject.files(), **{option: algorithm})).as_numpy("logits") is not None


async def json_tensors(subject: Subject) -> None:
    """Without binary data, either way."""
    wanted = subject.module.InferRequestedOutput("logits", binary_data=False)
    array = np.random.default_rng(0).integers(0, 256, (1, 32, 32, 3), np.uint8)
    text = await subject.infer(subject.tensor(array, "UINT8", binary_data=False), "b0", outputs=[wanted])
    binary = await subject.infer(subject.tensor(array, "UINT8"), "b0")
    assert text.as_numpy("logits").tobytes() == binary.as_numpy("logits").tobytes()


async def deadline(subject: Subject) -> None:
    """The call's own deadline is the budget."""
    result = await subject.infer(subject.files(), parameters=None, client_timeout=50.0)
    assert 25_000 < subject.told(result)["budget_ms"] < 55_000


async def in_the_background(subject: Subject) -> None:
    """Several at once, by the client's own means."""
    if subject.over_grpc:
        done: queue.Queue[tuple[Any, Any]] = queue.Queue()

        def callback(result: Any, error: Any) -> None:  # noqa: ANN401
            done.put((result, error))

        for _ in range(BACKGROUND):
            subject.client.async_infer("efficientnet", [subject.files()], callback, parameters=ENOUGH)
        results = [done.get(timeout=60) for _ in range(BACKGROUND)]
        assert all(error is None for _, error in results), results
    else:
        running = [
            subject.client.async_infer("efficientnet", [subject.files()], parameters=ENOUGH) for _ in range(BACKGROUND)
        ]
        assert all(one.get_result().as_numpy("logits") is not None for one in running)


async def stream(subject: Subject) -> None:
    """Triton's own response type: results in order, and a failure among them."""
    names = ["efficientnet", "b9", "b0"]
    if subject.waits:
        done: queue.Queue[tuple[Any, Any]] = queue.Queue()

        def callback(result: Any, error: Any) -> None:  # noqa: ANN401
            done.put((result, error))

        subject.client.start_stream(callback)
        for name in names:
            subject.client.async_stream_infer(name, [subject.files()], parameters=ENOUGH)
        found = [done.get(timeout=60) for _ in names]
        subject.client.stop_stream()
    else:

        async def requests() -> Any:  # noqa: ANN401
            for name in names:
                yield {"model_name": name, "inputs": [subject.files()], "parameters": ENOUGH}

        found = [one async for one in subject.client.stream_infer(requests())]
    assert [error is None for _, error in found] == [True, False, True], found
    assert found[2][0].as_numpy("logits").shape == (1, CLASSES)


async def wire(subject: Subject) -> None:
    """Each message and field of ours has the number and type that the client's has. Read from the server itself."""
    ours = _reflected(subject)
    theirs = importlib.import_module("tritonclient.grpc.service_pb2").DESCRIPTOR
    pool = theirs.pool
    for file_message in ours.message_type:
        _same(file_message, pool.FindMessageTypeByName(f"inference.{file_message.name}"))
    service = theirs.services_by_name["GRPCInferenceService"]
    for method in ours.service[0].method:
        other = service.methods_by_name[method.name]
        assert (method.input_type, method.output_type) == (
            f".{other.input_type.full_name}", f".{other.output_type.full_name}",
        )  # fmt: skip


def _reflected(subject: Subject) -> Any:  # noqa: ANN401
    """The file of the server's service, over reflection, whose messages are few enough to be written by hand."""
    import grpc
    from google.protobuf import descriptor_pb2

    symbol = b"inference.GRPCInferenceService"
    request = b"\x22" + bytes([len(symbol)]) + symbol
    with grpc.insecure_channel(sys.argv[3]) as channel:
        ask: Any = channel.stream_stream("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo")
        raw = next(iter(ask(iter([request]))))
    # Field 4 of the response holds field 1, repeated, the files: the last level of a message of lengths.
    files = [descriptor_pb2.FileDescriptorProto.FromString(one) for _, one in _lengths(dict(_lengths(raw))[4])]
    return next(one for one in files if one.service and one.package == "inference")


def _lengths(raw: bytes) -> list[tuple[int, bytes]]:
    """Fields that are messages, strings or bytes, by number."""
    found, at = [], 0
    while at < len(raw):
        tag, at = _varint(raw, at)
        length, at = _varint(raw, at)
        assert tag & 7 == 2, "a field of another kind"
        found.append((tag >> 3, raw[at : at + length]))
        at += length
    return found


def _varint(raw: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte, at = raw[at], at + 1
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return value, at


def _same(ours: Any, theirs: Any) -> None:  # noqa: ANN401
    for field in ours.field:
        other = theirs.fields_by_name[field.name]
        assert (field.number, field.type) == (other.number, other.type), f"{theirs.full_name}.{field.name}"
    for enum in ours.enum_type:
        for value in enum.value:
            assert theirs.enum_types_by_name[enum.name].values_by_name[value.name].number == value.number
    for nested in ours.nested_type:
        if not nested.options.map_entry:
            _same(nested, theirs.nested_types_by_name[nested.name])


Check = Callable[[Subject], Awaitable[None]]
EVERYWHERE: tuple[Check, ...] = (
    health, metadata, configuration, repository_index, statistics, encoded_image, batch, pixels, named_outputs,
    classification, budgets, errors, load_and_unload,
    refused_changes, log_settings, trace_settings, compression,
)  # fmt: skip
OF_CLIENT: dict[str, tuple[Check, ...]] = {
    "http": (json_tensors, in_the_background),
    "http.aio": (json_tensors,),
    "grpc": (deadline, in_the_background, stream, wire),
    "grpc.aio": (deadline, stream),
}


async def run(name: str, http: str, grpc: str, image: bytes) -> dict[str, str | None]:
    """All checks of a client; None for those that hold."""
    module = importlib.import_module(f"tritonclient.{name}")
    # With one connection, gevent finds nothing to wait for when several requests want it at once.
    options = {"concurrency": BACKGROUND} if name == "http" else {}
    client = module.InferenceServerClient(grpc if name.startswith("grpc") else http, **options)
    subject = Subject(name, module, client, image)
    results: dict[str, str | None] = {}
    for check in (*EVERYWHERE, *OF_CLIENT[name]):
        try:
            await check(subject)
        except Exception as error:
            results[check.__name__] = f"{type(error).__name__}: {error}"[:300]
        else:
            results[check.__name__] = None
    await subject.call("close")
    return results


if __name__ == "__main__":
    _, wanted, over_http, over_grpc, photo = sys.argv
    found = asyncio.run(run(wanted, over_http, over_grpc, Path(photo).read_bytes()))
    sys.stdout.write("\n" + json.dumps(found) + "\n")
