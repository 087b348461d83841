"""Cells that are done, kept in a file line by line, so that a campaign that was stopped goes on where it was."""

import json
from dataclasses import asdict
from pathlib import Path

from pydantic import TypeAdapter

from service.simulation.study import Cell, CellResult


class Kept:
    """One file; its first line says what its cells were made with, and another one begins anew."""

    def __init__(self, path: Path | None, made_with: str) -> None:
        self._path = path
        self._head = json.dumps(made_with)

    def results(self) -> dict[Cell, CellResult]:
        """By cell. Raises `OSError`."""
        if self._path is None:
            return {}
        lines = self._path.read_text(encoding="utf-8").splitlines() if self._path.is_file() else []
        if lines[:1] != [self._head]:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._path.write_text(self._head + "\n", encoding="utf-8")
            return {}
        results = map(TypeAdapter(CellResult).validate_json, lines[1:])
        return {result.cell: result for result in results}

    def keep(self, result: CellResult) -> None:
        """One more. Raises `OSError`."""
        if self._path is not None:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(asdict(result)) + "\n")
