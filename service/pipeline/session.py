"""One ONNX Runtime session per variant. The only module that knows ONNX Runtime.

A session is opened with explicit thread counts: all variants share one budget of cores (lanes × threads ≤ cores), so
none may size its own pool by the host. Graph optimisation is ALL, because EXTENDED, one level below, is half as fast
for want of the NCHWc layout; of a graph that was optimised before nothing is left to do (`graphs.py`). Images are run
one by one: on a CPU a batch takes as long as its images do, and only one at a time can a gate be part of a convolution
(`gates.py`).
"""

import functools
import hashlib
import platform
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime

from service.core.errors import EffserveError, ErrorKind
from service.pipeline.priority import give_way
from service.pipeline.stop import Stop, Terminated

LAID_OUT_PX = 400
"""For images of at most this edge, the runtime plans beforehand where everything goes that a run computes on the way.
That is two or three per cent quicker and takes more than twice the memory: hundreds of megabytes for larger images."""
TERMINATED_TEXT = "terminate flag"
"""Of the error that a terminated run ends in: "Exiting due to terminate flag being set to true."."""


class ExecutionProvider(StrEnum):
    """Where graphs run. The value is what an operator writes."""

    CPU = "cpu"
    CUDA = "cuda"
    TENSORRT = "tensorrt"
    OPENVINO = "openvino"
    XNNPACK = "xnnpack"


_RUNTIME_NAMES = {
    ExecutionProvider.CPU: "CPUExecutionProvider",
    ExecutionProvider.CUDA: "CUDAExecutionProvider",
    ExecutionProvider.TENSORRT: "TensorrtExecutionProvider",
    ExecutionProvider.OPENVINO: "OpenVINOExecutionProvider",
    ExecutionProvider.XNNPACK: "XnnpackExecutionProvider",
}


_BROUGHT_BY = {
    ExecutionProvider.CPU: "`pip install onnxruntime`",
    ExecutionProvider.CUDA: "`pip install onnxruntime-gpu` in place of onnxruntime, with CUDA and cuDNN",
    ExecutionProvider.TENSORRT: "`pip install onnxruntime-gpu` in place of onnxruntime, with CUDA and TensorRT",
    ExecutionProvider.OPENVINO: "`pip install onnxruntime-openvino` in place of onnxruntime",
    ExecutionProvider.XNNPACK: "a build of ONNX Runtime with `--use_xnnpack`; no package has one",
}
"""What to install, as a sentence's subject."""


class SessionError(Exception):
    """A session cannot be opened: the provider is not installed, or the graph is not one this service can run."""


@dataclass(frozen=True, slots=True)
class SessionOptions:
    """How sessions are opened."""

    provider: ExecutionProvider = ExecutionProvider.CPU
    threads: int = 1
    """Intra-op threads of one run. With 1, a run stays on the lane that called it."""
    nice: int = 0
    """How much the runtime's own threads, which there are with more than one, give way: as much as lanes do."""
    graphs: Path | None = None
    """Where graphs are kept as they were optimised for this machine (`graphs.py`); None: nowhere."""
    device: str | None = None
    """Which of the provider's devices: a number for CUDA and TensorRT, OpenVINO's name of it. None: its first."""
    cache: Path | None = None
    """Folder in which a provider that compiles graphs keeps what it made of them. None: it compiles at each start."""

    @property
    def on_caller(self) -> bool:
        """Whether a run is all on the thread that called it, whose processor time and priority are then the run's."""
        return self.provider is ExecutionProvider.CPU and self.threads == 1


def installed_providers() -> list[ExecutionProvider]:
    """Those that this build of ONNX Runtime has. Whether their libraries load, opening a session shows."""
    available = onnxruntime.get_available_providers()
    return [provider for provider, name in _RUNTIME_NAMES.items() if name in available]


def check_provider(provider: ExecutionProvider) -> None:
    """Raise `SessionError` naming what is installed, and what brings `provider`, when that is not."""
    installed = installed_providers()
    if provider not in installed:
        raise SessionError(
            f"execution provider {provider!s} is not in this ONNX Runtime build; it has {', '.join(installed)}. "
            f"What brings it: {_BROUGHT_BY[provider]}"
        )


def provider_options(options: SessionOptions) -> dict[str, str]:
    """What the provider itself is told. Raises `SessionError` for a device that it cannot have."""
    provider, device = options.provider, options.device
    if provider is ExecutionProvider.CPU:
        if device is not None:
            raise SessionError(f"lanes.device is {device!r}, and lanes.provider is cpu, which has no devices")
        return {}
    if provider is ExecutionProvider.XNNPACK:
        return {"intra_op_num_threads": str(options.threads)}
    if provider is ExecutionProvider.OPENVINO:
        # One stream: a lane waits for its one run. Accuracy: on processors with AMX it would compute in bfloat16.
        told = {"device_type": device or "CPU", "num_of_threads": str(options.threads), "num_streams": "1"}
        return told | {"precision": "ACCURACY"} | _cache(options, "cache_dir")
    if device is not None and not device.isdecimal():
        raise SessionError(f"lanes.device is {device!r}; devices of {provider} are numbers")
    numbered = {"device_id": device or "0"}
    if provider is ExecutionProvider.TENSORRT and options.cache is not None:
        return numbered | {"trt_engine_cache_enable": "1"} | _cache(options, "trt_engine_cache_path")
    return numbered


def _cache(options: SessionOptions, name: str) -> dict[str, str]:
    return {} if options.cache is None else {name: str(options.cache)}


def machine_fingerprint() -> str:
    """What an optimised graph depends on besides the graph: CPU and runtime version."""
    return f"{_cpu_model()} | onnxruntime {onnxruntime.__version__}"


def runtime_fingerprint(options: SessionOptions, lanes: int) -> str:
    """What a measured latency depends on besides the graph: machine, provider, threads, lanes, and whether it is run in
    the form that is kept, which is quicker."""
    graphs = "" if options.graphs is None else " | kept graphs"
    return f"{machine_fingerprint()} | {_where(options)} | {lanes} lanes x {options.threads} threads{graphs}"


@dataclass(frozen=True, slots=True)
class Optimised:
    """What becomes of a graph's optimised form."""

    into: Path | None = None
    """Where it is written, its weights beside it as they are laid out for this CPU; None: the graph *is* one."""
    weights: str = "weights.bin"
    """The name of that file."""


def _where(options: SessionOptions) -> str:
    return options.provider if options.device is None else f"{options.provider} {options.device}"


class Session:
    """A graph ready to run. Thread-safe: lanes share it.

    Raises `SessionError` when the graph does not load, or is not uint8 [N, size, size, 3] → float [N, classes].
    """

    def __init__(
        self,
        path: Path,
        *,
        input_size_px: int,
        classes: int,
        options: SessionOptions,
        optimised: Optimised | None = None,
    ) -> None:
        check_provider(options.provider)
        self._session = _open(path, options, optimised, input_size_px)
        self.left_to_cpu = _left_to_cpu(self._session, options.provider)
        """Operators that the provider has no kernel for, each with the number of its nodes: they run on the CPU."""
        self._input, self._output = _signature(self._session, input_size_px, classes)
        self._size_px = input_size_px

    def warm_up(self) -> None:
        """Run once, on a black image: the first run allocates what later ones reuse.

        Raises `SessionError` when the graph loads but does not run.
        """
        try:
            self.run(np.zeros((1, self._size_px, self._size_px, 3), np.uint8))
        except EffserveError as error:
            raise SessionError(f"the graph does not run: {' '.join(str(error.__cause__).split())[:200]}") from error

    def give_back(self) -> None:
        """Run once, on a black image, and return to the system what the shared memory of runs has too much.

        Raises `EffserveError(INTERNAL)` when the run fails.
        """
        options = onnxruntime.RunOptions()
        options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
        self._run_one(np.zeros((1, self._size_px, self._size_px, 3), np.uint8), None, options)

    def run(self, pixels: npt.NDArray[np.uint8], stop: Stop | None = None) -> npt.NDArray[np.float32]:
        """Logits [N, classes] of images [N, size, size, 3], one after the other. Releases the GIL.

        Raises `Terminated` when `stop` was asked and the runtime heeded it, `EffserveError(INTERNAL)` when the runtime
        fails, with its error as the cause.
        """
        options = _run_options(stop)
        rows = [self._run_one(pixels[n : n + 1], stop, options) for n in range(len(pixels))]
        return rows[0] if len(rows) == 1 else np.concatenate(rows)

    def _run_one(
        self, pixels: npt.NDArray[np.uint8], stop: Stop | None, options: onnxruntime.RunOptions | None
    ) -> npt.NDArray[np.float32]:
        try:
            (logits,) = self._session.run([self._output], {self._input: pixels}, options)
        except Exception as error:
            # ONNX Runtime raises its own unrelated classes and RuntimeError; all of them mean that the run failed.
            # There is no code for a termination (onnxruntime issue 20999), only this text.
            if stop is not None and stop.asked and TERMINATED_TEXT in str(error):
                raise Terminated from None
            raise EffserveError(ErrorKind.INTERNAL, "inference failed") from error
        result: npt.NDArray[np.float32] = logits
        return result


def _run_options(stop: Stop | None) -> onnxruntime.RunOptions | None:
    """Fresh for each run: the flag stays set (onnxruntime's `RunOptions.terminate`)."""
    if stop is None:
        return None
    options = onnxruntime.RunOptions()
    # What the session says of itself, an error for each termination, would be written by each of them.
    options.log_severity_level = 4
    stop.heard_by(lambda: setattr(options, "terminate", True))
    return options


def _open(
    path: Path, options: SessionOptions, optimised: Optimised | None, input_size_px: int
) -> onnxruntime.InferenceSession:
    chosen = onnxruntime.SessionOptions()
    chosen.enable_mem_pattern = input_size_px <= LAID_OUT_PX
    chosen.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    if optimised is not None and optimised.into is None:
        chosen.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    elif optimised is not None:
        _write(chosen, optimised)
    chosen.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    chosen.intra_op_num_threads = options.threads
    chosen.inter_op_num_threads = 1
    # Idle pool threads must not spin: with many sessions they would take the cores from the lanes.
    chosen.add_session_config_entry("session.intra_op.allow_spinning", "0")
    _share_memory()
    chosen.add_session_config_entry("session.use_env_allocators", "1")
    # Weights are not part of that: they are freed with their session.
    chosen.add_session_config_entry("session.use_device_allocator_for_initializers", "1")
    chosen.log_severity_level = 3
    wanted = _RUNTIME_NAMES[options.provider]
    providers: list[tuple[str, dict[str, str]]] = [(wanted, provider_options(options))]
    if options.provider is not ExecutionProvider.CPU:
        chosen.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
        providers.append((_RUNTIME_NAMES[ExecutionProvider.CPU], {}))
    # Without fallback: a run that fails is to fail, not to be tried on another provider.
    open_one = functools.partial(onnxruntime.InferenceSession, path, chosen, providers=providers, enable_fallback=0)
    try:
        # Threads inherit the niceness of the thread that starts them.
        with ThreadPoolExecutor(1, initializer=give_way, initargs=(options.nice,)) as opener:
            session = opener.submit(open_one).result()
    except Exception as error:
        # Same reason as in `run`: there is no common base class for what the runtime raises.
        raise SessionError(f"ONNX Runtime refuses the graph: {' '.join(str(error).split())[:200]}") from error
    check_used(options, session.get_providers())
    return session


def check_used(options: SessionOptions, used: Sequence[str]) -> None:
    """Raise `SessionError` when a session was opened without its provider: the runtime goes on without one whose
    libraries do not load, or whose device is not there, and says so on standard error only."""
    provider = options.provider
    if _RUNTIME_NAMES[provider] not in used:
        device = "" if options.device is None else f" on device {options.device}"
        raise SessionError(
            f"execution provider {provider} is installed and does not start{device}; ONNX Runtime went on with "
            f"{', '.join(used)}. What it needs: {_BROUGHT_BY[provider]}"
        )


def _left_to_cpu(session: onnxruntime.InferenceSession, provider: ExecutionProvider) -> dict[str, int]:
    if provider is ExecutionProvider.CPU:
        return {}
    parts = session.get_provider_graph_assignment_info()
    return dict(
        Counter(
            node.op_type
            for part in parts
            if part.ep_name == _RUNTIME_NAMES[ExecutionProvider.CPU]
            for node in part.get_nodes()
        )
    )


@functools.cache
def _share_memory() -> None:
    """One pool for what runs compute on the way, instead of one for each session: there are never more runs than lanes,
    so it grows to what they take at a time, not to what every variant took at some time."""
    info = onnxruntime.OrtMemoryInfo(
        "Cpu", onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, onnxruntime.OrtMemType.DEFAULT
    )
    onnxruntime.create_and_register_allocator(info, None)


def _write(chosen: onnxruntime.SessionOptions, optimised: Optimised) -> None:
    """Weights in a file of their own are mapped when it is read, so that processes share them; so are those that the
    runtime packs for its matrix products."""
    chosen.optimized_model_filepath = str(optimised.into)
    chosen.add_session_config_entry("session.optimized_model_external_initializers_file_name", optimised.weights)
    chosen.add_session_config_entry("session.optimized_model_external_initializers_min_size_in_bytes", "1024")
    chosen.add_session_config_entry("session.save_external_prepacked_constant_initializers", "1")


def _signature(session: onnxruntime.InferenceSession, size_px: int, classes: int) -> tuple[str, str]:
    inputs, outputs = session.get_inputs(), session.get_outputs()
    if len(inputs) != 1 or inputs[0].type != "tensor(uint8)" or list(inputs[0].shape[1:]) != [size_px, size_px, 3]:
        found = [(i.type, i.shape) for i in inputs]
        raise SessionError(f"the graph's input is {found}, not uint8 [N, {size_px}, {size_px}, 3]")
    if len(outputs) != 1 or outputs[0].type != "tensor(float)" or list(outputs[0].shape[1:]) != [classes]:
        found = [(o.type, o.shape) for o in outputs]
        raise SessionError(f"the graph's output is {found}, not float [N, {classes}]")
    return inputs[0].name, outputs[0].name


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    # The model name alone can stay the same while a virtual machine hides instruction sets: flags decide kernels.
    name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
    flags = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    return f"{name} ({hashlib.sha256(flags.encode()).hexdigest()[:8]})"
