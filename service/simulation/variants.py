"""The variants of a simulation without a store: EfficientNets of the paper, with the accuracies published for them."""

from collections.abc import Iterable

from model_store.builder import spec
from service.core.catalogue import Catalogue
from service.core.values import AccuracySource, Variant
from service.simulation.errors import SimulationError


def published(names: Iterable[str]) -> Catalogue:
    """Raises `SimulationError` for a name that no paper has."""
    try:
        specs = [spec.resolve(name) for name in names]
    except ValueError as error:
        raise SimulationError(f"no accuracy is known without a store: {error}") from error
    return Catalogue(tuple(Variant(s.name, 1, s.published_top1, AccuracySource.PUBLISHED, trained=True) for s in specs))
