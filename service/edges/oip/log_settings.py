"""The protocol's extension `logging`: which log lines are written, in Triton's terms.

Triton has a switch for each level. Here lines are written from one level on, so the switches have as many positions as
there are levels (`POSITIONS`); what stands in none of them is refused.
"""

from collections.abc import Mapping
from typing import Protocol

from service.edges.oip.refusals import forbidden, invalid, unsupported

Value = bool | int | str
SWITCHES = ("log_info", "log_warning", "log_error", "log_verbose_level")
VERBOSE = SWITCHES[-1]
MOST_VERBOSE = 1
POSITIONS: dict[str, tuple[bool, bool, bool, int]] = {
    "debug": (True, True, True, MOST_VERBOSE),
    "info": (True, True, True, 0),
    "warning": (False, True, True, 0),
    "error": (False, False, True, 0),
}
"""Level → the switches."""
FIXED: dict[str, tuple[str, str]] = {
    "log_file": ("", "lines go to standard output, and nowhere else"),
    "log_format": ("ISO8601", "times are in ISO 8601; whether lines are JSON is chosen at the start, by `log.format`"),
}
"""Setting → what it is, and why it is nothing else."""
GATE = "log.changes"


class Levels(Protocol):
    """What writes the lines."""

    @property
    def level(self) -> str:
        """The least severe that is written."""

    def write_from(self, level: str) -> None:
        """From now on, lines of this level and above."""


class LogSettings:
    """One per process."""

    def __init__(self, levels: Levels, *, changes: bool) -> None:
        """`changes`: whether the operator allows them."""
        self._levels = levels
        self._changes = changes

    def __repr__(self) -> str:
        return f"<LogSettings level={self._levels.level} changes={self._changes}>"

    def document(self) -> dict[str, Value]:
        """As they are."""
        fixed = {name: value for name, (value, _) in FIXED.items()}
        return {**fixed, **dict(zip(SWITCHES, POSITIONS[self._levels.level], strict=True))}

    def change(self, given: Mapping[str, object]) -> dict[str, Value]:
        """As they are then. What is None, or not given, stays.

        Raises `EffserveError(CHANGES_FORBIDDEN | INVALID_PARAMETER | UNSUPPORTED)`, and has changed nothing then.
        """
        if given and not self._changes:
            raise forbidden(GATE)
        wanted = self.document() | {name: _checked(name, value) for name, value in given.items() if value is not None}
        position = tuple(wanted[name] for name in SWITCHES)
        level = next((level for level, switches in POSITIONS.items() if switches == position), None)
        if level is None:
            raise invalid(
                ", ".join(name for name in SWITCHES if name in given),
                f"lines are written from one level on: {VERBOSE} needs log_info on, which needs log_warning, which "
                "needs log_error, which cannot be off",
            )
        if level != self._levels.level:
            self._levels.write_from(level)
        return self.document()


def _checked(name: str, value: object) -> Value:
    """Raises `EffserveError(INVALID_PARAMETER | UNSUPPORTED)`."""
    if name in FIXED:
        fixed, why = FIXED[name]
        if value != fixed:
            raise unsupported(name, why)
        return fixed
    if name not in SWITCHES:
        raise invalid(name, f"it is no log setting; there are {', '.join((*FIXED, *SWITCHES))}")
    if name != VERBOSE:
        if not isinstance(value, bool):
            raise invalid(name, "it is true or false")
        return value
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise invalid(name, "it is a number from 0 on")
    return min(value, MOST_VERBOSE)
