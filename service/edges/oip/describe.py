"""What is said of the server and its models: plain documents, which HTTP sends as JSON and gRPC as messages."""

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from service import __version__
from service.core.messages import EntryState, StoreEntry
from service.edges.oip.models import ROUTED, ROUTED_VERSION, Model
from service.edges.oip.outputs import OUTPUTS
from service.edges.oip.tensors import CHANNELS, INPUT

EXTENSIONS = (
    "binary_tensor_data",
    "classification",
    "logging",
    "model_configuration",
    "model_repository",
    "model_repository(unload_dependents)",
    "parameters",
    "schedule_policy",
    "statistics",
)
"""Those that are complete; clients go by this list."""
TRACE = "trace"
"""One more, where requests are traced."""
Document = dict[str, Any]

PLATFORM = "onnxruntime_onnx"
ROUTED_PLATFORM = "effserve_routed"
ANY = -1


def server(*, traced: bool) -> Document:
    """Name, version, extensions."""
    extensions = [*EXTENSIONS, TRACE] if traced else [*EXTENSIONS]
    return {"name": "effserve", "version": __version__, "extensions": extensions}


def metadata(model: Model) -> Document:
    """What a model takes and gives. Every model also takes the other datatypes of `image`."""
    datatype, _, dims = _input(model)
    outputs = [{"name": name, "datatype": "FP32", "shape": [ANY, _classes(model)]} for name in OUTPUTS]
    return {
        "name": model.name,
        "versions": [model.version],
        "platform": _platform(model),
        "inputs": [{"name": INPUT, "datatype": datatype, "shape": [ANY, *dims]}],
        "outputs": outputs,
    }


def config(model: Model, lanes: int, not_routed: str = "") -> Document:
    """The same in the terms of Triton's model configuration. `not_routed`: why no budget chooses it."""
    datatype, layout, dims = _input(model)
    kind = {"BYTES": "TYPE_STRING"}.get(datatype, f"TYPE_{datatype}")
    outputs = [
        {"name": name, "data_type": "TYPE_FP32", "dims": [_classes(model)], "label_filename": "labels.tsv"}
        for name in OUTPUTS
    ]
    return {
        "name": model.name,
        "platform": _platform(model),
        "backend": "onnxruntime",
        "version_policy": {"latest": {"num_versions": 1}},
        "max_batch_size": model.batch,
        "input": [{"name": INPUT, "data_type": kind, "format": layout, "dims": dims}],
        "output": outputs,
        "instance_group": [{"name": "lanes", "kind": "KIND_CPU", "count": lanes}],
        "parameters": {name: {"string_value": value} for name, value in _facts(model, not_routed).items()},
        "model_transaction_policy": {"decoupled": False},
        "response_cache": {"enable": False},
    }


def index(entries: Iterable[StoreEntry], *, ready: bool, only_ready: bool) -> Document:
    """The store's content, what is served and what is not and why; and the routed model, where no variant hides it."""
    routed = StoreEntry(ROUTED, ROUTED_VERSION, EntryState.READY if ready else EntryState.UNAVAILABLE)
    shown = [routed, *(entry for entry in entries if entry.name != ROUTED)]
    wanted = (entry for entry in shown if entry.state is EntryState.READY or not only_ready)
    return {"models": [asdict(entry) for entry in sorted(wanted, key=lambda entry: (entry.name, entry.version))]}


def _input(model: Model) -> tuple[str, str, list[int]]:
    """Datatype, format and shape without the batch's axis: pixels for a variant, files for the routed model."""
    if model.size_px is None:
        return "BYTES", "FORMAT_NONE", [1]
    return "UINT8", "FORMAT_NHWC", [model.size_px, model.size_px, CHANNELS]


def _classes(model: Model) -> int:
    return ANY if model.classes is None else model.classes


def _platform(model: Model) -> str:
    return ROUTED_PLATFORM if model.name == ROUTED else PLATFORM


def _facts(model: Model, not_routed: str) -> dict[str, str]:
    """How images are prepared, what is known of the weights, and whether budgets choose them."""
    if model.stored is None:
        return {}
    manifest = model.stored.manifest
    preparation = manifest.preprocessing
    return {
        "input_size_px": str(preparation.input_size_px),
        "crop_pct": str(preparation.crop_pct),
        "crop_mode": preparation.crop_mode,
        "interpolation": preparation.interpolation,
        "labels": manifest.labels.name,
        "weights": manifest.weights.kind,
        "weights_source": manifest.weights.source,
        "top1": "unknown" if manifest.accuracy.top1 is None else str(manifest.accuracy.top1),
        "accuracy_source": manifest.accuracy.source,
        "routed": f"no: {not_routed}" if not_routed else "yes",
    }
