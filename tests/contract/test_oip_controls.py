"""Triton's extensions `logging` and `trace` on both protocols: what is told, what changes, and what does not."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import pytest
import pytest_asyncio
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from service.core.errors import ErrorKind
from service.edges.oip.controls import Controls
from service.edges.oip.log_settings import LogSettings
from service.edges.oip.trace_settings import TraceSettings
from service.edges.status import STATUS
from service.telemetry.tracing import Tracing
from service.wire import grpc_inference_pb2 as pb
from tests.contract.grpc_kit import PATIENCE_S, Levels
from tests.contract.oip_kit import Kit, document, lengths, message, serving
from tests.fixtures import jpeg, tiny_store

pytestmark = pytest.mark.asyncio(loop_scope="module")

PHOTO = jpeg(160, 120)
RECORDED = {"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}
RATIO = 0.3
"""Of the traces that begin here. One of how many is no whole number."""
BOTH = pytest.mark.parametrize("protocol", ["http", "grpc"])
Said = dict[str, Any]


class Running(NamedTuple):
    """Servers whose operator allows everything, and what is changed."""

    kit: Kit
    levels: Levels
    tracing: Tracing
    exporter: InMemorySpanExporter


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def allowing(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    """Two variants behind both protocols."""
    levels, exporter = Levels(), InMemorySpanExporter()
    tracing = Tracing(exporter, sample_ratio=RATIO)
    controls = Controls(LogSettings(levels, changes=True), TraceSettings(tracing, changes=True))
    store = tiny_store(tmp_path_factory.mktemp("store"))
    async with serving(store, tracer=tracing.begin, controls=controls) as kit:
        kit.seen.forward_to = tracing
        yield Running(kit, levels, tracing, exporter)
    tracing.close(PATIENCE_S)


@pytest.fixture
def running(allowing: Running) -> Running:
    """As at the start."""
    allowing.levels.level = "info"
    allowing.tracing.record(on=True, ratio=RATIO)
    allowing.exporter.clear()
    return allowing


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def forbidding(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Kit]:
    """Servers as they are unless the operator says something else."""
    async with serving(tiny_store(tmp_path_factory.mktemp("store"), ["b0"])) as kit:
        yield kit


async def logging(kit: Kit, protocol: str, **settings: object) -> Said | tuple[str, str]:
    """The settings after a change, or the kind of the failure and its sentence. Without `settings` nothing changes."""
    if protocol == "http":
        return await _over_http(kit, "/v2/logging", settings)
    fields = {bool: "bool_param", int: "uint32_param", str: "string_param", type(None): ""}
    asked = pb.LogSettingsRequest()
    for name, value in settings.items():
        asked.settings[name].SetInParent()
        if value is not None:
            setattr(asked.settings[name], fields[type(value)], value)
    try:
        told = (await kit.stub.LogSettings(asked)).settings
    except grpc.aio.AioRpcError as error:
        return _failed(error)
    return {name: getattr(value, value.WhichOneof("parameter_choice")) for name, value in told.items()}


async def tracing(kit: Kit, protocol: str, model: str = "", **settings: object) -> Said | tuple[str, str]:
    """The same of traces, all of them or those of a model."""
    if protocol == "http":
        return await _over_http(kit, f"/v2/models/{model}/trace/setting" if model else "/v2/trace/setting", settings)
    asked = pb.TraceSettingRequest(model_name=model)
    for name, value in settings.items():
        asked.settings[name].SetInParent()
        if value is not None:
            asked.settings[name].value.extend(value if isinstance(value, list) else [str(value)])
    try:
        told = (await kit.stub.TraceSetting(asked)).settings
    except grpc.aio.AioRpcError as error:
        return _failed(error)
    return {name: [*one.value] if name == "trace_level" else one.value[0] for name, one in told.items()}


async def _over_http(kit: Kit, path: str, settings: Mapping[str, object]) -> Said | tuple[str, str]:
    response = await (kit.http.post(path, json=settings) if settings else kit.http.get(path))
    said: Said = response.json()
    if response.status_code == 200:
        return said
    kind = response.headers["effserve-error-kind"]
    status = STATUS[ErrorKind(kind)].http
    assert response.status_code == (400 if status == 422 else status)
    return kind, said["error"]


def _failed(error: grpc.aio.AioRpcError) -> tuple[str, str]:
    kind = str(dict(error.trailing_metadata() or ())["effserve-error-kind"])
    assert error.code() is STATUS[ErrorKind(kind)].grpc
    return kind, error.details() or ""


@BOTH
@pytest.mark.parametrize(
    ("level", "switches"),
    [
        ("debug", (True, True, True, 1)),
        ("info", (True, True, True, 0)),
        ("warning", (False, True, True, 0)),
        ("error", (False, False, True, 0)),
    ],
)
async def test_switches_tell_the_level(
    running: Running, protocol: str, level: str, switches: tuple[bool, bool, bool, int]
) -> None:
    """And where lines go, and how their times look."""
    running.levels.level = level
    info, warning, error, verbose = switches
    assert await logging(running.kit, protocol) == {
        "log_file": "", "log_info": info, "log_warning": warning, "log_error": error, "log_verbose_level": verbose,
        "log_format": "ISO8601",
    }  # fmt: skip


@BOTH
@pytest.mark.parametrize(
    ("before", "given", "after"),
    [
        ("info", {"log_verbose_level": 1}, "debug"),
        ("info", {"log_verbose_level": 7}, "debug"),
        ("debug", {"log_verbose_level": 0}, "info"),
        ("info", {"log_info": False}, "warning"),
        ("info", {"log_info": False, "log_warning": False}, "error"),
        ("error", {"log_info": True, "log_warning": True, "log_verbose_level": 1}, "debug"),
        ("info", {"log_file": "", "log_format": "ISO8601", "log_error": True}, "info"),
        ("warning", {"log_info": None, "log_file": None}, "warning"),
    ],
)
async def test_the_level_can_be_changed(
    running: Running, protocol: str, before: str, given: dict[str, object], after: str
) -> None:
    """The answer tells how it is then. What is what it was, or None, stays; there is one degree of verbosity."""
    running.levels.level = before
    told = await logging(running.kit, protocol, **given)
    assert running.levels.level == after
    assert told == await logging(running.kit, "grpc" if protocol == "http" else "http")


@BOTH
@pytest.mark.parametrize(
    ("before", "given"),
    [
        ("info", {"log_warning": False}),
        ("info", {"log_error": False}),
        ("info", {"log_info": False, "log_warning": False, "log_error": False}),
        ("debug", {"log_info": False}),
        ("error", {"log_info": True}),
        ("warning", {"log_verbose_level": 1}),
    ],
)
async def test_switches_that_are_no_level_are_refused(
    running: Running, protocol: str, before: str, given: dict[str, object]
) -> None:
    """By name, with the rule; nothing is changed."""
    running.levels.level = before
    kind, sentence = await logging(running.kit, protocol, **given)
    assert (kind, running.levels.level) == ("invalid-parameter", before)
    assert sentence.startswith(", ".join(given) + ": lines are written from one level on")


@BOTH
@pytest.mark.parametrize(
    ("given", "refused"),
    [
        ({"log_file": "/tmp/log"}, "unsupported"),
        ({"log_format": "default"}, "unsupported"),
        ({"log_info": 1}, "invalid-parameter"),
        ({"log_verbose_level": True}, "invalid-parameter"),
        ({"log_verbose_level": "1"}, "invalid-parameter"),
        ({"log_warnings": False}, "invalid-parameter"),
    ],
)
async def test_what_is_no_log_setting_is_refused(
    running: Running, protocol: str, given: dict[str, object], refused: str
) -> None:
    """Also beside one that is: it is all or nothing."""
    asked: dict[str, object] = {"log_verbose_level": 1} | given
    kind, sentence = await logging(running.kit, protocol, **asked)
    assert (kind, running.levels.level) == (refused, "info")
    assert sentence.startswith(f"{next(iter(given))}: ")


@BOTH
async def test_nothing_can_be_changed_unless_the_operator_allows_it(forbidding: Kit, protocol: str) -> None:
    """Reading is free; the sentences name the settings."""
    said = await logging(forbidding, protocol)
    assert await logging(forbidding, protocol, log_verbose_level=1) == (
        "changes-forbidden", "log.changes is `false`; this needs `true`",
    )  # fmt: skip
    assert await logging(forbidding, protocol) == said
    assert isinstance(await tracing(forbidding, protocol, "b0"), dict)
    for model in ("", "b0"):
        assert await tracing(forbidding, protocol, model, trace_level="OFF") == (
            "changes-forbidden", "tracing.changes is `false`; this needs `true`",
        )  # fmt: skip


@BOTH
async def test_trace_settings_tell_what_is_traced(running: Running, protocol: str) -> None:
    """One of so many, as a whole number; the same of each model."""
    said = await tracing(running.kit, protocol)
    assert said == {
        "trace_level": ["TIMESTAMPS"], "trace_rate": "3", "trace_count": "-1", "trace_mode": "opentelemetry",
    }  # fmt: skip
    for model in ("b0", "efficientnet"):
        assert await tracing(running.kit, protocol, model) == said


@BOTH
async def test_traces_can_be_switched_off_and_on(running: Running, protocol: str) -> None:
    """At once, on both protocols, and for callers who have decided otherwise, too; the share stays what it was."""
    kit = running.kit

    async def recorded() -> int:
        (await kit.http.post("/v2/models/b0/infer", json=document([PHOTO]), headers=RECORDED)).raise_for_status()
        await kit.stub.ModelInfer(message(raw=lengths([PHOTO]), model="b0"), metadata=tuple(RECORDED.items()))
        await asyncio.to_thread(running.tracing._batches.force_flush)
        found = [span for span in running.exporter.get_finished_spans() if span.name == "classify"]
        running.exporter.clear()
        return len(found)

    off = await tracing(kit, protocol, trace_level=["OFF"])
    assert isinstance(off, dict)
    assert (off["trace_level"], off["trace_rate"]) == (["OFF"], "3")
    assert await recorded() == 0
    await tracing(kit, protocol, trace_level="TIMESTAMPS")
    assert (await recorded(), running.tracing.ratio) == (2, RATIO)


@BOTH
@pytest.mark.parametrize(("rate", "ratio"), [("1", 1.0), ("0100", 0.01), ("0", 0.0), ("999999999", 1 / 999_999_999)])
async def test_the_share_of_traces_can_be_changed(running: Running, protocol: str, rate: str, ratio: float) -> None:
    """One of so many; 0 for none of those that begin here."""
    said = await tracing(running.kit, protocol, trace_rate=rate)
    assert isinstance(said, dict)
    assert (said["trace_rate"], running.tracing.ratio) == (str(int(rate)), ratio)
    assert running.tracing.on


@BOTH
async def test_trace_settings_can_be_had_back(running: Running, protocol: str) -> None:
    """None is what it was at the start, to the digit; what is sent as it was told changes nothing."""
    at_start = await tracing(running.kit, protocol)
    assert isinstance(at_start, dict)
    await tracing(running.kit, protocol, **at_start)
    assert running.tracing.ratio == RATIO
    await tracing(running.kit, protocol, trace_rate="5", trace_level="OFF")
    assert at_start == await tracing(
        running.kit, protocol, trace_rate=None, trace_level=None, trace_count=None, trace_mode=None
    )
    assert (running.tracing.ratio, running.tracing.on) == (RATIO, True)


@BOTH
async def test_models_are_not_traced_differently(running: Running, protocol: str) -> None:
    """What would make a difference is refused, what would not is no change; unknown models are unknown."""
    said = await tracing(running.kit, protocol)
    assert await tracing(running.kit, protocol, "b0", trace_level="TIMESTAMPS", trace_rate=None) == said
    kind, sentence = await tracing(running.kit, protocol, "b0", trace_rate="7")
    assert (kind, sentence[:12]) == ("unsupported", "trace_rate: ")
    kind, _ = await tracing(running.kit, protocol, "b9")
    assert kind == "unknown-variant"
    assert running.tracing.ratio == RATIO


@BOTH
@pytest.mark.parametrize(
    ("given", "refused"),
    [
        ({"trace_level": ["TENSORS"]}, "unsupported"),
        ({"trace_level": ["TIMESTAMPS", "TENSORS"]}, "unsupported"),
        ({"trace_level": ["OFF", "TIMESTAMPS"]}, "invalid-parameter"),
        ({"trace_level": "ON"}, "invalid-parameter"),
        ({"trace_rate": "-1"}, "invalid-parameter"),
        ({"trace_rate": "0.5"}, "invalid-parameter"),
        ({"trace_rate": "1000000000"}, "invalid-parameter"),
        ({"trace_rate": ["1", "2"]}, "invalid-parameter"),
        ({"trace_count": "100"}, "unsupported"),
        ({"trace_mode": "triton"}, "unsupported"),
        ({"trace_file": "trace.json"}, "unsupported"),
        ({"log_frequency": "0"}, "unsupported"),
        ({"trace_rates": "1"}, "invalid-parameter"),
    ],
)
async def test_what_is_no_trace_setting_is_refused(
    running: Running, protocol: str, given: dict[str, object], refused: str
) -> None:
    """Also beside one that is."""
    asked: dict[str, object] = {"trace_level": "OFF"} | given
    kind, sentence = await tracing(running.kit, protocol, "", **asked)
    assert (kind, running.tracing.on, running.tracing.ratio) == (refused, True, RATIO)
    assert sentence.startswith(f"{next(iter(given))}: ")


async def test_extensions_are_those_that_there_are(running: Running, forbidding: Kit) -> None:
    """Where nothing is traced, `trace` is none of them."""
    traced, untraced = [(await kit.http.get("/v2")).json()["extensions"] for kit in (running.kit, forbidding)]
    assert "logging" in untraced
    assert traced == [*untraced, "trace"]
    over_grpc = await running.kit.stub.ServerMetadata(pb.ServerMetadataRequest())
    assert list(over_grpc.extensions) == traced


@BOTH
async def test_where_nothing_is_traced_that_is_said(tmp_path: Path, protocol: str) -> None:
    """It is off, and cannot be switched on; the sentence names what is missing."""
    controls = Controls(LogSettings(Levels(), changes=True), TraceSettings(None, changes=True))
    async with serving(tiny_store(tmp_path, ["b0"]), controls=controls) as kit:
        said = await tracing(kit, protocol)
        assert isinstance(said, dict)
        assert (said["trace_level"], said["trace_rate"]) == (["OFF"], "0")
        assert await tracing(kit, protocol, trace_level="OFF", trace_rate=None) == said
        assert await tracing(kit, protocol, trace_level="TIMESTAMPS") == (
            "unsupported", "trace_level: nothing is traced: `tracing.endpoint` names no collector",
        )  # fmt: skip


@pytest.mark.parametrize("path", ["/v2/logging", "/v2/trace/setting", "/v2/models/b0/versions/1/trace/setting"])
async def test_settings_over_http_are_an_object(running: Running, path: str) -> None:
    """Or nothing, which changes nothing. Not more than 64 KiB, and no other method."""
    for body in (b"[]", b"1", b"null", b"{", b'{"a": 1', b"[" * 1000):
        response = await running.kit.http.post(path, content=body)
        assert (response.status_code, response.headers["effserve-error-kind"]) == (400, "malformed-request")
    for empty in (b"", b"  ", b"{}"):
        assert (await running.kit.http.post(path, content=empty)).status_code == 200
    assert (await running.kit.http.post(path, content=b" " * 65_537)).status_code == 413
    assert (await running.kit.http.put(path)).status_code == 405
