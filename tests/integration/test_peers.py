"""The comparison with other servers, with the one of them whose libraries the service has itself."""

import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from benchmarks.peers import page
from benchmarks.peers.contenders import BARE, OURS, Contender, Peer
from benchmarks.peers.measure import measure
from benchmarks.peers.study import Setting
from tests.fixtures import jpeg, tiny_store

SETTING = Setting(clients=(1, 2), rounds=1, settle_s=0.1, warm_up_s=0.1, seconds=0.5, calibrate_s=0.05)


@dataclass(frozen=True)
class Here(Peer):
    """In our own environment."""

    @property
    def missing(self) -> str:
        """It is here."""
        return ""


def _here(peer: Peer, port: int) -> list[str]:
    return [sys.executable, "-m", f"benchmarks.peers.apps.{peer.name}"]


def _broken(peer: Peer, port: int) -> list[str]:
    return [sys.executable, "-c", "raise SystemExit('it does not start')"]


@pytest.mark.slow
def test_all_of_them_answer_in_turns(tmp_path: Path) -> None:
    """Rightly; who does not start, or is not installed, is left out with the reason."""
    wanted = (
        Contender(BARE, "a loop"),
        Contender(OURS, "defaults"),
        Contender("fastapi", "1 process", Here("fastapi", "FastAPI", "fastapi", command=_here)),
        Contender("broken", "1 process", Here("broken", "Broken", "broken", command=_broken)),
        Contender("absent", "1 process", Peer("absent", "Absent", "absent")),
    )
    store = tiny_store(tmp_path / "store", ["b0"], trained=False)
    study = measure(store, [jpeg(160, 120), jpeg(120, 160)], SETTING, wanted)
    assert [one.name for one in study.compared] == [BARE, OURS, "fastapi"]
    assert [(turn.per_s > 0, dict(turn.errors)) for turn in study.turns] == [(True, {})] * 6
    assert {one.title: one.reason for one in study.left_out} == {
        "broken": "it ended",
        "Absent": "not installed; `make peers` does that",
    }
    assert [goal.between for goal in page.goals(study)] == ["effserve ÷ fastapi", "effserve"]
