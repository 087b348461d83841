"""What of the running process the protocol tells, and changes where the operator allows it."""

from dataclasses import dataclass

from service.edges.oip.log_settings import LogSettings
from service.edges.oip.trace_settings import TraceSettings


@dataclass(frozen=True, slots=True)
class Controls:
    """All of it."""

    log: LogSettings
    trace: TraceSettings
