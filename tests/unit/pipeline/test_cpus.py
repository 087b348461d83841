"""Cores by affinity and cgroup quota, with the cgroup files written into a folder."""

import os
from pathlib import Path

import pytest

from service.pipeline.cpus import saturates, usable_cores


def v2(folder: Path, text: str) -> Path:
    """A cgroup v2 folder."""
    (folder / "cpu.max").write_text(text)
    return folder


def v1(folder: Path, quota: str, period: str = "100000\n") -> Path:
    """A cgroup v1 folder."""
    (folder / "cpu").mkdir()
    (folder / "cpu" / "cpu.cfs_quota_us").write_text(quota)
    (folder / "cpu" / "cpu.cfs_period_us").write_text(period)
    return folder


@pytest.mark.parametrize(
    ("text", "cores"),
    [
        ("200000 100000\n", 2),
        ("250000 100000\n", 2),
        ("50000 100000\n", 1),
        ("3200000 100000\n", 8),
        ("max 100000\n", 8),
        ("", 8),
        ("nonsense\n", 8),
        ("200000\n", 8),
        ("200000 0\n", 8),
    ],
)
def test_version_2_quota(tmp_path: Path, text: str, cores: int) -> None:
    """Whole cores, rounded down, at least one, at most the affinity's eight; no limit where there is none."""
    assert usable_cores(v2(tmp_path, text), affinity=8) == cores


@pytest.mark.parametrize(("quota", "cores"), [("400000\n", 4), ("150000\n", 1), ("10000\n", 1), ("-1\n", 8), ("", 8)])
def test_version_1_quota(tmp_path: Path, quota: str, cores: int) -> None:
    """Minus one means no limit there."""
    assert usable_cores(v1(tmp_path, quota), affinity=8) == cores


def test_version_1_counts_where_version_2_sets_no_limit(tmp_path: Path) -> None:
    """Both hierarchies can be mounted."""
    assert usable_cores(v1(v2(tmp_path, "max 100000\n"), "300000\n"), affinity=8) == 3


def test_without_a_cgroup_the_affinity_counts(tmp_path: Path) -> None:
    """No files at all."""
    assert usable_cores(tmp_path, affinity=3) == 3


def test_the_affinity_is_the_upper_bound(tmp_path: Path) -> None:
    """Two pinned cores stay two under a quota of sixteen."""
    assert usable_cores(v2(tmp_path, "1600000 100000\n"), affinity=2) == 2


def test_the_affinity_is_the_processs_own_by_default(tmp_path: Path) -> None:
    """Not the machine's number of cores."""
    assert usable_cores(tmp_path) == len(os.sched_getaffinity(0))


def test_there_is_always_at_least_one_core_here() -> None:
    """With the real cgroup files."""
    assert 1 <= usable_cores() <= len(os.sched_getaffinity(0))


def test_a_quota_of_our_own_group_or_one_above_it_holds(tmp_path: Path) -> None:
    """A service manager sets the limit on the service's group, not on the root."""
    service = tmp_path / "system.slice" / "effserve.service"
    service.mkdir(parents=True)
    v2(tmp_path / "system.slice", "400000 100000")
    v2(service, "300000 100000")
    own = tmp_path / "self"
    own.write_text("0::/system.slice/effserve.service\n")
    assert usable_cores(tmp_path, 8, own) == 3


@pytest.mark.parametrize(
    ("machine", "flags", "expected"),
    [
        ("x86_64", "fpu avx2", True),
        ("x86_64", "fpu avx2 avx512_vnni", False),
        ("x86_64", "fpu avx2 avx_vnni", False),
        ("aarch64", "", False),
    ],
)
def test_products_of_bytes_saturate_without_vnni(tmp_path: Path, machine: str, flags: str, expected: bool) -> None:
    """On x86; what is not known to have it does not."""
    (tmp_path / "cpuinfo").write_text(f"model name\t: x\nflags\t\t: {flags}\n")
    assert saturates(tmp_path / "cpuinfo", machine) is expected
