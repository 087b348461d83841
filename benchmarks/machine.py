"""Where and when a run took place: figures without it cannot be compared with others."""

import datetime
import os
import platform
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import onnxruntime

from service.pipeline.cpus import usable_cores

ROOT = Path(__file__).resolve().parent.parent
"""The checkout."""
UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Machine:
    """What the latencies depend on."""

    cpu: str
    usable_cores: int
    memory_gib: float
    python: str
    onnxruntime: str
    commit: str
    """Short hash; `+` when files of the checkout differ from it; `unknown` outside a checkout."""
    date: str
    """UTC, ISO 8601."""
    load_1min: float
    """Load average before the run: above about 0.5, something else was using the machine."""


def describe() -> Machine:
    """This machine, now."""
    return Machine(
        cpu=_field(Path("/proc/cpuinfo"), "model name") or platform.processor() or platform.machine(),
        usable_cores=usable_cores(),
        memory_gib=round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        python=platform.python_version(),
        onnxruntime=onnxruntime.__version__,
        commit=_commit(),
        date=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        load_1min=round(os.getloadavg()[0], 2),
    )


def punctual() -> bool:
    """From now on the calling thread gets a core whenever it has something to do, as if a client had a machine of its
    own; False where that is not allowed. What it starts does not inherit that."""
    if not hasattr(os, "sched_setscheduler"):
        return False
    try:
        os.sched_setscheduler(0, os.SCHED_RR | os.SCHED_RESET_ON_FORK, os.sched_param(1))
    except PermissionError:
        return False
    return True


def status_mb(pid: int, name: str) -> float:
    """A memory figure of a process, such as VmRSS, in megabytes (10⁶ bytes). Raises `ValueError`, `OSError`."""
    value, unit = _field(Path(f"/proc/{pid}/status"), name).split()
    if unit != "kB":
        raise ValueError(f"{name} is in {unit}, not kB")
    return round(int(value) * 1024 / 1e6, 1)


@dataclass(frozen=True, slots=True)
class Others:
    """What else ran while one figure was measured."""

    figure: str
    seconds: float
    share: float
    """Of the cores' time: used by other processes, or taken by the host. Above about 0.05 the figure is disturbed."""


@contextmanager
def watching(figure: str, seen: list[Others]) -> Iterator[None]:
    """Adds one entry to `seen` at the end."""
    started_s, busy_s, ours_s = time.monotonic(), cores().busy_s, _ours_s()
    yield
    seconds = time.monotonic() - started_s
    others_s = (cores().busy_s - busy_s) - (_ours_s() - ours_s)
    share = others_s / (seconds * (os.cpu_count() or 1))
    seen.append(Others(figure, round(seconds, 1), round(max(share, 0.0), 3)))


@dataclass(frozen=True, slots=True)
class Cores:
    """All of them together, since boot."""

    busy_s: float
    """With what the host took."""
    idle_s: float


def cores() -> Cores:
    """Until now."""
    fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    user, nice, system, idle, iowait, irq, softirq, steal = (int(one) / os.sysconf("SC_CLK_TCK") for one in fields[:8])
    return Cores(user + nice + system + irq + softirq + steal, idle + iowait)


def _ours_s() -> float:
    """CPU time of this process and of all that came of it, whether they live or have been seen to end."""
    return sum(cpu_s for pid in family(os.getpid()) if (cpu_s := _with_children_s(pid)) is not None)


def family(pid: int) -> list[int]:
    """A process and those that came of it and live, parents first."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        if fields := _stat(folder):
            children.setdefault(int(fields[1]), []).append(int(folder.name))
    found = [pid]
    for one in found:
        found += children.get(one, [])
    return found


def began_at(pid: int) -> int:
    """When a process began, in the kernel's ticks: with its number it names it for good. 0 when it has ended."""
    fields = _stat(Path(f"/proc/{pid}"))
    return int(fields[19]) if fields else 0


def state(pid: int) -> str:
    """One letter, as proc_pid_stat(5) has it: T for one that was stopped. Empty when the process has ended."""
    return [*_stat(Path(f"/proc/{pid}")), ""][0]


def _with_children_s(pid: int) -> float | None:
    """Of a process and of its children that it has seen end; None when it has ended itself."""
    fields = _stat(Path(f"/proc/{pid}"))
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK") if fields else None


def _stat(folder: Path) -> list[str]:
    """Fields of proc_pid_stat(5) from the third on, the state; none when the process has ended."""
    try:
        return (folder / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


@dataclass(frozen=True, slots=True)
class Thread:
    """Of a process: its processor time so far."""

    first: bool
    """In a server the event loop's."""
    gives_way: bool
    """By its priority: in the service, lanes do, and threads that ONNX Runtime has for runs."""
    user_s: float
    system_s: float

    @property
    def cpu_s(self) -> float:
        """Both."""
        return self.user_s + self.system_s


def threads(pid: int) -> list[Thread]:
    """Of a process, those that live. Raises `OSError`."""
    found = ((task, _stat(task)) for task in Path(f"/proc/{pid}/task").iterdir())
    return [_thread(fields, first=task.name == str(pid)) for task, fields in found if fields]


def _thread(fields: list[str], *, first: bool) -> Thread:
    """Niceness and policy are fields 19 and 41 of proc_pid_stat(5)."""
    user_s, system_s = (int(field) / os.sysconf("SC_CLK_TCK") for field in fields[11:13])
    return Thread(first, int(fields[16]) > 0 or int(fields[38]) == os.SCHED_IDLE, user_s, system_s)


def first_thread_cpu_s(pid: int) -> float:
    """Processor time of a process's first thread so far: in a server that of its event loop. Raises `OSError`."""
    return _cpu_s(Path(f"/proc/{pid}/task/{pid}/stat"))


def cpu_s(pid: int) -> float:
    """Processor time of a process so far. Raises `OSError`."""
    return _cpu_s(Path(f"/proc/{pid}/stat"))


def _cpu_s(stat: Path) -> float:
    _, _, fields = stat.read_text(encoding="utf-8").rpartition(")")
    user, system = fields.split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def _field(path: Path, name: str) -> str:
    """The value of the first line `name: value`; empty when there is none."""
    lines = path.read_text().splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(name)), "")


def is_dirty(commit: str) -> bool:
    """Whether what ran was not what was committed, or nobody can tell, by what `describe` says of it."""
    return commit.endswith("+") or commit == UNKNOWN


def _commit() -> str:
    try:
        commit = _git("rev-parse", "--short", "HEAD")
        return commit + ("+" if _git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return UNKNOWN


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True, text=True)
    return done.stdout.strip()
