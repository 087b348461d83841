"""The OpenAPI document says what can come back: statuses of the one table, in the forms in which they come."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from service.core.errors import ErrorKind
from service.edges.status import CHANGES, STATUS
from tests.contract.http_kit import Kit, real
from tests.fixtures import tiny_store

Document = dict[str, Any]
pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def kit(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Kit]:
    """A server over two variants."""
    store: Path = tiny_store(tmp_path_factory.mktemp("store"))
    async with real(store) as serving:
        yield serving


@pytest_asyncio.fixture(loop_scope="module")
async def paths(kit: Kit) -> Document:
    """Path → method → operation."""
    found: Document = (await kit.client.get("/openapi.json")).raise_for_status().json()["paths"]
    return found


def responses(paths: Document, method: str, path: str) -> Document:
    """Status → what is said of it."""
    found: Document = paths[path][method]["responses"]
    return found


async def test_frameworks_own_failures_are_not_there(kit: Kit) -> None:
    """Nothing ends in FastAPI's form."""
    assert "HTTPValidationError" not in (await kit.client.get("/openapi.json")).text


@pytest.mark.parametrize("path", ["/classify", "/classify/anytime"])
async def test_an_upload_may_end_in_every_status_of_the_table(paths: Document, path: str) -> None:
    """As a problem, but for those of changing what is served; 404 is an unknown variant."""
    found = responses(paths, "post", path)
    assert set(found) - {"200"} == {str(STATUS[kind].http) for kind in set(ErrorKind) - CHANGES}
    assert all(set(one["content"]) == {"application/problem+json"} for s, one in found.items() if s != "200")


async def test_the_protocols_failures_are_in_its_form(paths: Document) -> None:
    """`{"error": …}`, and 400 where others have 422."""
    for path in ("/v2/models/{name}/infer", "/v2/models/{name}/versions/{version}/infer"):
        found = responses(paths, "post", path)
        assert set(found) - {"200"} == {str(STATUS[kind].http) for kind in set(ErrorKind) - CHANGES} - {"422"}
        assert found["400"]["content"]["application/json"]["schema"]["required"] == ["error"]
        assert set(found["200"]["content"]) == {"application/json", "application/octet-stream"}
        schema = paths[path]["post"]["requestBody"]["content"]["application/json"]["schema"]
        assert schema["properties"]["inputs"]["items"]["required"] == ["name", "shape", "datatype"]
        assert "$ref" not in str(schema)


@pytest.mark.parametrize("part", ["", "/ready", "/config", "/stats", "/trace/setting"])
async def test_what_is_not_served_is_not_found(paths: Document, part: str) -> None:
    """With a version and without; a model may also not be ready."""
    for path in (f"/v2/models/{{name}}{part}", f"/v2/models/{{name}}/versions/{{version}}{part}"):
        assert set(responses(paths, "get", path)) == {"200", "404", *(("503",) if part == "/ready" else ())}


async def test_what_can_be_set_is_said(paths: Document) -> None:
    """Of log lines and traces; reading cannot fail, and changing may be forbidden."""
    for path, name in (("/v2/logging", "log_info"), ("/v2/trace/setting", "trace_rate")):
        assert set(responses(paths, "get", path)) == {"200"}
        assert {"200", "400", "403", "501"} <= set(responses(paths, "post", path))
        schema = paths[path]["post"]["requestBody"]["content"]["application/json"]["schema"]
        assert name in schema["properties"]
    assert {"403", "404"} <= set(responses(paths, "post", "/v2/models/{name}/trace/setting"))


@pytest.mark.parametrize("accept", ["*/*", "application/openmetrics-text"])
async def test_metrics_have_the_types_that_are_said(kit: Kit, paths: Document, accept: str) -> None:
    """Either text format."""
    response = await kit.client.get("/metrics", headers={"Accept": accept})
    media_type = response.headers["content-type"].partition(";")[0]
    assert media_type in responses(paths, "get", "/metrics")["200"]["content"]


async def test_events_are_described_one_by_one(paths: Document) -> None:
    """Name and data."""
    schema = responses(paths, "post", "/classify/anytime")["200"]["content"]["text/event-stream"]["schema"]
    assert schema["properties"]["event"]["enum"] == ["answer", "final", "error"]


async def test_a_page_of_no_problem_is_not_found(paths: Document) -> None:
    """Said, too."""
    assert set(responses(paths, "get", "/problems/{kind}")) == {"200", "404"}
