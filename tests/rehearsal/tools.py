"""Programs of others that `make rehearsal` brings into `.rehearsal/`, or that the machine has."""

import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BROUGHT = ROOT / ".rehearsal"
PLACES = (BROUGHT / "prometheus" / "usr" / "bin", BROUGHT / "kubernetes" / "bin")


def find(program: str) -> Path | None:
    """Where it is; what was brought goes first."""
    found = next((place / program for place in PLACES if (place / program).is_file()), shutil.which(program))
    return None if found is None else Path(found)


def need(program: str) -> Path:
    """Where it is, or a skip that says so."""
    found = find(program)
    if found is None:
        pytest.skip(f"no {program} here; `make rehearsal` brings it where it can")
    return found
