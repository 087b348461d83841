"""When a server begins anew to get huge pages: where the kernel gives them on request, and nobody has decided."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from service import huge_pages
from service.huge_pages import BEGUN_ANEW, KERNEL, TUNABLE, VARIABLE, environment

GLIBC = "glibc 2.36"


@pytest.fixture(name="kernel")
def _kernel(tmp_path: Path) -> Path:
    path = tmp_path / "enabled"
    path.write_text("always [madvise] never\n", encoding="ascii")
    return path


def test_they_are_asked_for_where_they_are_given_on_request(kernel: Path) -> None:
    """The rest of the environment stays."""
    assert environment({"A": "b"}, kernel, GLIBC) == {"A": "b", BEGUN_ANEW: "1", VARIABLE: f"{TUNABLE}=1"}


def test_other_tunables_stay(kernel: Path) -> None:
    """They are between colons."""
    wanted = environment({VARIABLE: "glibc.malloc.check=1"}, kernel, GLIBC)
    assert wanted == {BEGUN_ANEW: "1", VARIABLE: f"glibc.malloc.check=1:{TUNABLE}=1"}


@pytest.mark.parametrize("decided", ["0", "1", "2"])
def test_who_has_decided_is_not_overruled(kernel: Path, decided: str) -> None:
    """For or against; so it happens once."""
    assert environment({VARIABLE: f"{TUNABLE}={decided}"}, kernel, GLIBC) is None


def test_it_happens_once_where_the_library_hides_its_variable(kernel: Path) -> None:
    """As it does where a program has more rights than who started it."""
    wanted = environment({}, kernel, GLIBC)
    assert wanted is not None
    assert environment({**wanted, VARIABLE: ""}, kernel, GLIBC) is None


@pytest.mark.parametrize("setting", ["[always] madvise never", "always madvise [never]", ""])
def test_nothing_is_to_be_had_elsewhere(kernel: Path, setting: str) -> None:
    """They come by themselves, or not at all."""
    kernel.write_text(setting, encoding="ascii")
    assert environment({}, kernel, GLIBC) is None


def test_a_system_without_them_is_left_alone(tmp_path: Path) -> None:
    """As in some containers."""
    assert environment({}, tmp_path / "missing", GLIBC) is None


@pytest.mark.parametrize("libc", ["glibc 2.34", "glibc 2.9", "musl 1.2", ""])
def test_other_libraries_would_not_ask(kernel: Path, libc: str) -> None:
    """Older ones do not know how."""
    assert environment({}, kernel, libc) is None


def test_a_library_without_a_name_is_left_alone(kernel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not every system says what it has."""

    def unknown(_: str) -> str:
        raise ValueError("unrecognized configuration name")

    monkeypatch.setattr(os, "confstr", unknown)
    assert environment({}, kernel) is None


@pytest.mark.skipif(not platform.libc_ver()[0], reason="another C library")
def test_this_one_has_a_name() -> None:
    """Which is read."""
    assert huge_pages._libc().startswith("glibc ")


@pytest.mark.parametrize(("command", "begins_anew"), [("serve", True), ("variants", False)])
def test_only_a_server_begins_anew(command: str, begins_anew: bool) -> None:
    """What it begins with is what it would have to."""
    if begins_anew and environment(dict(os.environ), KERNEL) is None:
        pytest.skip("huge pages are not given on request here")
    noted = f"os.execve = lambda *a: sys.exit(a[2][{VARIABLE!r}])"
    called = f"sys.argv = ['effserve', {command!r}, '--help']; from service.__main__ import main; main()"
    program = f"import os, sys; {noted}; {called}"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (TUNABLE in done.stderr) is begins_anew
    assert done.returncode == int(begins_anew)


def test_a_server_that_may_not_begin_anew_runs_all_the_same() -> None:
    """Huge pages are a gain and no need."""
    forbidden = "def no(*_): raise PermissionError('not here')"
    wanted = "huge_pages.environment = lambda *_: {}; os.execve = no; sys.argv = ['effserve', 'serve', '--help']"
    lines = (
        "import os, sys; from service import huge_pages",
        forbidden,
        wanted,
        "from service.__main__ import main",
        "main()",
    )
    program = "\n".join(lines)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "--store" in done.stdout
