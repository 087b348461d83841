"""The fitted graph against the network as it came: the same pixels must give the same scores, alone and in a batch."""

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import onnxruntime

from model_store.builder.adapt import Ending, Fit, adapt
from model_store.builder.fitting import noise
from model_store.builder.foreign import Array, Foreign, ImportRefused, opened, ran

TOLERANCE, COARSE_TOLERANCE = 1e-4, 1e-2
"""Of the largest score. The second one holds for half precision and quantised weights, where a last bit may tip a
step."""
COARSE = (ir.DataType.FLOAT16, ir.DataType.BFLOAT16, ir.DataType.INT8, ir.DataType.UINT8)

Scores = npt.NDArray[np.float64]


def served_graph(model: Foreign, fit: Fit) -> bytes:
    """The fitted graph as a file, tried. Raises `ImportRefused` with the reason why it will not do."""
    refusals = []
    for freed_from in (None, model.batch):
        content: bytes = ir.to_proto(adapt(model.proto, fit, freed_from=freed_from)).SerializeToString()
        try:
            _try(model, fit, content)
        except ImportRefused as error:
            refusals.append(error)
        else:
            return content
    raise refusals[0]


def _try(model: Foreign, fit: Fit, content: bytes) -> None:
    images, session = noise(fit.front.size), opened(model.name, content)
    expected = np.array([_as_it_came(model, fit, image) for image in images])
    alone = np.concatenate([_served(model.name, fit.back.ending, session, image[None]) for image in images])
    _compare(model, alone, expected, "gives other scores once nodes are put around it")
    try:
        together = _served(model.name, fit.back.ending, session, images)
    except ImportRefused as error:
        raise ImportRefused(f"{model.name} runs with {model.batch} image(s) only: {error}") from error
    _compare(model, together, expected, "gives other scores in a batch than alone")


def _as_it_came(model: Foreign, fit: Fit, image: npt.NDArray[np.uint8]) -> Scores:
    return model.first_row(model.run_one(fit.front.prepare(image[None]), fit.back.output))


def _served(name: str, ending: Ending, session: onnxruntime.InferenceSession, images: Array) -> Scores:
    """Logits [N, classes], or the probabilities that the service makes of them where the network gave such."""
    logits: Scores = ran(name, session, images, [session.get_outputs()[0].name])[0].astype(np.float64)
    if ending == "logits":
        return logits
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities: Scores = exponentials / exponentials.sum(axis=1, keepdims=True)
    return probabilities


def _compare(model: Foreign, found: Scores, expected: Scores, complaint: str) -> None:
    if found.shape != expected.shape:
        raise ImportRefused(f"{model.name} {complaint}: {list(found.shape)}, not {list(expected.shape)}")
    largest = max(np.abs(expected).max(), np.finfo(np.float32).tiny)
    difference = float(np.abs(found - expected).max() / largest)
    if not difference <= _tolerance(model):
        raise ImportRefused(f"{model.name} {complaint}: off by {difference:.1e} of the largest")


def _tolerance(model: Foreign) -> float:
    weights = ir.from_proto(model.proto).graph.initializers.values()
    coarse = any(value.dtype in COARSE for value in weights)
    return COARSE_TOLERANCE if coarse else TOLERANCE
