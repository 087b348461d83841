"""What both edges ask: one object with the models, their descriptions, figures and inference."""

from collections.abc import Mapping

from service.dataplane import Dataplane
from service.edges.oip import describe
from service.edges.oip.changes import Changes
from service.edges.oip.controls import Controls
from service.edges.oip.describe import Document
from service.edges.oip.inference import Inference
from service.edges.oip.models import Model, Models
from service.edges.oip.statistics import Statistics
from service.edges.questions import Defaults
from service.pipeline.store import StoredVariant
from service.repository import Repository, allowed

Served = Mapping[str, StoredVariant]


class OpenInference:
    """One per process. Names and versions that do not exist raise `EffserveError(UNKNOWN_VARIANT)`."""

    def __init__(
        self,
        dataplane: Dataplane,
        *,
        statistics: Statistics,
        defaults: Defaults,
        batch: int,
        image_bytes: int,
        controls: Controls,
        repository: Repository | None = None,
    ) -> None:
        """Without a `repository`, what is served stays."""
        self._dataplane = dataplane
        self._controls = controls
        self._statistics = statistics
        self._batch = batch
        self._repository = repository
        self._known = self._models_of(dataplane.served())
        self.inference = Inference(dataplane, lambda: self._models, defaults=defaults, image_bytes=image_bytes)

    @property
    def _models(self) -> Models:
        """Of what is served now."""
        served = self._dataplane.served()
        if self._known[0] is not served:
            self._known = self._models_of(served)
        return self._known[1]

    def _models_of(self, served: Served) -> tuple[Served, Models]:
        absent = self._dataplane.not_resident
        return served, Models(served, self._dataplane.routed(), batch=self._batch, not_resident=absent)

    @property
    def ready(self) -> bool:
        """All models are, or none."""
        return self._dataplane.ready

    def model_ready(self, name: str, version: str) -> bool:
        """Whether this one answers."""
        self._models.find(name, version)
        return self.ready

    def server(self) -> Document:
        """See `describe.server`."""
        return describe.server(traced=self._controls.trace.traced)

    def names(self) -> list[str]:
        """Of the models."""
        return [model.name for model in self._models.all()]

    def metadata(self, name: str, version: str) -> Document:
        """See `describe.metadata`."""
        return describe.metadata(self._models.find(name, version))

    def config(self, name: str, version: str) -> Document:
        """See `describe.config`."""
        model = self._models.find(name, version)
        not_routed = "" if model.stored is None else self._dataplane.not_routed(model.stored.variant())
        return describe.config(model, self._dataplane.health().statistics.lanes, not_routed)

    def statistics(self, name: str, version: str) -> Document:
        """Figures of one model, or of all when the name is empty."""
        models: tuple[Model, ...] = (self._models.find(name, version),) if name else self._models.all()
        return self._statistics.document(models)

    async def index(self, *, only_ready: bool) -> Document:
        """What the store holds."""
        known = tuple(self._dataplane.known()) if self._repository is None else await self._repository.index()
        return describe.index(known, ready=self.ready, only_ready=only_ready)

    def changes(self) -> Changes:
        """What loads and unloads. Raises `EffserveError(CHANGES_FORBIDDEN)`, so it is asked for before more is read."""
        return Changes(allowed(self._repository))

    def log_settings(self, given: Mapping[str, object]) -> Document:
        """As they are once these are changed; see `LogSettings.change`."""
        return {**self._controls.log.change(given)}

    def trace_settings(self, given: Mapping[str, object], name: str = "", version: str = "") -> Document:
        """Of a model, or of all when the name is empty, as they are once these are changed; see
        `TraceSettings.change`."""
        if name:
            self._models.find(name, version)
        return {**self._controls.trace.change(given, of_model=bool(name))}
