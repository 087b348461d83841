"""The models of the protocol: each variant under its own name, and one that a request's budget decides."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from service.core.catalogue import not_resident
from service.core.errors import EffserveError, ErrorKind
from service.core.values import Absent, Variant
from service.pipeline.store import StoredVariant

ROUTED = "efficientnet"
"""The model that is whichever variant the budget buys. A variant of this name is reached through its parameter
`variant` alone."""
ROUTED_VERSION = "1"
SHOWN_NAME = 64
"""A longer name is cut where it is repeated to the client."""


@dataclass(frozen=True, slots=True)
class Model:
    """One name that can be asked."""

    name: str
    version: str
    """Digits, as Triton's clients expect: that of the variant in the store."""
    stored: StoredVariant | None
    """None for the routed model."""
    classes: int | None
    """None where it depends on the variant that answers."""
    batch: int
    """Most images in a request."""

    @property
    def size_px(self) -> int | None:
        """Edge of the images that are run as they are; None for the routed model."""
        return None if self.stored is None else self.stored.manifest.preprocessing.input_size_px


class Models:
    """All of them, by name."""

    def __init__(
        self,
        served: Mapping[str, StoredVariant],
        routed: tuple[Variant, ...],
        *,
        batch: int,
        not_resident: Callable[[str], Absent | None] = lambda _: None,
    ) -> None:
        self._not_resident = not_resident
        chosen = _routed(tuple(served[variant.name] for variant in routed), batch)
        named = {name: _named(stored, batch) for name, stored in sorted(served.items())}
        self._models = named | {chosen.name: chosen}

    def __repr__(self) -> str:
        return f"<Models {' '.join(self._models)}>"

    def all(self) -> tuple[Model, ...]:
        """Variants by name, the routed model among them."""
        return tuple(self._models.values())

    def find(self, name: str, version: str = "") -> Model:
        """The model of that name, and version if one is given. Raises `EffserveError(UNKNOWN_VARIANT)`, and what
        `Catalogue.named` does for a variant that is not in memory."""
        model = self._models.get(name)
        if model is None and (absent := self._not_resident(name)) is not None:
            raise not_resident(absent)
        if model is None:
            known = ", ".join(sorted(self._models))
            raise EffserveError(
                ErrorKind.UNKNOWN_VARIANT, f"no model {name[:SHOWN_NAME]!r} is served; there are {known}"
            )
        if version not in ("", model.version):
            detail = f"model {name!r} is served in version {model.version}, not {version[:SHOWN_NAME]!r}"
            raise EffserveError(ErrorKind.UNKNOWN_VARIANT, detail)
        return model


def _named(stored: StoredVariant, batch: int) -> Model:
    manifest = stored.manifest
    return Model(manifest.name, str(manifest.version), stored, manifest.labels.classes, batch)


def _routed(candidates: tuple[StoredVariant, ...], batch: int) -> Model:
    """Images of one request may be answered by different variants. Where those do not agree on the classes, their
    scores do not fit into one tensor: then a request holds one image."""
    label_sets = {(stored.manifest.labels.sha256, stored.manifest.labels.classes) for stored in candidates}
    if len(label_sets) != 1:
        return Model(ROUTED, ROUTED_VERSION, None, None, 1)
    ((_, classes),) = label_sets
    return Model(ROUTED, ROUTED_VERSION, None, classes, batch)
