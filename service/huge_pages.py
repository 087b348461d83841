"""Memory in pages of 2 MB, where the kernel gives them to who asks.

What runs compute on the way are arrays of megabytes, and with pages of 4 kB some hundredths of the time go into
looking up where they lie. Linux mostly gives huge pages on request only (`madvise`, in
/sys/kernel/mm/transparent_hugepage/enabled); glibc asks for them when it is told to by its environment, which it reads
once, when a process begins (glibc.malloc.hugetlb, since 2.35).
"""

import os
from collections.abc import Mapping
from pathlib import Path

KERNEL = Path("/sys/kernel/mm/transparent_hugepage/enabled")
VARIABLE, TUNABLE = "GLIBC_TUNABLES", "glibc.malloc.hugetlb"
BEGUN_ANEW = "_EFFSERVE_BEGUN_ANEW"
"""In the environment of a process that has: where privileges are raised, glibc takes its own variable away."""
SINCE = (2, 35)


def environment(given: Mapping[str, str], kernel: Path = KERNEL, libc: str | None = None) -> dict[str, str] | None:
    """The environment that a process has to begin with to get them; None where it would not help, and where whoever
    started this one has decided, for or against. `libc`: name and version; default: this process's."""
    tunables = given.get(VARIABLE, "")
    if (
        BEGUN_ANEW in given
        or TUNABLE in tunables
        or not _asks(_libc() if libc is None else libc)
        or not _on_request(kernel)
    ):
        return None
    return {**given, BEGUN_ANEW: "1", VARIABLE: ":".join(filter(None, (tunables, f"{TUNABLE}=1")))}


def _libc() -> str:
    try:
        return os.confstr("CS_GNU_LIBC_VERSION") or ""
    except (ValueError, OSError):
        return ""


def _asks(libc: str) -> bool:
    name, _, version = libc.partition(" ")
    return name == "glibc" and tuple(map(int, version.split(".")[:2])) >= SINCE


def _on_request(kernel: Path) -> bool:
    try:
        return "[madvise]" in kernel.read_text(encoding="ascii")
    except OSError:
        return False
