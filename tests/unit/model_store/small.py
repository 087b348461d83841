"""Networks and label files small enough to build in a tenth of a second."""

from pathlib import Path

from model_store.builder import build
from model_store.builder.recipes import Recipe, untrained
from model_store.builder.spec import Spec, custom
from model_store.builder.weights import Shapes

CLASSES = 4
TINY = custom("tiny", width=0.1, depth=0.1, resolution=32)


def labels_file(folder: Path, classes: int = CLASSES, name: str = "few.tsv") -> Path:
    """A label file with made-up classes."""
    path = folder / name
    path.write_text("".join(f"{n}\tn{n:08}\tthing {n}\n" for n in range(classes)))
    return path


def recipe(folder: Path, spec: Spec = TINY, seed: int = 0) -> Recipe:
    """An untrained variant; its label file is put into `folder`."""
    return untrained(spec, seed, labels_file(folder))


def shapes(spec: Spec = TINY) -> Shapes:
    """Its tensors."""
    return build.state_shapes(spec, CLASSES)
