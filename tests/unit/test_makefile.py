"""What `make` prints while it installs: a line of its own, and what went wrong."""

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def recipe(target: str) -> list[str]:
    """The commands that would be run for it, and for nothing else."""
    command = ["make", "--dry-run", "--assume-new=pyproject.toml", "--directory", str(ROOT), target]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


@pytest.mark.parametrize("stamp", [".venv/run.stamp", ".venv/dev.stamp"])
def test_an_installation_is_announced_and_quiet(stamp: str) -> None:
    """A hundred lines of pip hide the address that a first `make run` ends with. Quiet once still shows errors."""
    said = recipe(stamp)
    installing = [line for line in said if "pip" in line.split()[0] and " install " in line]
    assert any(line.startswith("echo ") and "about a minute" in line for line in said)
    assert len(installing) == 2
    assert all(line.count("--quiet") == 1 for line in installing)
    assert not any("2>" in line for line in installing)
