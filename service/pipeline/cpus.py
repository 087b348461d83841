"""How many cores may this process use? Affinity and cgroup quota, not what the machine has.

ONNX Runtime and most thread pools size themselves by the host (onnxruntime issue 29510), which in a container means
tens of threads on two cores. Every thread count here starts from this number.
"""

import os
import platform
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")
OWN_CGROUP = Path("/proc/self/cgroup")
CPUINFO = Path("/proc/cpuinfo")
EIGHT_BIT = {"avx512_vnni", "avx_vnni"}
"""Instruction sets that add products of 8-bit integers without saturation, as the kernel writes them."""


def usable_cores(cgroup: Path = CGROUP, affinity: int | None = None, own: Path = OWN_CGROUP) -> int:
    """Whole cores, at least one: the least of the affinity mask and the CPU quotas (v2 or v1) that hold for us."""
    allowed = affinity if affinity is not None else len(os.sched_getaffinity(0))
    quotas = [_quota_v2(folder / "cpu.max") for folder in _above(cgroup, own)]
    found = [quota for quota in (*quotas, _quota_v1(cgroup / "cpu")) if quota is not None]
    return max(1, min([allowed, *map(int, found)]))


def saturates(cpuinfo: Path = CPUINFO, machine: str = "") -> bool:
    """Whether sums of two products of 8-bit integers overflow their 16 bits on this processor: on x86 they do without
    VNNI (`vpmaddubsw`), and weights of 7 bits keep them from it."""
    if (machine or platform.machine()) not in ("x86_64", "AMD64"):
        return False
    line = next((line for line in _text(cpuinfo).splitlines() if line.startswith("flags")), "")
    return EIGHT_BIT.isdisjoint(line.split())


def _above(cgroup: Path, own: Path) -> list[Path]:
    """The root of the hierarchy and each group down to ours: a service's limit stands in its own group, a
    container's in what looks like the root from inside."""
    line = next((line for line in _text(own).splitlines() if line.startswith("0::")), "0::/")
    parts = [part for part in line.removeprefix("0::").split("/") if part not in ("", "..")]
    return [cgroup.joinpath(*parts[:depth]) for depth in range(len(parts) + 1)]


def _quota_v2(file: Path) -> float | None:
    quota, _, period = _text(file).partition(" ")
    return _cores(quota, period)


def _quota_v1(folder: Path) -> float | None:
    return _cores(_text(folder / "cpu.cfs_quota_us"), _text(folder / "cpu.cfs_period_us"))


def _cores(quota: str, period: str) -> float | None:
    """None for `max`, -1, and anything else that is no quota."""
    return int(quota) / int(period) if quota.isdigit() and period.isdigit() and int(period) else None


def _text(file: Path) -> str:
    try:
        return file.read_text().strip()
    except OSError:
        return ""
