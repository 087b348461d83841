"""A live state with the latencies and accuracies that were published for B0 to B7, and G16's that none is bought of."""

import json
from typing import Any

PUBLISHED = {
    "b0": (0.771, 16), "b1": (0.791, 26), "b2": (0.801, 36), "b3": (0.816, 63), "b4": (0.829, 144), "b5": (0.836, 310),
    "b6": (0.840, 560), "b7": (0.843, 1020),
}  # fmt: skip
"""Name → top-1 and milliseconds on one thread."""
DOMINATED = {"b0-g16": (0.765, 40), "b1-g16": (0.785, 70), "b2-g16": (0.797, 100), "b3-g16": (0.814, 170)}
TAIL = 1.3


def _row(name: str, top1: float, expected_ms: float, *, routed: bool) -> dict[str, Any]:
    return {
        "name": name, "version": 1, "trained": True, "rank_top1": top1, "rank_source": "published", "routed": routed,
        "accuracy": {"top1": top1, "top5": None, "dataset": "imagenet-1k", "source": "published"},
        "expected_ms": expected_ms, "tail_ms": expected_ms * TAIL, "params": 0, "macs": 0, "input_size_px": 224,
        "graph_bytes": 0, "pareto": routed, "answers": 0,
        "weights": {"kind": "checkpoint", "source": "", "licence": ""},
    }  # fmt: skip


def _candidate(row: dict[str, Any]) -> dict[str, Any]:
    verdict = "less_accurate" if row["routed"] else "dominated"
    seen = {name: row[name] for name in ("expected_ms", "tail_ms")}
    return {
        "variant": row["name"],
        "top1": row["rank_top1"],
        "top1_source": row["rank_source"],
        "verdict": verdict,
    } | seen


def published() -> str:
    """As `GET /events` would send it."""
    rows = [_row(name, *figures, routed=True) for name, figures in PUBLISHED.items()]
    rows += [_row(name, *figures, routed=False) for name, figures in DOMINATED.items()]
    health = {
        "status": "ready", "variants": len(rows), "refused": [], "waiting": 0, "running": 1, "lanes": 2, "threads": 1,
        "layout": "as set", "backlog_ms": 12.0, "worker": 1, "workers": 1,
    }  # fmt: skip
    minute = {"met": 40, "missed": 2, "refused": 1, "failed": 0, "answers": {"b0": 20, "b2": 22}}
    state = {
        "health": health, "arrivals_per_s": 3.2, "slowdown": 1.1, "last_minute": minute,
        "table": {"variants": rows, "refused": []},
        "plan": {"budget_ms": 100, "decision": {"remaining_ms": 97, "candidates": [_candidate(row) for row in rows]}},
    }  # fmt: skip
    return f"event: state\ndata: {json.dumps(state)}\n\n"
