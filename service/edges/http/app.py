"""The routes. Each converts a request, asks the dataplane, converts the answer; failures become problem details.

`POST /classify` and `POST /classify/anytime` watch for the client going away while its image waits or runs: a request
nobody reads any more leaves the queue.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any, TypeAlias, TypeVar

from fastapi import FastAPI, Header, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.datastructures import QueryParams
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from service import __version__
from service.core.errors import EffserveError, ErrorKind, fault
from service.core.messages import Answer, ClassifyRequest
from service.core.trace import Tracer, untraced
from service.core.values import Question
from service.dataplane import Dataplane, OnAnswer
from service.edges.anytime import as_they_come
from service.edges.http import v2
from service.edges.http.body import read_image
from service.edges.http.events import EventStream, event
from service.edges.http.hot_path import HotPath, Take
from service.edges.http.incoming import field, identity, started_s, trace
from service.edges.http.live import Broadcast, Watcher
from service.edges.http.models import (
    AnswerModel,
    ChangesModel,
    HealthModel,
    LabelsModel,
    LiveModel,
    PlanModel,
    VariantModel,
    VariantsModel,
    answer_json,
    timing_ms,
)
from service.edges.http.openapi import (
    EVENTS,
    METRICS,
    OF_CHANGES,
    OF_UPLOADS,
    PICTURES,
    UPLOAD,
    answers,
    completed,
    failures,
)
from service.edges.http.page import Page
from service.edges.http.problems import describe, problem
from service.edges.http.server import hang_up, leaving, told_of_leaving
from service.edges.http.uploads import Uploads
from service.edges.http.v2 import OpenInferenceRoutes
from service.edges.oip.service import OpenInference
from service.edges.questions import (
    BUDGET_HEADER,
    MAX_BUDGET_MS,
    ClassifyParameters,
    Defaults,
    P,
    PlanParameters,
    budget_of,
    checked,
    insured,
    invalid_parameter,
    question,
    refuse_repeated,
)
from service.edges.recent import Recent
from service.edges.timing import server_timing
from service.repository import Repository, allowed

PROTOCOL = "http"
QUERIES = 256
"""Different ones whose parameters are kept; what is refused is not."""
QUERY_BYTES = 256
"""Longer ones are not kept."""
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Limits:
    """What is taken in."""

    image_bytes: int
    uploads_bytes: int
    """Of all requests together."""
    upload_timeout_s: float
    request_bytes: int
    """Of one request of the Open Inference Protocol."""


Application: TypeAlias = ASGIApp
"""What servers run; whoever puts it together need not know the standard."""
Scrape = Callable[[str], Awaitable[tuple[bytes, str]]]
"""`Accept` header → metrics and their content type."""

_OF_BUDGET = "The budget as a header; `budget_ms` in the query wins over it."
BudgetHeader = Annotated[
    float | None,
    Header(
        alias=BUDGET_HEADER,
        gt=0,
        le=MAX_BUDGET_MS,
        allow_inf_nan=False,
        description=_OF_BUDGET,
    ),
]
ShownBudgetHeader = Annotated[
    Any,
    Header(
        alias=BUDGET_HEADER,
        description=_OF_BUDGET,
        json_schema_extra={"anyOf": [{"type": "number", "exclusiveMinimum": 0, "maximum": MAX_BUDGET_MS}]},
    ),
]
"""For the OpenAPI page: the framework would refuse a header that the query wins over. `_header_budget` reads it."""


def create_http_app(
    dataplane: Dataplane,
    *,
    clock: Callable[[], float],
    defaults: Defaults,
    limits: Limits,
    scrape: Scrape,
    open_inference: OpenInference,
    recent: Recent,
    tracer: Tracer = untraced,
    repository: Repository | None = None,
) -> Application:
    """The application. `clock` is the one that deadlines are read on; `recent` is told of events by the caller; without
    a `repository` what is served stays."""
    edge = _Edge(dataplane, clock, defaults, limits, scrape, open_inference, recent, repository)
    app = _Application(
        title="effserve",
        version=__version__,
        summary="The most accurate EfficientNet that a request's latency budget can buy.",
        docs_url=None,
        redoc_url=None,
        swagger_ui_oauth2_redirect_url=None,
    )
    edge.add_routes(app)
    app.add_api_route("/docs", _documentation, include_in_schema=False)
    # The files alone: the package's own page names them with the scheme and host that this server sees, which behind a
    # proxy are not the client's.
    app.mount("/swagger", StaticFiles(packages=[("fastapi_swagger", "resources")]))
    app.add_exception_handler(EffserveError, edge.on_failure)
    app.add_exception_handler(RequestValidationError, edge.on_failure)
    app.add_exception_handler(HTTPException, edge.on_failure)
    app.add_exception_handler(Exception, edge.on_defect)
    return HotPath(app, edge.upload_at, tracer=tracer, on_failure=edge.on_failure, on_defect=edge.on_defect)


async def _documentation() -> HTMLResponse:
    """The interface, to be tried out. Addresses are relative: whatever the service is called where it is seen."""
    return get_swagger_ui_html(
        openapi_url="openapi.json",
        title="effserve",
        swagger_js_url="swagger/swagger-ui-bundle.js",
        swagger_css_url="swagger/swagger-ui.css",
        swagger_favicon_url="swagger/favicon-32x32.png",
        swagger_ui_parameters={"tryItOutEnabled": True},
    )


class _Application(FastAPI):
    def openapi(self) -> dict[str, Any]:
        if self.openapi_schema is None:
            self.openapi_schema = completed(super().openapi())
        return self.openapi_schema


class _Edge:
    def __init__(
        self,
        dataplane: Dataplane,
        clock: Callable[[], float],
        defaults: Defaults,
        limits: Limits,
        scrape: Scrape,
        open_inference: OpenInference,
        recent: Recent,
        repository: Repository | None,
    ) -> None:
        self._dataplane = dataplane
        self._clock = clock
        self._defaults = defaults
        self._limits = limits
        self._uploads = Uploads(limits.uploads_bytes)
        self._scrape = scrape
        self._recent = recent
        self._broadcast = Broadcast(self._picture, lambda: dataplane.draining)
        self._repository = repository
        self._v2 = OpenInferenceRoutes(
            open_inference,
            self._uploads,
            clock=clock,
            protocol=PROTOCOL,
            request_bytes=limits.request_bytes,
            upload_timeout_s=limits.upload_timeout_s,
            finish=self._say_goodbye,
        )

    def add_routes(self, app: FastAPI) -> None:
        common: dict[str, Any] = {"response_model": None}
        # Never reached in this form (see `HotPath`): it is what the OpenAPI page is made from, and answers 405.
        kinds = OF_UPLOADS
        upload: dict[str, Any] = {"methods": ["POST"], "openapi_extra": UPLOAD, **common}
        app.add_api_route("/classify", self.classify, responses=answers(AnswerModel, *kinds), **upload)
        app.add_api_route(
            "/classify/anytime",
            self.anytime,
            response_class=EventStream,
            status_code=200,
            responses={200: EVENTS, **failures(*kinds)},
            **upload,
        )
        asked_wrongly = (
            ErrorKind.INVALID_PARAMETER, ErrorKind.ACCURACY_UNAVAILABLE, ErrorKind.UNKNOWN_VARIANT,
            ErrorKind.NOT_RESIDENT, ErrorKind.MEMORY_LIMIT,
        )  # fmt: skip
        app.add_api_route("/plan", self.plan, responses=answers(PlanModel, *asked_wrongly), **common)
        app.add_api_route("/variants", self.variants, responses=answers(VariantsModel), **common)
        app.add_api_route(
            "/variants/{name}", self.variant, responses=answers(VariantModel, ErrorKind.UNKNOWN_VARIANT), **common
        )
        app.add_api_route(
            "/variants/{name}/labels", self.labels, responses=answers(LabelsModel, ErrorKind.UNKNOWN_VARIANT), **common
        )
        app.add_api_route(
            "/events",
            self.events,
            response_class=EventStream,
            status_code=200,
            responses={200: PICTURES, **failures(ErrorKind.QUEUE_FULL, ErrorKind.DRAINING)},
            **common,
        )
        app.add_api_route(
            "/reload", self.reload, methods=["POST"], responses=answers(ChangesModel, *OF_CHANGES), **common
        )
        app.add_api_route("/healthz", self.healthz, responses=answers(HealthModel), **common)
        app.add_api_route("/readyz", self.readyz, responses=answers(HealthModel), **common)
        app.add_api_route(
            "/metrics", self.metrics, response_class=PlainTextResponse, responses={200: METRICS}, **common
        )
        app.add_api_route("/problems/{kind}", self.problem, responses=failures(ErrorKind.NOT_FOUND), **common)
        self._v2.add_to(app)
        Page().add_to(app)

    def upload_at(self, path: str) -> Take | None:
        """What takes images there; parameters are read straight from the request."""
        if path == "/classify":
            return lambda request: self.classify(request, *_parameters(request))
        if path == "/classify/anytime":
            return lambda request: self.anytime(request, *_parameters(request))
        return self._v2.infer_at(path)

    async def classify(
        self, request: Request, asked: Annotated[ClassifyParameters, Query()], budget: BudgetHeader = None
    ) -> Response:
        """Classify one image with the most accurate variant that the budget can still buy.

        The image is the raw body (`image/*`), the multipart field `image`, or base64 in JSON: `{"image": "…"}`.
        """
        return await self._classified(request, _with_header(asked, budget), self._answered)

    async def anytime(
        self, request: Request, asked: Annotated[ClassifyParameters, Query()], budget: BudgetHeader = None
    ) -> Response:
        """Classify one image at once with the cheapest variant, then with better ones while the budget lasts.

        The image comes as for `/classify`; the answers go as server-sent events.
        """
        events = self._events(request, insured(_with_header(asked, budget)))
        response = EventStream(await anext(events), events, {"X-Request-Id": identity(request)})
        self._say_goodbye(response)
        return response

    async def plan(
        self, request: Request, asked: Annotated[PlanParameters, Query()], budget: ShownBudgetHeader = None
    ) -> Response:
        """What a photo of 0.2 megapixels would get if it came now. Runs nothing."""
        refuse_repeated(name for name, _ in request.query_params.multi_items())
        asked = _with_header(asked, _header_budget(request, asked))
        wanted = question(asked, started_s(request, self._clock), self._defaults)
        return self._response(self._planned(wanted).model_dump_json())

    async def variants(self) -> Response:
        """The live accuracy/latency/cost table, cheapest first, with the Pareto set marked."""
        return self._response(self._table().model_dump_json())

    async def variant(self, name: str) -> Response:
        """One line of the table."""
        return self._response(VariantModel.of(self._dataplane.variant(name)).model_dump_json())

    async def labels(self, name: str) -> Response:
        """The classes that a variant tells apart, by index."""
        self._dataplane.variant(name)
        known = {**self._dataplane.absent(), **self._dataplane.served()}
        return self._response(LabelsModel.of(known[name]).model_dump_json())

    async def events(self, request: Request) -> Response:
        """The table and what the service is doing, once a second until the client hangs up or the service drains.

        The last event of a service that drains says so. Who does not read is hung up on.
        """
        pictures = self._pictures(request)
        return EventStream(await anext(pictures), pictures, {"X-Request-Id": identity(request)})

    async def reload(self) -> Response:
        """Serve what the model store holds: the newest version of everything in it, and nothing else.

        Needs `store.changes` to be `explicit` or `poll`. What cannot be served is among the changes, and no failure.
        """
        changes = await allowed(self._repository).reload()
        return self._response(ChangesModel.of(changes).model_dump_json())

    async def healthz(self) -> Response:
        """Whether the process lives. Load does not change it."""
        return self._response(self._health("draining" if self._dataplane.draining else "alive").model_dump_json())

    async def readyz(self) -> Response:
        """Whether traffic should come here: all sessions are warm and the service is not shutting down."""
        status = 200 if self._dataplane.ready else 503
        return self._response(self._health(self._readiness()).model_dump_json(), status=status)

    async def metrics(self, request: Request) -> Response:
        """Prometheus metrics."""
        content, content_type = await self._scrape(request.headers.get("accept", ""))
        return Response(content, media_type=content_type)

    async def problem(self, kind: str) -> Response:
        """What a kind of failure means; the `type` of every problem points here."""
        if kind not in set(ErrorKind):
            known = ", ".join(sorted(ErrorKind))
            raise EffserveError(ErrorKind.NOT_FOUND, f"no kind of problem is called {kind[:64]!r}; there are {known}")
        return JSONResponse(describe(ErrorKind(kind)))

    async def on_failure(self, request: Request, error: Exception) -> Response:
        """Any failure with a name → its problem; told to the observer unless the dataplane did."""
        failure = _named(error)
        named = identity(request)
        if not getattr(request.state, "reported", False):
            self._dataplane.failed(
                protocol=PROTOCOL,
                request_id=named,
                error=failure,
                deadline=getattr(request.state, "deadline", None),
                started_s=started_s(request, self._clock),
                variant=getattr(request.state, "variant", None),
                trace=trace(request),
            )
        response = (v2.failure if v2.is_open_inference(request.url.path) else problem)(failure, named)
        if isinstance(error, HTTPException) and error.headers:
            response.headers.update(error.headers)
        self._say_goodbye(response)
        return response

    async def on_defect(self, request: Request, error: Exception) -> Response:
        """A failure nobody foresaw: the cause goes to the log, not to the client."""
        return await self.on_failure(request, fault(error))

    async def _classified(
        self,
        request: Request,
        asked: ClassifyParameters,
        show: Callable[[Answer], T],
        on_answer: OnAnswer | None = None,
    ) -> T:
        """The last answer as shown; `on_answer` gets those before it. Cancelled when the client goes away."""
        wanted = question(asked, started_s(request, self._clock), self._defaults)
        request.state.deadline = wanted.deadline
        limits = self._limits
        with self._uploads.one() as upload:
            body = await read_image(request, upload, limit_bytes=limits.image_bytes, timeout_s=limits.upload_timeout_s)
            request.state.reported = True
            asking = ClassifyRequest(body, wanted, identity(request), PROTOCOL, asked.top_k, trace(request))
            with leaving(request):
                answer = await self._dataplane.classify(asking, on_answer)
        shown = show(answer)
        self._dataplane.handed_over(asking, answer)
        return shown

    def _answered(self, answer: Answer) -> Response:
        return self._response(answer_json(answer), _headers(answer))

    async def _events(self, request: Request, asked: ClassifyParameters) -> AsyncGenerator[bytes, None]:
        """An event for each answer. A failure after the first is an event too; one before it is raised."""

        async def work(put: Callable[[bytes], None]) -> bytes:
            return await self._classified(request, asked, _event, lambda answer: put(_event(answer)))

        begun = False
        try:
            async with aclosing(as_they_come(work)) as events:
                async for one in events:
                    begun = True
                    yield one
        except Exception as error:
            if not begun:
                raise
            failure = error if isinstance(error, EffserveError) else fault(error)
            yield event("error", bytes((await self.on_failure(request, failure)).body).decode())

    def _health(self, status: str) -> HealthModel:
        return HealthModel.of(self._dataplane.health(), status)

    def _readiness(self) -> str:
        return "ready" if self._dataplane.ready else "draining" if self._dataplane.draining else "starting"

    def _planned(self, wanted: Question) -> PlanModel:
        return PlanModel.of(self._dataplane.plan(wanted), mode=wanted.mode)

    def _table(self) -> VariantsModel:
        return VariantsModel.of(self._dataplane.variants(), self._dataplane.refused())

    def _picture(self) -> bytes:
        health, outcomes = self._dataplane.health(), self._recent.outcomes()
        plan = self._planned(question(PlanParameters(), self._clock(), self._defaults))
        state = LiveModel.of(health, self._readiness(), outcomes, table=self._table(), plan=plan)
        return event("state", state.model_dump_json())

    async def _pictures(self, request: Request) -> AsyncGenerator[bytes, None]:
        watcher = Watcher(lambda: hang_up(request))
        with told_of_leaving(request, watcher.leave):
            async with aclosing(self._broadcast.watch(watcher)) as pictures:
                async for picture in pictures:
                    yield picture

    def _response(self, content: str | bytes, headers: dict[str, str] | None = None, status: int = 200) -> Response:
        response = Response(content, status, headers, "application/json")
        self._say_goodbye(response)
        return response

    def _say_goodbye(self, response: Response) -> None:
        """While shutting down, clients are asked to open their next connection elsewhere."""
        if self._dataplane.draining:
            response.headers["Connection"] = "close"


def _event(answer: Answer) -> bytes:
    return event("final" if answer.final else "answer", answer_json(answer).decode())


def _parameters(request: Request) -> tuple[ClassifyParameters, float | None]:
    query = request.scope["query_string"]
    asked = _known(query) if len(query) <= QUERY_BYTES else _asked(query)
    return asked, _header_budget(request, asked)


def _header_budget(request: Request, asked: PlanParameters) -> float | None:
    """None where the query has one. Read here for all routes: the framework would take the first of several headers."""
    budget = None if asked.budget_ms is not None else field(request, BUDGET_HEADER)
    return None if budget is None else budget_of(budget, BUDGET_HEADER)


def _asked(query: bytes) -> ClassifyParameters:
    given = QueryParams(query)
    asked = checked(ClassifyParameters, given)
    refuse_repeated(name for name, _ in given.multi_items())
    return asked


_known = lru_cache(QUERIES)(_asked)
"""Clients ask for the same again and again."""


def _with_header(asked: P, budget_ms: float | None) -> P:
    if asked.budget_ms is not None or budget_ms is None:
        return asked
    return asked.model_copy(update={"budget_ms": budget_ms})


def _named(error: Exception) -> EffserveError:
    """The named failure behind what FastAPI and Starlette raise."""
    if isinstance(error, EffserveError):
        return error
    if isinstance(error, RequestValidationError):
        return invalid_parameter(error.errors()[0])
    if isinstance(error, HTTPException) and error.status_code == 404:
        return EffserveError(ErrorKind.NOT_FOUND, "no such path; /docs lists those that are")
    if isinstance(error, HTTPException) and error.status_code == 405:
        return EffserveError(ErrorKind.METHOD_NOT_ALLOWED, "the path exists, the method does not apply to it")
    return EffserveError(ErrorKind.MALFORMED_REQUEST, str(getattr(error, "detail", error))[:200])


def _headers(answer: Answer) -> dict[str, str]:
    return {
        "X-Request-Id": answer.request_id,
        "X-Model-Variant": answer.decision.variant.name,
        "Server-Timing": server_timing(timing_ms(answer.timing)),
    }
