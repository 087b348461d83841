"""What both edges ask: one object with the models, their descriptions, figures and inference."""

from service.core.errors import EffserveError, ErrorKind
from service.dataplane import Dataplane
from service.edges.oip import describe
from service.edges.oip.describe import Document
from service.edges.oip.inference import Inference
from service.edges.oip.models import Model, Models
from service.edges.oip.statistics import Statistics
from service.edges.questions import Defaults


class OpenInference:
    """One per process. Names and versions that do not exist raise `EffserveError(UNKNOWN_VARIANT)`."""

    def __init__(
        self, dataplane: Dataplane, *, statistics: Statistics, defaults: Defaults, batch: int, image_bytes: int
    ) -> None:
        self._dataplane = dataplane
        self._statistics = statistics
        self._models = Models(dataplane.served(), dataplane.routed(), batch=batch)
        self.inference = Inference(dataplane, self._models, defaults=defaults, image_bytes=image_bytes)

    @property
    def ready(self) -> bool:
        """All models are, or none."""
        return self._dataplane.ready

    def model_ready(self, name: str, version: str) -> bool:
        """Whether this one answers."""
        self._models.find(name, version)
        return self.ready

    def names(self) -> list[str]:
        """Of the models."""
        return [model.name for model in self._models.all()]

    def metadata(self, name: str, version: str) -> Document:
        """See `describe.metadata`."""
        return describe.metadata(self._models.find(name, version))

    def config(self, name: str, version: str) -> Document:
        """See `describe.config`."""
        return describe.config(self._models.find(name, version), self._dataplane.health().statistics.lanes)

    def statistics(self, name: str, version: str) -> Document:
        """Figures of one model, or of all when the name is empty."""
        models: tuple[Model, ...] = (self._models.find(name, version),) if name else self._models.all()
        return self._statistics.document(models)

    def index(self, *, only_ready: bool) -> Document:
        """What the store holds."""
        refused = self._dataplane.refused()
        return describe.index(self._models.all(), refused, ready=self.ready, only_ready=only_ready)

    def change(self, verb: str) -> EffserveError:
        """Why models are not loaded or unloaded."""
        detail = f"models are not {verb} while the service runs: what the store holds is loaded at its start"
        return EffserveError(ErrorKind.UNSUPPORTED, detail)
