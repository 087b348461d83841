"""The stages of a request in the syntax of the `Server-Timing` header; gRPC sends the same as metadata."""

from collections.abc import Mapping

STAGES = ("receive", "queue", "decode", "inference", "hold", "respond", "total")


def server_timing(stages_ms: Mapping[str, float]) -> str:
    """Milliseconds by stage → `receive;dur=0.120, queue;dur=…`."""
    return ", ".join(f"{stage};dur={stages_ms[stage]:.3f}" for stage in STAGES)
