"""`effserve classify --anytime` against servers that fail half-way or are none of ours."""

import json
from pathlib import Path

import pytest

from service.commands import client
from service.commands.console import CommandError
from tests.unit.foreign import answering

ANSWER = {
    "request_id": "mine",
    "final": False,
    "predictions": [],
    "decision": {
        "variant": "b0", "version": 1, "expected_top1": 0.77, "expected_top1_source": "measured", "trained": True,
        "expected_ms": 5.0, "tail_ms": 7.0, "remaining_ms": 40.0, "fits": True, "reason": "insures",
        "why": "b0 is the cheapest",
    },
    "timing_ms": {"receive": 1, "queue": 2, "decode": 3, "inference": 4, "hold": 0, "respond": 2, "total": 12.0},
    "budget": {"requested_ms": 50.0, "spent_ms": 12.0, "met": True},
    "image": {"format": "JPEG", "width_px": 64, "height_px": 48, "bytes": 700},
    "warnings": [],
    "members": ["b0"],
}  # fmt: skip
FIRST = f"event: answer\ndata: {json.dumps(ANSWER)}\n\n"
PROBLEM = {"status": 500, "kind": "internal", "detail": "see the log"}
EVENTS = "text/event-stream"


@pytest.mark.parametrize(
    ("content", "content_type", "message", "shown"),
    [
        (FIRST + f"event: error\ndata: {json.dumps(PROBLEM)}\n\n", EVENTS, "internal: see the log", True),
        (FIRST, EVENTS, "the server ended the connection before its last answer", True),
        ("", EVENTS, "the server ended the connection before its last answer", False),
        ("data: 3 new messages\n\n", EVENTS, "is no answer of effserve", False),
        ("<html>", "text/html", "is no answer of effserve", False),
        ("{}", "application/json", "is no answer of effserve", False),
        ('{"final": true}', "application/json", "is no answer of effserve", False),
    ],
)
def test_what_is_no_last_answer_is_one_line(
    content: str, content_type: str, message: str, shown: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """After the answers that came before it."""
    photo = tmp_path / "photo.jpg"
    photo.touch()
    with answering(content, content_type) as url, pytest.raises(CommandError, match=message):
        client.classify([photo], url=url, asked={}, as_json=False, anytime=True)
    assert ("12.0 of 50 ms, so far" in capsys.readouterr().out) is shown
