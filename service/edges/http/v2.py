"""`/v2`: the Open Inference Protocol over HTTP. Converts, and decides nothing; failures are `{"error": "…"}`."""

import math
import re
from collections.abc import Callable, Sequence
from typing import Any

from fastapi import FastAPI, Request, Response
from pydantic import BaseModel, Field, TypeAdapter, ValidationError
from starlette.responses import JSONResponse

from service.core.errors import EffserveError, ErrorKind
from service.core.messages import Answer
from service.edges.http import incoming, tensors
from service.edges.http.body import read_body
from service.edges.http.hot_path import Take
from service.edges.http.openapi import open_inference_status
from service.edges.http.server import leaving
from service.edges.http.uploads import Upload, Uploads
from service.edges.oip.inference import Call, aside
from service.edges.oip.refusals import too_large
from service.edges.oip.service import OpenInference
from service.edges.oip.tensors import malformed
from service.edges.questions import BUDGET_HEADER

ROOT = "/v2"
MODEL = ROOT + "/models/{name}"
VERSION = MODEL + "/versions/{version}"
_INFER = re.compile(r"/v2/models/([^/]+)(?:/versions/([^/]+))?/infer")
SCORES_ASIDE = 4_096
"""More scores than this are written as JSON on another thread."""
SMALL_BYTES = 65_536
"""Largest body of what holds no tensors."""
_SETTINGS = TypeAdapter(dict[str, object])


class _Index(BaseModel):
    ready: bool = False


class _Change(BaseModel):
    parameters: dict[str, object] = Field(default_factory=dict)


def is_open_inference(path: str) -> bool:
    """Whether the protocol rules there."""
    return path == ROOT or path.startswith(ROOT + "/")


def failure(error: EffserveError, request_id: str) -> JSONResponse:
    """The answer for one failure."""
    headers = {"X-Request-Id": request_id, "Effserve-Error-Kind": str(error.kind)}
    if error.retry_after_s is not None:
        headers["Retry-After"] = str(math.ceil(error.retry_after_s))
    return JSONResponse({"error": error.detail}, open_inference_status(error.kind), headers)


class OpenInferenceRoutes:
    """All paths below `/v2`."""

    def __init__(
        self,
        service: OpenInference,
        uploads: Uploads,
        *,
        clock: Callable[[], float],
        protocol: str,
        request_bytes: int,
        upload_timeout_s: float,
        finish: Callable[[Response], None],
    ) -> None:
        """`finish` gets each response before it is sent."""
        self._service = service
        self._uploads = uploads
        self._clock = clock
        self._protocol = protocol
        self._request_bytes = request_bytes
        self._upload_timeout_s = upload_timeout_s
        self._finish = finish

    def add_to(self, app: FastAPI) -> None:
        """The order matters: `stats` is no model."""
        get: dict[str, Any] = {"response_model": None, "tags": ["Open Inference Protocol"]}
        post = get | {"methods": ["POST"]}
        app.add_api_route(ROOT, self.server, **get)
        app.add_api_route(ROOT + "/", self.server, include_in_schema=False, **get)
        app.add_api_route(ROOT + "/health/live", self.live, **get)
        app.add_api_route(ROOT + "/health/ready", self.ready, **get)
        app.add_api_route(ROOT + "/models", self.models, **get)
        app.add_api_route(ROOT + "/models/stats", self.all_statistics, **get)
        for path in (MODEL, VERSION):
            app.add_api_route(path, self.metadata, **get)
            app.add_api_route(path + "/ready", self.model_ready, **get)
            app.add_api_route(path + "/config", self.config, **get)
            app.add_api_route(path + "/stats", self.statistics, **get)
            app.add_api_route(path + "/infer", self.infer, **post)
            app.add_api_route(path + "/trace/setting", self.trace, **get)
            app.add_api_route(path + "/trace/setting", self.change_trace, **post)
        app.add_api_route(ROOT + "/trace/setting", self.trace_of_all, **get)
        app.add_api_route(ROOT + "/trace/setting", self.change_trace_of_all, **post)
        app.add_api_route(ROOT + "/logging", self.logging, **get)
        app.add_api_route(ROOT + "/logging", self.change_logging, **post)
        app.add_api_route(ROOT + "/repository/index", self.index, **post)
        app.add_api_route(ROOT + "/repository/models/{name}/load", self.load, **post)
        app.add_api_route(ROOT + "/repository/models/{name}/unload", self.unload, **post)

    def infer_at(self, path: str) -> Take | None:
        """What takes the requests that are posted there."""
        found = _INFER.fullmatch(path)
        return None if found is None else lambda request: self.infer(request, found[1], found[2] or "")

    async def server(self) -> Response:
        """Name, version and extensions of the server."""
        return self._response(self._service.server())

    async def live(self) -> Response:
        """Whether the process lives."""
        return self._response({"live": True})

    async def ready(self) -> Response:
        """Whether traffic should come here."""
        return self._response({"ready": self._service.ready}, 200 if self._service.ready else 503)

    async def models(self) -> Response:
        """Names of all models."""
        return self._response({"models": self._service.names()})

    async def metadata(self, name: str, version: str = "") -> Response:
        """What a model takes and gives."""
        return self._response(self._service.metadata(name, version))

    async def model_ready(self, name: str, version: str = "") -> Response:
        """Whether a model answers."""
        ready = self._service.model_ready(name, version)
        return self._response({"name": name, "ready": ready}, 200 if ready else 503)

    async def config(self, name: str, version: str = "") -> Response:
        """How a model is set up, in Triton's terms."""
        return self._response(self._service.config(name, version))

    async def statistics(self, name: str, version: str = "") -> Response:
        """What a model has done since the start."""
        return self._response(self._service.statistics(name, version))

    async def all_statistics(self) -> Response:
        """What all models have done since the start."""
        return self._response(self._service.statistics("", ""))

    async def index(self, request: Request) -> Response:
        """What the model store holds; `{"ready": true}` leaves out what does not answer."""
        with self._uploads.one() as upload:
            body = await self._body(request, upload, SMALL_BYTES)
        try:
            asked = _Index.model_validate_json(body) if body.strip() else _Index()
        except ValidationError:
            raise malformed('the body is neither empty nor {"ready": true}') from None
        return self._response((await self._service.index(only_ready=asked.ready))["models"])

    async def load(self, request: Request, name: str) -> Response:
        """Serve the newest version of a variant in the store, or the one that the parameter `version` names."""
        changes = self._service.changes()
        await changes.load(name, await self._parameters(request))
        return self._response({})

    async def unload(self, request: Request, name: str) -> Response:
        """Do not serve a variant any more."""
        changes = self._service.changes()
        await changes.unload(name, await self._parameters(request))
        return self._response({})

    async def logging(self) -> Response:
        """Which log lines are written."""
        return self._response(self._service.log_settings({}))

    async def change_logging(self, request: Request) -> Response:
        """Write other lines from now on. Needs `log.changes`."""
        return self._response(self._service.log_settings(await self._settings(request)))

    async def trace_of_all(self) -> Response:
        """Which requests are traced."""
        return self._response(self._service.trace_settings({}))

    async def change_trace_of_all(self, request: Request) -> Response:
        """Trace others from now on. Needs `tracing.changes`."""
        return self._response(self._service.trace_settings(await self._settings(request)))

    async def trace(self, name: str, version: str = "") -> Response:
        """Which requests are traced: the same of each model."""
        return self._response(self._service.trace_settings({}, name, version))

    async def change_trace(self, request: Request, name: str, version: str = "") -> Response:
        """Nothing that makes a difference between models."""
        return self._response(self._service.trace_settings(await self._settings(request), name, version))

    async def infer(self, request: Request, name: str, version: str = "") -> Response:
        """Classify the images of one request: all of them, or none."""
        inference = self._service.inference
        _refuse_query(request)
        with self._uploads.one() as upload:
            body = await self._body(request, upload, self._request_bytes)
            json_length = request.headers.get(tensors.JSON_LENGTH_HEADER)
            json_bytes = len(body) if json_length is None else tensors.json_bytes(json_length, body)
            received = await aside(json_bytes, lambda: tensors.parsed(body, json_length, name, version))
            call = self._call(request, received.request.id)
            with inference.holding():
                model, asked = inference.ask(received.request, call)
                request.state.deadline, request.state.variant = asked.deadline, asked.variant
                prepared = await inference.prepare(received.request, model, asked)
                request.state.reported = True
                with leaving(request):
                    response, answers = await inference.run(prepared, call)
        scores = sum(math.prod(output.shape) for output in response.outputs)
        content, headers = await aside(
            16 * scores if scores > SCORES_ASIDE else 0, lambda: tensors.rendered(response, received)
        )
        inference.handed_over(prepared, call, answers)
        return self._finished(Response(content, headers=headers | _about(answers, call)))

    async def _parameters(self, request: Request) -> dict[str, object]:
        """Of a change."""
        with self._uploads.one() as upload:
            body = await self._body(request, upload, SMALL_BYTES)
        try:
            return (_Change.model_validate_json(body) if body.strip() else _Change()).parameters
        except ValidationError:
            raise malformed('the body is neither empty nor {"parameters": {…}}') from None

    async def _settings(self, request: Request) -> dict[str, object]:
        """By name."""
        with self._uploads.one() as upload:
            body = await self._body(request, upload, SMALL_BYTES)
        try:
            return _SETTINGS.validate_json(body) if body.strip() else {}
        except ValidationError:
            raise malformed("the body is neither empty nor an object of settings") from None

    def _call(self, request: Request, given_id: str) -> Call:
        identity, started_s = incoming.identity(request, given_id), incoming.started_s(request, self._clock)
        budget, trace = incoming.field(request, BUDGET_HEADER), incoming.trace(request)
        return Call(self._protocol, identity, started_s, header_budget=budget, trace=trace)

    async def _body(self, request: Request, upload: Upload, limit_bytes: int) -> bytes:
        """Whole and decompressed, within the limit before and after."""
        timeout_s, beyond = self._upload_timeout_s, too_large(limit_bytes)
        return await read_body(request, upload, limit_bytes=limit_bytes, timeout_s=timeout_s, beyond=beyond)

    def _response(self, document: Any, status: int = 200) -> Response:  # noqa: ANN401
        return self._finished(JSONResponse(document, status))

    def _finished(self, response: Response) -> Response:
        self._finish(response)
        return response


def _refuse_query(request: Request) -> None:
    """The protocol has none, and a budget in it would be lost. Raises `EffserveError(INVALID_PARAMETER)`."""
    if name := next(iter(request.query_params), None):
        detail = (
            f"{name}: here a query has no meaning; parameters are in the request's JSON, a budget may be in the header "
            f"{BUDGET_HEADER}"
        )
        raise EffserveError(ErrorKind.INVALID_PARAMETER, detail, {"parameter": name})


def _about(answers: Sequence[Answer], call: Call) -> dict[str, str]:
    return {
        "X-Request-Id": call.request_id,
        "X-Model-Variant": ",".join(answer.decision.variant.name for answer in answers),
    }
