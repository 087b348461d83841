"""`.ci/run` leaves out the suites that need torch only where torch cannot be had."""

import os
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / ".ci" / "run"
NO_TORCH = """\
ERROR: Could not find a version that satisfies the requirement torch==2.13.0 (from versions: none)
ERROR: No matching distribution found for torch==2.13.0
"""
WRONG_HASH = """\
ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE.
"""
NO_NUMPY = "ERROR: No matching distribution found for numpy==2.4.0\n"


def ci_run(folder: Path, failing: str = "", said: str = "", **variables: str) -> tuple[int, list[str], str]:
    """Exit status, targets that were made, and output, with a `make` that only writes them down.

    `failing`: the target that fails, with `said` on standard error.
    """
    (folder / "said").write_text(said)
    make = folder / "make"
    make.write_text(
        f'#!/bin/sh\necho "$@" >> {folder}/made\nif [ "$1" = "{failing}" ]; then cat {folder}/said >&2; exit 2; fi\n'
    )
    make.chmod(0o755)
    ours = {name: value for name, value in os.environ.items() if name != "CI_TORCH"}
    ours |= {"PATH": f"{folder}:{os.environ['PATH']}", **variables}
    done = subprocess.run([SCRIPT], env=ours, capture_output=True, text=True, check=False)
    return done.returncode, (folder / "made").read_text().splitlines(), done.stdout


def test_everything_is_made(tmp_path: Path) -> None:
    """The README's command first, then other projects' clients, the page in a browser,
    the rehearsal of deploy/, then what needs torch."""
    status, made, _ = ci_run(tmp_path)
    assert (status, made) == (0, ["test", "conformance", "browser", "rehearsal", "torch-install", "torch", "parity"])


def test_torch_that_cannot_be_had_is_a_reason_to_skip(tmp_path: Path) -> None:
    """There is no build for this machine: said, with the version."""
    status, made, output = ci_run(tmp_path, "torch-install", NO_TORCH)
    assert (status, made) == (0, ["test", "conformance", "browser", "rehearsal", "torch-install"])
    assert "skipped: make torch, make parity (torch 2." in output


@pytest.mark.parametrize("said", [WRONG_HASH, NO_NUMPY, ""])
def test_any_other_failure_to_install_is_a_failure(said: str, tmp_path: Path) -> None:
    """A wrong checksum must not look like a machine without torch; the reason is shown."""
    status, made, output = ci_run(tmp_path, "torch-install", said)
    assert (status, made) == (1, ["test", "conformance", "browser", "rehearsal", "torch-install"])
    assert "skipped" not in output
    assert said in output


@pytest.mark.parametrize("target", ["test", "conformance", "browser", "rehearsal", "torch", "parity"])
def test_a_suite_that_fails_is_a_failure(target: str, tmp_path: Path) -> None:
    """Of each kind."""
    status, made, _ = ci_run(tmp_path, target)
    assert status != 0
    assert made[-1] == target


def test_suites_can_be_left_out(tmp_path: Path) -> None:
    """`CI_TORCH=never`, and it says so."""
    status, made, output = ci_run(tmp_path, CI_TORCH="never")
    assert (status, made) == (0, ["test", "conformance", "browser", "rehearsal"])
    assert "CI_TORCH=never" in output
