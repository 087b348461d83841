"""Answers → output tensors: scores of all classes, or the most probable ones as text."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from service.core.messages import Answer, Label
from service.edges.oip.messages import OutputTensor, WantedOutput
from service.edges.oip.tensors import malformed
from service.pipeline import response

LOGITS, PROBABILITIES = "logits", "probabilities"
OUTPUTS = (LOGITS, PROBABILITIES)
MAX_CLASSES = 1_000

Scores = npt.NDArray[np.float32]


def checked(wanted: Sequence[WantedOutput]) -> tuple[WantedOutput, ...]:
    """What is wanted, all outputs if nothing is named. Raises `EffserveError(MALFORMED_REQUEST)`."""
    for output in wanted:
        if output.name not in OUTPUTS:
            raise malformed(f"output {output.name[:64]!r} is not one of the model's; it has {', '.join(OUTPUTS)}")
        if not 0 <= output.classes <= MAX_CLASSES:
            raise malformed(f"classification of {output.name!r} is {output.classes}; it can be 0 to {MAX_CLASSES}")
    names = [output.name for output in wanted]
    if len(set(names)) < len(names):
        raise malformed("an output is named twice")
    return tuple(wanted) or tuple(WantedOutput(name) for name in OUTPUTS)


def tensors(answers: Sequence[Answer], wanted: Sequence[WantedOutput]) -> list[OutputTensor]:
    """One for each wanted output, a row an image."""
    logits = [np.frombuffer(answer.logits, np.float32) for answer in answers]
    named = [answer.labels for answer in answers]
    return [_tensor(output, logits, named) for output in wanted]


def _tensor(wanted: WantedOutput, logits: Sequence[Scores], labels: Sequence[Sequence[Label]]) -> OutputTensor:
    rows = [one if wanted.name == LOGITS else response.probabilities(one) for one in logits]
    if not wanted.classes:
        scores = np.stack(rows)
        return OutputTensor(wanted.name, "FP32", scores.shape, scores)
    k = min(wanted.classes, min(len(row) for row in rows))
    texts = [
        f"{row[index]:f}:{index}:{words[index].text}".encode()
        for row, raw, words in zip(rows, logits, labels, strict=True)
        for index in response.ranking(raw, k)
    ]
    return OutputTensor(wanted.name, "BYTES", (len(rows), k), texts)
