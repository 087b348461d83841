"""The protocol's extension `trace`: which requests are traced, in Triton's terms.

Traces go to an OpenTelemetry collector, as in Triton's mode `opentelemetry`, and what belongs to its other mode is not
there: no file, and no counting of what goes into it. Where a collector is named at the start, tracing can be switched
off and on, and the share of the traces that begin here be another; where none is, all of it is off for good.
"""

from collections.abc import Mapping
from typing import Protocol

from service.edges.oip.refusals import forbidden, invalid, unsupported

Value = str | list[str]
LEVEL, RATE = "trace_level", "trace_rate"
ON, OFF, TENSORS = "TIMESTAMPS", "OFF", "TENSORS"
NEVER, MOST = "0", 999_999_999
"""Rates: nothing of what begins here, and the rarest that there is."""
FIXED: dict[str, tuple[str, str]] = {
    "trace_count": ("-1", "traces are not counted; they go on until they are switched off"),
    "trace_mode": ("opentelemetry", "there is no other"),
}
"""Setting → what it is, and why it is nothing else."""
OF_FILES = ("trace_file", "log_frequency")
"""Settings of Triton's other mode."""
GATE = "tracing.changes"


class Sampling(Protocol):
    """What records traces."""

    @property
    def on(self) -> bool:
        """Whether it does."""

    @property
    def ratio(self) -> float:
        """Share that is recorded of the traces that begin here."""

    def record(self, *, on: bool, ratio: float) -> None:
        """From now on, this."""


class TraceSettings:
    """One per process."""

    def __init__(self, sampling: Sampling | None, *, changes: bool) -> None:
        """`sampling` is None where nothing is traced; `changes`: whether the operator allows them."""
        self._sampling = sampling
        self._changes = changes
        self._at_start = self.document()
        self._ratio_at_start = 0.0 if sampling is None else sampling.ratio

    def __repr__(self) -> str:
        return f"<TraceSettings {self.document()} changes={self._changes}>"

    @property
    def traced(self) -> bool:
        """Whether there is anything to set."""
        return self._sampling is not None

    def document(self) -> dict[str, Value]:
        """As they are."""
        on, ratio = (False, 0.0) if self._sampling is None else (self._sampling.on, self._sampling.ratio)
        fixed = {name: value for name, (value, _) in FIXED.items()}
        return {LEVEL: [ON if on else OFF], RATE: _rate(ratio), **fixed}

    def change(self, given: Mapping[str, object], *, of_model: bool = False) -> dict[str, Value]:
        """As they are then. What is None becomes what it was at the start; what is not given stays.

        Raises `EffserveError(CHANGES_FORBIDDEN | INVALID_PARAMETER | UNSUPPORTED)`, and has changed nothing then.
        """
        if given and not self._changes:
            raise forbidden(GATE)
        now = self.document()
        wanted = now | {name: self._checked(name, value) for name, value in given.items()}
        for name in wanted:
            if wanted[name] == now[name]:
                continue
            if of_model:
                raise unsupported(name, "it is set for all models at once, and not for one")
            if self._sampling is None:
                raise unsupported(name, "nothing is traced: `tracing.endpoint` names no collector")
        if self._sampling is not None and wanted != now:
            # A rate that is told is rounded: one that stays shall stay what it is.
            ratio = self._sampling.ratio if wanted[RATE] == now[RATE] else self._ratio(str(wanted[RATE]))
            self._sampling.record(on=wanted[LEVEL] == [ON], ratio=ratio)
        return self.document()

    def _checked(self, name: str, value: object) -> Value:
        """Raises `EffserveError(INVALID_PARAMETER | UNSUPPORTED)`."""
        if name in OF_FILES:
            raise unsupported(name, "traces go to a collector, and not to a file")
        if name not in self._at_start:
            raise invalid(name, f"it is no trace setting; there are {', '.join(self._at_start)}")
        if value is None:
            return self._at_start[name]
        values = value if isinstance(value, list) else [value]
        if name == LEVEL:
            return [_level(values)]
        if name == RATE:
            return _checked_rate(values)
        fixed, why = FIXED[name]
        if values != [fixed]:
            raise unsupported(name, why)
        return fixed

    def _ratio(self, rate: str) -> float:
        if rate == self._at_start[RATE]:
            return self._ratio_at_start
        return 0.0 if rate == NEVER else 1 / int(rate)


def _rate(ratio: float) -> str:
    """One trace of so many; the nearest whole number."""
    return NEVER if ratio == 0 else str(max(round(min(1 / ratio, MOST)), 1))


def _level(values: list[object]) -> str:
    if TENSORS in values:
        raise unsupported(LEVEL, "spans have times and decisions, and no tensors")
    if values not in ([ON], [OFF]):
        raise invalid(LEVEL, f"it is {ON} or {OFF}")
    return str(values[0])


def _checked_rate(values: list[object]) -> str:
    """One trace of so many; Triton's clients write numbers as strings."""
    (rate,) = values if len(values) == 1 else (None,)
    text = str(rate) if isinstance(rate, int | str) and not isinstance(rate, bool) else ""
    if not (text.isascii() and text.isdigit()) or len(text) > len(str(MOST)):
        raise invalid(RATE, "it is a number from 0 on: one request of so many is traced, with 0 none")
    return str(int(text))
