"""Log and trace settings in Triton's terms: what they say of themselves, and of what operators can write."""

from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from service.edges.oip.log_settings import POSITIONS, LogSettings
from service.edges.oip.trace_settings import TraceSettings
from service.settings import LogLevel
from service.telemetry.tracing import Tracing
from tests.contract.grpc_kit import PATIENCE_S, Levels


def test_every_level_has_its_switches() -> None:
    """Those that an operator can set."""
    assert set(POSITIONS) == {str(level) for level in LogLevel}


def test_they_show_what_they_are() -> None:
    """In one line."""
    assert repr(LogSettings(Levels("debug"), changes=True)) == "<LogSettings level=debug changes=True>"
    assert "['OFF']" in repr(TraceSettings(None, changes=False))


def test_a_share_too_small_for_a_rate_is_the_rarest() -> None:
    """Whatever an operator writes."""
    subject = Tracing(InMemorySpanExporter(), sample_ratio=1e-320)
    assert TraceSettings(subject, changes=False).document()["trace_rate"] == "999999999"
    subject.close(PATIENCE_S)
