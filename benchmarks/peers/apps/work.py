"""What every peer does with an image: decode, run, the five most probable classes.

Written as somebody would who has this graph and no service around it. A JPEG is decoded at a reduced scale where that
leaves twice the pixels of the resize, as the service does, so that servers differ and the work does not.
"""

import io
import os
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnxruntime
from PIL import Image

CLASSES = 5


@dataclass(frozen=True)
class Given:
    """What the benchmark tells a peer, by environment variables."""

    graph: str
    size_px: int
    resize_px: int
    """Of the shorter edge, before the centre is cut out."""
    port: int
    workers: int
    threads: int
    """Of one run."""

    @classmethod
    def read(cls) -> "Given":
        """Raises `KeyError` outside of the benchmark."""
        named = os.environ
        numbers = (int(named[f"PEER_{name}"]) for name in ("SIZE_PX", "RESIZE_PX", "PORT", "WORKERS", "THREADS"))
        return cls(named["PEER_GRAPH"], *numbers)


class Work:
    """One session. Thread-safe."""

    def __init__(self, given: Given) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = given.threads
        options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(given.graph, options, providers=["CPUExecutionProvider"])
        self._input = self._session.get_inputs()[0].name
        self._size_px, self._resize_px = given.size_px, given.resize_px

    def __call__(self, body: bytes) -> dict[str, Any]:
        """The answer to an encoded image, ready for JSON."""
        return self.of(Image.open(io.BytesIO(body)))

    def of(self, image: Image.Image) -> dict[str, Any]:
        """The same for one that is open, and not decoded yet."""
        logits = self._session.run(None, {self._input: self._pixels(image)[None]})[0][0]
        exponentials = np.exp(logits.astype(np.float64) - logits.max())
        shares = exponentials / exponentials.sum()
        best = np.argsort(-shares, kind="stable")[:CLASSES]
        return {"predictions": [{"index": int(one), "probability": float(shares[one])} for one in best]}

    def _pixels(self, image: Image.Image) -> "np.ndarray[Any, np.dtype[np.uint8]]":
        """[size, size, 3]. The graph normalises them itself."""
        size, target = self._size_px, self._resize_px
        image.draft("RGB", (2 * target, 2 * target))
        image = image.convert("RGB")
        scale = target / min(image.size)
        width, height = round(image.width * scale), round(image.height * scale)
        left, top = (width - size) // 2, (height - size) // 2
        resized = image.resize((width, height), Image.Resampling.BICUBIC)
        return np.asarray(resized.crop((left, top, left + size, top + size)))
