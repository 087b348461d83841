"""The record of a comparison: written, read, and what is not one."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from service.simulation.errors import SimulationError
from service.simulation.study import read
from tests.unit.simulation.study import study


def test_what_was_written_is_read(tmp_path: Path) -> None:
    """All of it."""
    path = tmp_path / "study.json"
    path.write_text(json.dumps(asdict(study())))
    assert read(path) == study()


def test_another_file_is_refused_with_what_it_lacks(tmp_path: Path) -> None:
    """One line that names the file."""
    path = tmp_path / "other.json"
    path.write_text('{"machine": {}}')
    with pytest.raises(SimulationError, match=r"other\.json is no comparison of policies: setting "):
        read(path)
