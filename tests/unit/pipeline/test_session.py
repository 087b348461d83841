"""Sessions on real graphs: shapes, batches, runs that are ended early, and what is refused at the start."""

import itertools
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from service.core.errors import EffserveError, ErrorKind
from service.pipeline.priority import LOWEST
from service.pipeline.session import (
    ExecutionProvider,
    Session,
    SessionError,
    SessionOptions,
    check_provider,
    check_used,
    installed_providers,
    provider_options,
    runtime_fingerprint,
)
from service.pipeline.stop import Stop, Terminated
from tests.fixtures import CLASSES, tiny_graph

SIZE_PX = 32
IMAGES = np.random.default_rng(0).integers(0, 256, (3, SIZE_PX, SIZE_PX, 3), dtype=np.uint8)


@pytest.fixture(name="graph")
def _graph(tmp_path: Path) -> Path:
    path = tmp_path / "model.onnx"
    path.write_bytes(tiny_graph(SIZE_PX).content)
    return path


def open_session(path: Path, *, size: int = SIZE_PX, classes: int = CLASSES, threads: int = 1) -> Session:
    """A session on the CPU."""
    return Session(path, input_size_px=size, classes=classes, options=SessionOptions(threads=threads))


def test_an_image_gives_one_finite_row_of_logits(graph: Path) -> None:
    """[1, classes], float32."""
    logits = open_session(graph).run(IMAGES[:1])
    assert (logits.shape, logits.dtype.name) == ((1, CLASSES), "float32")
    assert np.isfinite(logits).all()


def test_a_batch_gives_the_same_logits_as_its_images_alone(graph: Path) -> None:
    """Up to the order of additions."""
    session = open_session(graph)
    alone = np.concatenate([session.run(image[None]) for image in IMAGES])
    assert session.run(IMAGES) == pytest.approx(alone, rel=1e-3, abs=1e-4)


def test_memory_that_runs_have_used_is_given_back(tmp_path: Path) -> None:
    """All sessions share it, so one that needs little can give back what another one needed."""
    # Of more than 32 MB glibc always returns to the system what is freed; of less it may keep it for the process.
    size = 2048
    large, small = tmp_path / "large.onnx", tmp_path / "small.onnx"
    large.write_bytes(tiny_graph(size).content)
    small.write_bytes(tiny_graph(SIZE_PX).content)
    needs_much, needs_little = open_session(large, size=size), open_session(small)
    needs_much.warm_up()
    before_kb = resident_kb()
    needs_little.give_back()
    assert before_kb - resident_kb() > 4 * size * size / 1024
    needs_much.warm_up()


def resident_kb() -> int:
    """Of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))


def test_different_images_give_different_logits(graph: Path) -> None:
    """The graph looks at its input."""
    logits = open_session(graph).run(IMAGES)
    assert np.abs(logits[0] - logits[1]).max() > 1e-3


def test_the_number_of_threads_does_not_change_the_answer(graph: Path) -> None:
    """Up to the order of additions."""
    one, two = (open_session(graph, threads=threads).run(IMAGES) for threads in (1, 2))
    assert two == pytest.approx(one, rel=1e-3, abs=1e-4)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nice values belong to processes")
def test_the_threads_of_a_session_give_way_as_lanes_do(graph: Path) -> None:
    """They are started when it is opened; the process keeps its priority."""
    before = _threads()
    options = SessionOptions(threads=3, nice=4)
    session = Session(graph, input_size_px=SIZE_PX, classes=CLASSES, options=options)
    started = [os.getpriority(os.PRIO_PROCESS, thread) for thread in _threads() - before]
    process = os.getpriority(os.PRIO_PROCESS, os.getpid())
    assert len(started) >= 2
    assert set(started) == {min(process + 4, LOWEST)}
    assert session.run(IMAGES[:1]).shape == (1, CLASSES)


def _threads() -> set[int]:
    return {int(path.name) for path in Path("/proc/self/task").iterdir()}


def test_a_graph_of_another_input_size_is_refused(graph: Path) -> None:
    """The sentence has the graph's size and the one that was expected."""
    with pytest.raises(SessionError, match=r"32, 32, 3.*not uint8 \[N, 48, 48, 3\]"):
        open_session(graph, size=48)


def test_a_graph_with_another_number_of_classes_is_refused(graph: Path) -> None:
    """Labels would be wrong or missing."""
    with pytest.raises(SessionError, match=r"10\].*not float \[N, 1000\]"):
        open_session(graph, classes=1000)


@pytest.mark.parametrize("keep", [0, 1000, -1000])
def test_a_graph_that_is_cut_short_is_refused(graph: Path, keep: int) -> None:
    """Empty, a stub, and almost whole."""
    graph.write_bytes(graph.read_bytes()[:keep])
    with pytest.raises(SessionError, match="ONNX Runtime refuses the graph"):
        open_session(graph)


def test_a_file_that_is_no_graph_is_refused(graph: Path) -> None:
    """And the runtime's reason is on one line."""
    graph.write_text("not a graph\n" * 50)
    with pytest.raises(SessionError) as caught:
        open_session(graph)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    """With the same error as a damaged one."""
    with pytest.raises(SessionError, match="refuses"):
        open_session(tmp_path / "model.onnx")


MISSING = [provider for provider in ExecutionProvider if provider not in installed_providers()]


@pytest.mark.skipif(not MISSING, reason="this build of ONNX Runtime has every provider")
@pytest.mark.parametrize("provider", MISSING)
def test_a_provider_that_is_not_installed_is_named_with_those_that_are(
    graph: Path, provider: ExecutionProvider
) -> None:
    """And with what brings it."""
    expected = rf"execution provider {provider} is not in this .*; it has cpu.* What brings it: .*(pip install|build)"
    with pytest.raises(SessionError, match=expected):
        Session(graph, input_size_px=SIZE_PX, classes=CLASSES, options=SessionOptions(provider))


def test_a_session_that_went_on_without_its_provider_is_refused() -> None:
    """ONNX Runtime leaves out a provider whose libraries do not load, and says so on standard error only."""
    with pytest.raises(
        SessionError, match=r"cuda is installed and does not start; .* went on with CPUExecutionProvider"
    ):
        check_used(SessionOptions(ExecutionProvider.CUDA), ["CPUExecutionProvider"])
    check_used(SessionOptions(ExecutionProvider.CUDA), ["CUDAExecutionProvider", "CPUExecutionProvider"])


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (SessionOptions(), {}),
        (SessionOptions(ExecutionProvider.CUDA), {"device_id": "0"}),
        (SessionOptions(ExecutionProvider.CUDA, device="1"), {"device_id": "1"}),
        (SessionOptions(ExecutionProvider.TENSORRT), {"device_id": "0"}),
        (
            SessionOptions(ExecutionProvider.TENSORRT, cache=Path("kept")),
            {"device_id": "0", "trt_engine_cache_enable": "1", "trt_engine_cache_path": "kept"},
        ),
        (
            SessionOptions(ExecutionProvider.OPENVINO, threads=3),
            {"device_type": "CPU", "num_of_threads": "3", "num_streams": "1", "precision": "ACCURACY"},
        ),
        (SessionOptions(ExecutionProvider.XNNPACK, threads=2), {"intra_op_num_threads": "2"}),
    ],
)
def test_providers_are_told_device_threads_and_cache(options: SessionOptions, told: dict[str, str]) -> None:
    """Each in its own words."""
    assert provider_options(options) == told


def test_openvino_is_told_where_to_keep_what_it_compiled() -> None:
    """And which device."""
    told = provider_options(SessionOptions(ExecutionProvider.OPENVINO, device="GPU", cache=Path("kept")))
    assert (told["device_type"], told["cache_dir"]) == ("GPU", "kept")


@pytest.mark.parametrize(
    ("provider", "device", "why"),
    [
        (ExecutionProvider.CPU, "0", "cpu, which has no devices"),
        (ExecutionProvider.CUDA, "GPU", "devices of cuda are numbers"),
        (ExecutionProvider.TENSORRT, "-1", "devices of tensorrt are numbers"),
    ],
)
def test_a_device_that_a_provider_cannot_have_is_refused(provider: ExecutionProvider, device: str, why: str) -> None:
    """By the name of the setting."""
    with pytest.raises(SessionError, match=f"lanes.device is '{device}'.*{why}"):
        provider_options(SessionOptions(provider, device=device))


def test_the_cpu_leaves_nothing_to_itself(graph: Path) -> None:
    """It has a kernel for everything there is."""
    assert open_session(graph).left_to_cpu == {}


def test_another_device_has_measurements_of_its_own() -> None:
    """One GPU may be slower than the other."""
    one, other = (runtime_fingerprint(SessionOptions(ExecutionProvider.CUDA, device=name), 2) for name in "01")
    assert one != other


def test_the_cpu_provider_is_always_there() -> None:
    """In every build of the runtime."""
    check_provider(ExecutionProvider.CPU)


def test_a_run_that_fails_is_an_internal_error_with_its_cause(graph: Path) -> None:
    """An input of the wrong shape stands for whatever may go wrong in the runtime."""
    with pytest.raises(EffserveError) as caught:
        open_session(graph).run(np.zeros((1, 16, 16, 3), np.uint8))
    assert caught.value.kind is ErrorKind.INTERNAL
    assert caught.value.__cause__ is not None


def test_a_failed_run_does_not_spoil_the_next_one(graph: Path) -> None:
    """The session is shared by all lanes."""
    session = open_session(graph)
    before = session.run(IMAGES[:1])
    with pytest.raises(EffserveError):
        session.run(np.zeros((1, 16, 16, 3), np.uint8))
    assert np.array_equal(session.run(IMAGES[:1]), before)


def test_the_fingerprint_changes_with_the_layout_of_lanes() -> None:
    """A latency measured with one layout says nothing about another."""
    prints = {
        runtime_fingerprint(SessionOptions(threads=threads), lanes) for threads, lanes in [(1, 1), (2, 1), (1, 2)]
    }
    assert len(prints) == 3


def test_the_fingerprint_is_the_same_for_the_same_layout() -> None:
    """So that a second start finds the first one's measurements."""
    assert runtime_fingerprint(SessionOptions(), 2) == runtime_fingerprint(SessionOptions(), 2)


# Runs that are ended early. A batch of large images takes tens of milliseconds, in steps of one or two.

LARGE_PX = 128
LARGE = np.random.default_rng(1).integers(0, 256, (32, LARGE_PX, LARGE_PX, 3), dtype=np.uint8)
TRIES = 50
"""A thread that gets no processor for as long as a run takes comes too late; not fifty times in a row."""


@pytest.fixture(name="large")
def _large(tmp_path: Path) -> Session:
    path = tmp_path / "large.onnx"
    path.write_bytes(tiny_graph(LARGE_PX).content)
    return open_session(path, size=LARGE_PX)


class Heard(Stop):
    """Tells when a run listens."""

    def __init__(self) -> None:
        super().__init__()
        self.listens = threading.Event()

    def heard_by(self, tell: Callable[[], None]) -> None:
        """See `Stop.heard_by`."""
        super().heard_by(tell)
        self.listens.set()


def interrupted(session: Session) -> bool:
    """Run and have another thread end the run as soon as it listens; whether it ended early."""
    stop = Heard()

    def end() -> None:
        stop.listens.wait(60)
        stop.ask()

    ending = threading.Thread(target=end)
    ending.start()
    try:
        session.run(LARGE, stop)
    except Terminated:
        return True
    finally:
        ending.join()
    return False


def test_a_run_is_ended_by_another_thread(large: Session) -> None:
    """It raises `Terminated` and nothing else."""
    assert any(interrupted(large) for _ in range(TRIES))


def test_a_run_that_shall_end_before_it_begins_is_ended(large: Session) -> None:
    """The request came while the image was being decoded."""
    stop = Stop()
    stop.ask()
    with pytest.raises(Terminated):
        large.run(LARGE, stop)


def test_a_run_that_was_ended_early_leaves_the_next_one_as_it_was(large: Session) -> None:
    """Bit for bit: buffers that are used again hold nothing of the run before."""
    before = large.run(LARGE)
    ended = itertools.islice(filter(None, (interrupted(large) for _ in range(TRIES))), 3)
    assert len(list(ended)) == 3
    assert np.array_equal(large.run(LARGE), before)
    assert np.array_equal(large.run(LARGE, Stop()), before)


def test_runs_that_are_ended_early_leave_those_beside_them_as_they_were(large: Session) -> None:
    """Bit for bit, while two threads run the same session and a third one's runs are ended again and again."""
    before, beside, over = large.run(LARGE), list[bool](), threading.Event()

    def compare() -> None:
        while not over.is_set():
            beside.append(np.array_equal(large.run(LARGE, Stop()), before))

    threads = [threading.Thread(target=compare, daemon=True) for _ in range(2)]
    for thread in threads:
        thread.start()
    ended = sum(interrupted(large) for _ in range(TRIES))
    over.set()
    for thread in threads:
        thread.join()
    assert ended
    assert beside
    assert all(beside)


def test_asking_a_run_that_has_ended_changes_nothing(large: Session) -> None:
    """Neither its answer nor the next run."""
    stop = Stop()
    first = large.run(LARGE, stop)
    stop.ask()
    assert np.array_equal(large.run(LARGE, Stop()), first)


def test_a_run_that_fails_is_not_taken_for_one_that_was_ended(large: Session) -> None:
    """Though it was asked to end as well."""
    stop = Stop()
    stop.ask()
    with pytest.raises(EffserveError) as caught:
        large.run(np.zeros((1, 16, 16, 3), np.uint8), stop)
    assert caught.value.kind is ErrorKind.INTERNAL


@pytest.mark.parametrize("module", ["service.pipeline.session", "model_store.builder.trial"])
def test_the_runtime_reports_to_nobody(graph: Path, tmp_path: Path, module: str) -> None:
    """It would begin with an identifier and a queue of reports in the cache folder, but for a build that is tested."""
    opening = f"import {module}, onnxruntime; onnxruntime.InferenceSession({str(graph)!r})"
    kept = {name: value for name, value in os.environ.items() if name not in ("CI", "ORT_DISABLE_TELEMETRY")}
    subprocess.run([sys.executable, "-c", opening], env={**kept, "XDG_CACHE_HOME": str(tmp_path / "cache")}, check=True)
    assert not (tmp_path / "cache").exists()
