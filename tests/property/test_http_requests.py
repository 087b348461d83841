"""Whatever a client sends over HTTP: a named answer, no fault of ours, no new label."""

import base64
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.core.errors import ErrorKind
from service.edges.status import STATUS
from tests.fixtures import jpeg, png, tiny_store
from tests.integration.process import PATIENCE_S, Server, serving

PHOTO = jpeg(64, 48)
UPLOADS = st.one_of(
    st.sampled_from([PHOTO, png(20, 20), b"", PHOTO[:200]]),
    st.binary(max_size=400),
    st.builds(lambda image: json.dumps({"image": base64.b64encode(image).decode()}).encode(), st.just(PHOTO)),
    st.builds(lambda value: json.dumps(value).encode(), st.recursive(st.none() | st.text(), st.lists, max_leaves=5)),
)
TYPES = st.one_of(
    st.sampled_from(
        [
            "image/jpeg",
            "image/*",
            "application/json",
            "multipart/form-data; boundary=x",
            "multipart/form-data",
            "",
            "a/b",
        ]
    ),
    st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=30),
)
NUMBERS = st.one_of(
    st.floats().map(str), st.integers().map(str), st.sampled_from(["1e999", "-0", "0x10", "", " 5 ", "5ms", "٣"])
)
QUERIES = st.dictionaries(
    st.one_of(
        st.sampled_from(["budget_ms", "top_k", "variant", "min_accuracy", "mode", "explain"]), st.text(max_size=8)
    ),
    st.one_of(NUMBERS, st.text(max_size=12), st.sampled_from(["b0", "b1", "strict", "best_effort", "true", "1"])),
    max_size=4,
)
HEADER_VALUES = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=140)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One process for all examples."""
    folder = tmp_path_factory.mktemp("fuzz")
    with serving(tiny_store(folder / "store"), folder) as running:
        yield running


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[httpx.Client]:
    """One keep-alive client: an answer must leave its connection usable."""
    with httpx.Client(base_url=server.url, timeout=PATIENCE_S) as sender:
        yield sender


@settings(max_examples=300)
@given(query=QUERIES, body=UPLOADS, content_type=TYPES, identity=HEADER_VALUES, budget=st.none() | NUMBERS)
def test_any_upload_gets_a_named_answer(
    client: httpx.Client, query: dict[str, str], body: bytes, content_type: str, identity: str, budget: str | None
) -> None:
    """200, or a problem whose kind and status agree and that is not a fault of the service."""
    headers = {"Content-Type": content_type.strip(), "X-Request-Id": identity}
    if budget is not None and budget.isascii():
        headers["X-Latency-Budget-Ms"] = budget.strip()
    _check(client.post("/classify", params=query, content=body, headers=headers))


@settings(max_examples=100)
@given(
    method=st.sampled_from(["GET", "PUT", "DELETE", "PATCH", "OPTIONS"]),
    path=st.one_of(
        st.sampled_from(["plan", "variants", "variants/b0", "problems/internal", "classify"]), st.text(max_size=20)
    ),
    query=QUERIES,
)
def test_any_path_gets_a_named_answer(client: httpx.Client, method: str, path: str, query: dict[str, str]) -> None:
    """Known paths and made-up ones, any method."""
    _check(client.request(method, "/" + quote(path), params=query))


def test_afterwards_labels_come_from_closed_sets(client: httpx.Client) -> None:
    """Nothing of what was sent has become a label."""
    text = client.get("/metrics").text
    assert _values(text, "variant") <= {"b0", "b1", "none"}
    assert _values(text, "protocol") == {"http"}
    spans = {"exported", "failed", "dropped"}
    assert _values(text, "outcome") <= {"answered", "met", "missed", "infeasible", "unattainable", *spans, *ErrorKind}


def _check(response: httpx.Response) -> None:
    if response.is_success or response.is_redirect:
        return
    problem: dict[str, Any] = response.json()
    kind = ErrorKind(problem["kind"])
    assert kind is not ErrorKind.INTERNAL
    assert (response.status_code, problem["status"]) == (STATUS[kind].http, STATUS[kind].http)
    assert response.headers["content-type"] == "application/problem+json"


def _values(metrics: str, label: str) -> set[str]:
    lines = (line for line in metrics.splitlines() if line.startswith("effserve_") and f'{label}="' in line)
    return {line.split(f'{label}="')[1].split('"')[0] for line in lines}
