"""OpenVINO's execution provider in a real session, by `make openvino`; elsewhere it is not installed, and skipped."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from service.core.events import Observer, VariantLoaded
from service.core.layout import Layout
from service.pipeline.session import (
    ExecutionProvider,
    Session,
    SessionError,
    SessionOptions,
    installed_providers,
    runtime_fingerprint,
)
from service.preparing import background_lanes, prepare
from service.settings import load as load_settings
from tests.fixtures import CLASSES, tiny_graph, tiny_store

pytestmark = pytest.mark.skipif(
    ExecutionProvider.OPENVINO not in installed_providers(), reason="onnxruntime-openvino is not installed here"
)

SIZE_PX = 64
OPTIONS = SessionOptions(ExecutionProvider.OPENVINO)
IMAGES = np.random.default_rng(0).integers(0, 256, (3, SIZE_PX, SIZE_PX, 3), dtype=np.uint8)


@pytest.fixture(name="graph")
def _graph(tmp_path: Path) -> Path:
    path = tmp_path / "model.onnx"
    path.write_bytes(tiny_graph(SIZE_PX).content)
    return path


def opened(graph: Path, options: SessionOptions = OPTIONS) -> Session:
    """With some options."""
    return Session(graph, input_size_px=SIZE_PX, classes=CLASSES, options=options)


def test_it_gives_what_the_cpu_provider_gives(graph: Path) -> None:
    """Up to rounding in float32."""
    own, cpu = opened(graph).run(IMAGES[:1]), opened(graph, SessionOptions()).run(IMAGES[:1])
    assert own == pytest.approx(cpu, rel=1e-2, abs=1e-3)


def test_it_takes_the_whole_graph(graph: Path) -> None:
    """Nothing is left to the CPU provider."""
    assert opened(graph).left_to_cpu == {}


def test_a_device_that_is_not_there_is_refused(graph: Path) -> None:
    """ONNX Runtime itself would go on with the CPU."""
    with pytest.raises(SessionError, match=r"does not start on device NPU\.7; .* went on with CPUExecutionProvider"):
        opened(graph, dataclasses.replace(OPTIONS, device="NPU.7"))


def test_what_it_measures_is_kept_apart(graph: Path) -> None:
    """The CPU provider's calibration says nothing of it."""
    assert runtime_fingerprint(OPTIONS, 2) != runtime_fingerprint(SessionOptions(), 2)


class Loads(Observer):
    """What was loaded."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def observe(self, event: object) -> None:
        """See `Observer.observe`."""
        if isinstance(event, VariantLoaded):
            self.names.append(event.name)


def test_a_service_starts_on_it(tmp_path: Path) -> None:
    """Variants are loaded, run and measured; there are no background lanes, for its runs leave the lane's thread."""
    store = tiny_store(tmp_path / "store")
    chosen = load_settings(
        None,
        {"store": {"dir": store}, "lanes": {"provider": "openvino"}, "calibration": {"dir": tmp_path / "kept"}},
    )
    seen = Loads()
    prepared = prepare(chosen, seen)
    assert sorted(seen.names) == ["b0", "b1"]
    assert background_lanes(chosen, Layout(2, 1)) == 0
    assert set(prepared.calibration.inference_s) == {"b0", "b1"}
