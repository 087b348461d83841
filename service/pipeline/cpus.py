"""How many cores may this process use? Affinity and cgroup quota, not what the machine has.

ONNX Runtime and most thread pools size themselves by the host (onnxruntime issue 29510), which in a container means
tens of threads on two cores. Every thread count here starts from this number.
"""

import os
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")


def usable_cores(cgroup: Path = CGROUP, affinity: int | None = None) -> int:
    """Whole cores, at least one: the lesser of the affinity mask and the cgroup's CPU quota (v2 or v1)."""
    allowed = affinity if affinity is not None else len(os.sched_getaffinity(0))
    quota = _quota_v2(cgroup / "cpu.max") or _quota_v1(cgroup / "cpu")
    return max(1, min(allowed, int(quota) if quota is not None else allowed))


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
