"""The HTTP contract over real sockets, with real ONNX graphs and real JPEGs."""

import asyncio
import base64
import gzip
import json
import re
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urljoin

import httpx
import numpy as np
import pytest
import pytest_asyncio

from model_store import manifest as manifests
from service.core.errors import ErrorKind
from service.edges.http.models import AnswerModel
from service.edges.status import STATUS
from service.pipeline.image import decode
from service.pipeline.session import Session, SessionOptions
from tests.contract.grpc_kit import IMAGE_BYTES
from tests.contract.http_kit import Kit, real
from tests.fixtures import CLASSES, jpeg, png_header_bomb, quantise, tiny_store, write_variant

pytestmark = pytest.mark.asyncio(loop_scope="module")

PHOTO = jpeg(160, 120)
GZIPPED = gzip.compress(PHOTO)
JPEG_TYPE = {"Content-Type": "image/jpeg"}
ENOUGH = "budget_ms=60000"
"""For every variant of the store, however busy the machine is."""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two trained variants."""
    return tiny_store(tmp_path_factory.mktemp("store"))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(store: Path) -> AsyncIterator[Kit]:
    """A server over the store, for all tests that do not count from its start."""
    async with real(store) as serving:
        yield serving


@pytest_asyncio.fixture(loop_scope="module")
async def fresh(store: Path) -> AsyncIterator[Kit]:
    """A server of the test's own, which has answered nothing yet."""
    async with real(store) as serving:
        yield serving


@pytest.fixture
def kit(running: Kit) -> Kit:
    """Nothing has been seen yet."""
    running.seen.events.clear()
    return running


async def classify(kit: Kit, query: str = ENOUGH, headers: dict[str, str] | None = None) -> httpx.Response:
    """One raw upload."""
    return await kit.client.post(f"/classify?{query}", content=PHOTO, headers=JPEG_TYPE | (headers or {}))


async def test_a_photo_is_answered_by_the_most_accurate_variant_that_fits(kit: Kit) -> None:
    """A minute buys every variant of this store."""
    answer = (await classify(kit)).raise_for_status().json()
    assert (answer["decision"]["variant"], answer["decision"]["reason"]) == ("b1", "most_accurate_that_fits")
    assert answer["budget"]["met"] is True


@pytest.mark.parametrize("query", [ENOUGH, f"{ENOUGH}&explain=true", "budget_ms=1", f"{ENOUGH}&policy=p3"])
async def test_an_answer_is_what_the_api_page_says(kit: Kit, query: str) -> None:
    """Member by member, in order: it is written without the model that the page is made from."""
    response = (await classify(kit, query)).raise_for_status()
    assert AnswerModel.model_validate_json(response.content).model_dump_json() == response.text


async def test_probabilities_are_those_of_the_graph(kit: Kit, store: Path) -> None:
    """Top-k over the wire equals a softmax over a session's own logits."""
    answer = (await classify(kit, f"variant=b0&{ENOUGH}&top_k=3")).json()
    folder = store / "b0" / "1"
    manifest = manifests.read(folder)
    size = manifest.preprocessing.input_size_px
    session = Session(folder / "model.onnx", input_size_px=size, classes=CLASSES, options=SessionOptions())
    logits = session.run(decode(PHOTO, manifest.preprocessing)[None])[0].astype(np.float64)
    expected = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
    order = np.argsort(-expected)[:3]
    assert [p["index"] for p in answer["predictions"]] == order.tolist()
    assert [p["probability"] for p in answer["predictions"]] == pytest.approx(expected[order].tolist(), rel=1e-5)
    assert answer["predictions"][0]["label"] == f"class {order[0]}"


async def test_raw_multipart_and_json_uploads_are_the_same_image(kit: Kit) -> None:
    """Three envelopes, one answer."""
    raw = await classify(kit)
    multipart = await kit.client.post(f"/classify?{ENOUGH}", files={"image": ("a.jpg", PHOTO, "image/jpeg")})
    text = base64.b64encode(PHOTO).decode()
    in_json = await kit.client.post(f"/classify?{ENOUGH}", json={"image": text})
    answers = [response.raise_for_status().json()["predictions"] for response in (raw, multipart, in_json)]
    assert answers[0] == answers[1] == answers[2]


async def test_stages_add_up_to_the_total(kit: Kit) -> None:
    """Nothing between the first byte and the response is left out."""
    timing = (await classify(kit)).json()["timing_ms"]
    stages = sum(timing[stage] for stage in ("receive", "queue", "decode", "inference", "respond"))
    assert stages == pytest.approx(timing["total"], abs=0.01)
    assert all(value >= 0 for value in timing.values())


async def test_headers_carry_request_id_variant_and_timing(kit: Kit) -> None:
    """What a proxy's log can pick up."""
    response = await classify(kit, headers={"X-Request-Id": "my-id-1"})
    assert response.headers["x-request-id"] == response.json()["request_id"] == "my-id-1"
    assert response.headers["x-model-variant"] == "b1"
    assert [part.split(";")[0] for part in response.headers["server-timing"].split(", ")] == [
        "receive", "queue", "decode", "inference", "hold", "respond", "total",
    ]  # fmt: skip


@pytest.mark.parametrize("unfit", ["two words", "x" * 129])
async def test_a_request_id_unfit_for_a_header_is_replaced(kit: Kit, unfit: str) -> None:
    """The client gets one all the same."""
    identity = (await classify(kit, headers={"X-Request-Id": unfit})).headers["x-request-id"]
    assert identity != unfit
    assert len(identity) == 32


async def test_the_budget_may_come_as_a_header(kit: Kit) -> None:
    """For clients that cannot touch the query."""
    answer = (await classify(kit, "", {"X-Latency-Budget-Ms": "1234"})).json()
    assert answer["budget"]["requested_ms"] == 1234


async def test_the_query_wins_over_the_header(kit: Kit) -> None:
    """The more specific place."""
    answer = (await classify(kit, "budget_ms=777", {"X-Latency-Budget-Ms": "1234"})).json()
    assert answer["budget"]["requested_ms"] == 777


async def test_explain_lists_every_variant_with_its_verdict(kit: Kit) -> None:
    """Cheap to make, wanted when a decision surprises."""
    rows = (await classify(kit, f"{ENOUGH}&explain=true")).json()["decision"]["candidates"]
    assert {row["variant"]: row["verdict"] for row in rows} == {"b0": "less_accurate", "b1": "chosen"}
    assert (await classify(kit)).json()["decision"]["candidates"] is None


async def test_min_accuracy_takes_the_cheapest_that_reaches_it(kit: Kit) -> None:
    """Both reach 0.75."""
    decision = (await classify(kit, f"{ENOUGH}&min_accuracy=0.75")).json()["decision"]
    assert (decision["variant"], decision["reason"]) == ("b0", "cheapest_at_min_accuracy")


async def test_untrained_weights_say_so_in_every_answer(tmp_path: Path) -> None:
    """In the decision, the source of its accuracy, and a warning."""
    store = tiny_store(tmp_path, ["b0"], trained=False)
    async with real(store, routing={"route_untrained": True}) as kit:
        answer = (await classify(kit)).json()
    assert answer["decision"]["trained"] is False
    assert answer["decision"]["expected_top1_source"] == "architecture"
    assert "untrained" in answer["warnings"][0]


FAILURES = {
    "empty body": ("", b"", JPEG_TYPE, ErrorKind.EMPTY_IMAGE),
    "text": ("", b"hello, I am not an image", JPEG_TYPE, ErrorKind.UNDECODABLE_IMAGE),
    "cut short": ("", PHOTO[: len(PHOTO) // 2], JPEG_TYPE, ErrorKind.UNDECODABLE_IMAGE),
    "pixel bomb": ("", png_header_bomb(), {"Content-Type": "image/png"}, ErrorKind.TOO_MANY_PIXELS),
    "too many bytes": ("", bytes(IMAGE_BYTES + 1), JPEG_TYPE, ErrorKind.IMAGE_TOO_LARGE),
    "tiff": ("", b"II*\x00" + bytes(60), JPEG_TYPE, ErrorKind.UNSUPPORTED_MEDIA_TYPE),
    "text type": ("", PHOTO, {"Content-Type": "text/plain"}, ErrorKind.UNSUPPORTED_MEDIA_TYPE),
    "curl's own type": (
        "", PHOTO, {"Content-Type": "application/x-www-form-urlencoded"}, ErrorKind.UNSUPPORTED_MEDIA_TYPE,
    ),
    "no gzip": ("", PHOTO, JPEG_TYPE | {"Content-Encoding": "gzip"}, ErrorKind.MALFORMED_REQUEST),
    "brotli": ("", PHOTO, JPEG_TYPE | {"Content-Encoding": "br"}, ErrorKind.UNSUPPORTED_MEDIA_TYPE),
    "cut gzip": ("", GZIPPED[:-9], JPEG_TYPE | {"Content-Encoding": "gzip"}, ErrorKind.MALFORMED_REQUEST),
    "more than gzip": ("", GZIPPED + b"x", JPEG_TYPE | {"Content-Encoding": "gzip"}, ErrorKind.MALFORMED_REQUEST),
    "gzip bomb": (
        "", gzip.compress(bytes(50 * IMAGE_BYTES)), JPEG_TYPE | {"Content-Encoding": "gzip"}, ErrorKind.IMAGE_TOO_LARGE,
    ),
    "no json": ("", b"{", {"Content-Type": "application/json"}, ErrorKind.MALFORMED_REQUEST),
    "json without image": ("", b"{}", {"Content-Type": "application/json"}, ErrorKind.MALFORMED_REQUEST),
    "json with more": ("", b'{"image": "", "x": 1}', {"Content-Type": "application/json"}, ErrorKind.MALFORMED_REQUEST),
    "no base64": ("", b'{"image": "?"}', {"Content-Type": "application/json"}, ErrorKind.MALFORMED_REQUEST),
    "no boundary": ("", b"x", {"Content-Type": "multipart/form-data"}, ErrorKind.MALFORMED_REQUEST),
    "unknown variant": ("variant=b9", PHOTO, JPEG_TYPE, ErrorKind.UNKNOWN_VARIANT),
    "zero budget": ("budget_ms=0", PHOTO, JPEG_TYPE, ErrorKind.INVALID_PARAMETER),
    "negative budget": ("budget_ms=-5", PHOTO, JPEG_TYPE, ErrorKind.INVALID_PARAMETER),
    "nan budget": ("budget_ms=nan", PHOTO, JPEG_TYPE, ErrorKind.INVALID_PARAMETER),
    "infinite budget": ("budget_ms=inf", PHOTO, JPEG_TYPE, ErrorKind.INVALID_PARAMETER),
    "no top_k": ("top_k=0", PHOTO, JPEG_TYPE, ErrorKind.INVALID_PARAMETER),
    "unknown mode": ("mode=maybe", PHOTO, JPEG_TYPE, ErrorKind.INVALID_PARAMETER),
    "unknown parameter": ("budget=50", PHOTO, JPEG_TYPE, ErrorKind.INVALID_PARAMETER),
    "contradiction": ("variant=b0&min_accuracy=0.5", PHOTO, JPEG_TYPE, ErrorKind.INVALID_PARAMETER),
    "nan header": ("", PHOTO, JPEG_TYPE | {"X-Latency-Budget-Ms": "nan"}, ErrorKind.INVALID_PARAMETER),
    "too accurate": ("min_accuracy=0.999", PHOTO, JPEG_TYPE, ErrorKind.ACCURACY_UNAVAILABLE),
    "hopeless": ("mode=strict&budget_ms=0.01", PHOTO, JPEG_TYPE, ErrorKind.INFEASIBLE_BUDGET),
}  # fmt: skip


@pytest.mark.parametrize("case", FAILURES)
async def test_a_failure_is_a_problem_with_its_kind_and_status(kit: Kit, case: str) -> None:
    """Problem details with the status of the one table; told to the observer once."""
    query, body, headers, kind = FAILURES[case]
    response = await kit.client.post(f"/classify?{query}", content=body, headers=headers)
    problem = response.json()
    assert (problem["kind"], response.status_code) == (kind, STATUS[kind].http)
    assert response.headers["content-type"] == "application/problem+json"
    assert (problem["status"], problem["type"]) == (response.status_code, f"/problems/{kind}")
    assert problem["request_id"] == response.headers["x-request-id"]
    assert [failed.kind for failed in kit.seen.failed] == [kind]


async def test_multipart_needs_the_field_image(kit: Kit) -> None:
    """Another name is named."""
    response = await kit.client.post("/classify", files={"photo": ("a.jpg", PHOTO, "image/jpeg")})
    assert response.status_code == 400
    assert "'photo' is not a field" in response.json()["detail"]


async def test_a_body_without_a_length_is_cut_off_at_the_limit(kit: Kit) -> None:
    """Chunked uploads announce nothing; the connection serves the next request all the same."""

    async def endless() -> AsyncIterator[bytes]:
        for _ in range(IMAGE_BYTES // 1000 + 2):
            yield bytes(1000)

    response = await kit.client.post("/classify", content=endless(), headers=JPEG_TYPE)
    assert (response.status_code, response.json()["limit_bytes"]) == (413, IMAGE_BYTES)
    assert (await classify(kit)).status_code == 200


async def test_every_kind_of_problem_has_a_page(kit: Kit) -> None:
    """The `type` of a problem leads somewhere."""
    for kind in ErrorKind:
        page = (await kit.client.get(f"/problems/{kind}")).raise_for_status().json()
        assert (page["kind"], page["http_status"]) == (kind, STATUS[kind].http)


@pytest.mark.parametrize(
    ("method", "path", "kind"),
    [
        ("GET", "/nowhere", ErrorKind.NOT_FOUND),
        ("GET", "/problems/nonsense", ErrorKind.NOT_FOUND),
        ("GET", "/classify", ErrorKind.METHOD_NOT_ALLOWED),
        ("GET", "/variants/b9", ErrorKind.UNKNOWN_VARIANT),
        ("GET", "/plan?budget_ms=nan", ErrorKind.INVALID_PARAMETER),
        ("GET", "/plan?top_k=3", ErrorKind.INVALID_PARAMETER),
    ],
)
async def test_other_paths_fail_with_problems_too(kit: Kit, method: str, path: str, kind: ErrorKind) -> None:
    """One form for every failure."""
    response = await kit.client.request(method, path)
    assert (response.status_code, response.json()["kind"]) == (STATUS[kind].http, kind)


async def test_plan_says_what_a_budget_would_buy_without_running_anything(fresh: Kit) -> None:
    """A dry run."""
    plan = (await fresh.client.get(f"/plan?{ENOUGH}")).raise_for_status().json()
    assert plan["decision"]["variant"] == "b1"
    assert plan["smallest_feasible_budget_ms"] < 60_000
    assert fresh.dataplane.health().statistics.submitted == 0


async def test_plan_says_when_a_strict_request_would_be_refused(kit: Kit) -> None:
    """The decision alone would look like an answer."""
    plan = (await kit.client.get("/plan?budget_ms=0.01&mode=strict")).json()
    assert plan["would_be_refused"] is True


async def test_variants_shows_the_live_table(fresh: Kit) -> None:
    """Cheapest first, with what each costs, knows and is."""
    await classify(fresh)
    table = (await fresh.client.get("/variants")).raise_for_status().json()
    assert [(row["name"], row["answers"], row["routed"]) for row in table["variants"]] == [
        ("b0", 0, True), ("b1", 1, True),
    ]  # fmt: skip
    one = (await fresh.client.get("/variants/b1")).json()
    assert one["accuracy"] == {"top1": 0.791, "top5": None, "dataset": "synthetic", "source": "measured"}


async def test_a_variant_that_no_budget_chooses_says_why(tmp_path: Path) -> None:
    """In the table, in its configuration, and where a plan lists verdicts; whoever names it is answered by it."""
    write_variant(tmp_path, "b0", resolution=32, top1=0.6)
    write_variant(tmp_path, "b2", top1=0.5)
    quantise(write_variant(tmp_path, "b0-int8", resolution=128), original="b0")
    async with real(tmp_path) as kit:
        rows = {row["name"]: row for row in (await kit.client.get("/variants")).json()["variants"]}
        assert {name: row["not_routed"] for name, row in rows.items()} == {
            "b0": "",
            "b0-int8": "it is not clearly quicker here than b0, which it was made from",
            "b2": "b0 is at least as accurate and not slower",
        }
        assert [name for name, row in rows.items() if row["routed"]] == ["b0"]
        plan = (await kit.client.get(f"/plan?{ENOUGH}")).json()
        verdicts = {row["variant"]: row["verdict"] for row in plan["decision"]["candidates"]}
        assert verdicts == {"b0": "chosen", "b0-int8": "no_quicker", "b2": "dominated"}
        named = (await classify(kit, f"{ENOUGH}&variant=b0-int8")).json()
    assert named["decision"]["variant"] == "b0-int8"


async def test_the_data_path_says_how_it_is(fresh: Kit) -> None:
    """In a debugger and in failures: what probes would say, and the queue."""
    assert re.fullmatch(r"<Dataplane ready=True draining=False <Scheduler .*>>", repr(fresh.dataplane))


async def test_a_damaged_variant_is_listed_as_refused_and_the_rest_is_served(tmp_path: Path) -> None:
    """By name, with the reason."""
    store = tiny_store(tmp_path)
    with (store / "b1" / "1" / "model.onnx").open("r+b") as graph:
        graph.seek(100)
        graph.write(b"tampered")
    async with real(store) as kit:
        table = (await kit.client.get("/variants")).json()
        assert (await classify(kit)).json()["decision"]["variant"] == "b0"
    assert [(row["name"], "damaged" in row["reason"]) for row in table["refused"]] == [("b1", True)]


async def test_metrics_count_what_happened_and_clients_cannot_add_series(fresh: Kit) -> None:
    """Names that a client makes up never become labels."""
    await classify(fresh)
    before = (await fresh.client.get("/metrics")).text
    for number in range(3):
        await classify(fresh, f"variant=made-up-{number}")
    after = (await fresh.client.get("/metrics")).text
    assert 'effserve_requests_total{outcome="answered",protocol="http",variant="b1"} 1.0' in before
    assert 'effserve_requests_total{outcome="unknown-variant",protocol="http",variant="none"} 3.0' in after
    assert "made-up" not in after


async def test_the_openapi_page_needs_no_other_host(kit: Kit) -> None:
    """It works on a machine without internet."""
    page = (await kit.client.get("/docs")).raise_for_status().text
    assert "http://" not in page
    assert "https://" not in page
    files = re.findall(r'(?:href|src)="([^"]+)"', page)
    assert len(files) == 3
    for file in files:
        (await kit.client.get(urljoin("/docs", file))).raise_for_status()
    schema = (await kit.client.get("/openapi.json")).json()
    assert set(schema["paths"]["/classify"]["post"]["requestBody"]["content"]) == {
        "image/*", "multipart/form-data", "application/json",
    }  # fmt: skip


async def test_bytes_that_are_not_http_get_a_400(kit: Kit) -> None:
    """The connection ends, the service does not."""
    with socket.create_connection(("127.0.0.1", kit.port)) as raw:
        raw.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(raw, b"\x16\x03\x01 not http\r\n\r\n")
        assert (await loop.sock_recv(raw, 100)).startswith(b"HTTP/1.1 400")
    assert (await classify(kit)).status_code == 200


async def test_the_probes_tell_how_many_lanes_and_threads_there_are(kit: Kit) -> None:
    """And the reason: this service was told so."""
    for probe in ("/healthz", "/readyz"):
        said = (await kit.client.get(probe)).raise_for_status().json()
        assert (said["lanes"], said["threads"], said["layout"]) == (2, 1, "as set")


async def test_answers_are_plain_json(kit: Kit) -> None:
    """No NaN, no infinity: any JSON parser reads them."""

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    json.loads((await classify(kit, f"{ENOUGH}&explain=1")).text, parse_constant=refuse)
