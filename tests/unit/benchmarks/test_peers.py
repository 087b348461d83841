"""The service beside other servers: clients, turns, the file of results, and its tables."""

import itertools
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from benchmarks import machine
from benchmarks.machine import Machine, Others
from benchmarks.peers import contenders, loader, measure, page, pauses, running
from benchmarks.peers.contenders import BARE, OURS, Manner, Peer
from benchmarks.peers.loader import Asked, Told
from benchmarks.peers.measure import Ask, Ready
from benchmarks.peers.pauses import Part
from benchmarks.peers.study import Compared, Latency, LeftOut, Setting, Study, Turn, read
from benchmarks.stats import Spread

IMAGE = b"an image"
RIGHT = b'{"predictions":[{"index":7,"probability":0.5},{"index":3,"probability":0.1}]}'


def plain(body: bytes, status: str = "200 OK") -> bytes:
    """An answer with a length."""
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


@contextmanager
def answering(*answers: bytes) -> Iterator[int]:
    """A server that gives these answers in turn, then right ones, and hangs up instead of an empty one; its port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        left = itertools.chain(answers, itertools.repeat(plain(RIGHT)))
        thread = threading.Thread(target=_serve, args=(listener, left), daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def _serve(listener: socket.socket, answers: Iterator[bytes]) -> None:
    with suppress(OSError):
        while True:
            connection, _ = listener.accept()
            with connection:
                while _heard(connection) and (answer := next(answers)):
                    connection.sendall(answer)


def _heard(connection: socket.socket) -> bool:
    received = b""
    while not received.endswith(IMAGE):
        if not (part := connection.recv(4096)):
            return False
        received += part
    return True


def told(*answers: bytes) -> Told:
    """By one client of that server."""
    with answering(*answers) as port:
        asked = Asked(port, ["unused"], [7], Manner().pattern, clients=1, warm_up_s=0.0, seconds=0.2)
        return loader.run(asked, [Manner().request(IMAGE)])


def test_right_answers_have_latencies() -> None:
    """With a length or in chunks, whatever the case of the headers."""
    chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: Chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(RIGHT), RIGHT)
    found = told(chunked)
    assert found.errors == {}
    assert len(found.latencies_ms) > 1
    assert all(one > 0 for one in found.latencies_ms)


def test_a_class_may_come_as_a_binary_tensor() -> None:
    """Behind the JSON that describes it, as Triton answers; its bytes may be those of a line break."""
    tensors = b'{"outputs":[{"name":"index"}]}' + (10).to_bytes(8, "little") + bytes(40)
    asked = Asked(0, ["unused"], [10], contenders.PYTRITON.manner.pattern, clients=1, warm_up_s=0.0, seconds=0.2)
    with answering(*[plain(tensors)] * 3, b"") as port:
        found = loader.run(replace(asked, port=port), [Manner().request(IMAGE)])
    assert len(found.latencies_ms) == 3


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (plain(b'{"predictions":[{"index":3}]}'), "class 3, not 7"),
        (plain(b"{}"), "no class in the answer"),
        (plain(RIGHT, "503 Service Unavailable"), "HTTP 503"),
        (b"", "lost: closed by the server"),
    ],
)
def test_everything_else_is_an_error_by_name(answer: bytes, error: str) -> None:
    """And the clients go on."""
    found = told(answer)
    assert found.errors == {error: 1}
    assert found.latencies_ms


def test_what_comes_in_the_warm_up_does_not_count() -> None:
    """Neither answers nor errors."""
    with answering(plain(b"{}")) as port:
        asked = Asked(port, ["unused"], [7], Manner().pattern, clients=1, warm_up_s=0.2, seconds=0.0)
        found = loader.run(asked, [Manner().request(IMAGE)])
    assert (found.errors, found.latencies_ms) == ({}, [])


def test_a_family_is_a_process_with_all_that_came_of_it() -> None:
    """Whom it started, and whom these started."""
    script = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'print(1, flush=True); input()'])"
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        found = machine.family(os.getpid())
        running.pause([child.pid])
        # A signal takes effect when its process has its turn.
        until_s = time.monotonic() + 10
        while (states := [machine.state(pid) for pid in machine.family(child.pid)]) != ["T", "T"]:
            if time.monotonic() > until_s:
                break
        running.go_on([child.pid])
        assert found[0] == os.getpid()
        assert child.pid in found
        assert states == ["T", "T"]
        child.communicate("\n")


def test_who_is_not_installed_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In pip's last words, where it was tried."""
    monkeypatch.setattr(contenders, "ROOT", tmp_path)
    server = Peer("someone", "Someone", "some_one")
    assert server.missing == "not installed; `make peers` does that"
    server.folder.mkdir()
    (server.folder / "reason").write_text("WARNING: something\nERROR: No matching distribution found\n")
    assert server.missing == "ERROR: No matching distribution found"
    (server.folder / "stamp").touch()
    (server.folder / "lib/python3.11/site-packages/some_one-1.2.3.dist-info").mkdir(parents=True)
    assert (server.missing, server.version) == ("", "1.2.3")


def turn_by(ask: Ask, *, clients: tuple[int, ...] = (1, 4)) -> list[Turn]:
    """Of one contender, in one round."""
    contender = contenders.contenders(2)[1]
    return [turn for turn, _ in measure.turns([Ready(contender, lambda _: [], ask)], Setting(clients, rounds=1))]


def test_a_visit_begins_with_requests_that_do_not_count() -> None:
    """For as long as it takes to have back what was taken; then comes each number of clients once."""
    asked: list[tuple[int, float, float]] = []

    def ask(clients: int, setting: Setting) -> Told:
        asked.append((clients, setting.warm_up_s, setting.seconds))
        return Told(setting.seconds, [5.0])

    visits = turn_by(ask)
    setting = Setting()
    assert asked[0] == (measure.WARM, 0.0, setting.settle_s)
    assert sorted(asked[1:]) == [(many, setting.warm_up_s, setting.seconds) for many in (1, 4)]
    assert sorted(turn.clients for turn in visits) == [1, 4]


def test_a_contender_that_breaks_down_has_errors() -> None:
    """The others go on; the last line that its clients wrote says why."""

    def ask(clients: int, setting: Setting) -> Told:
        raise subprocess.CalledProcessError(1, "loader", stderr="Traceback …\nTimeoutError: no answer within 30 s\n")

    (turn,) = turn_by(ask, clients=(4,))
    assert (turn.per_s, turn.errors) == (0.0, {"no turn: TimeoutError: no answer within 30 s": 1})


def test_what_came_after_a_pause_is_sorted_by_when_it_came() -> None:
    """Over all rounds: answers a second, median and worst."""
    told = [Told(6.0, [90.0, 20.0, 10.0], [0.1, 0.3, 0.6]), Told(6.0, [50.0, 30.0], [0.2, 0.4])]
    first, second, third, *others = pauses.parts(told)
    assert (first, second) == (Part(4.0, 70.0, 90.0), Part(4.0, 25.0, 30.0))
    assert third == Part(1.0, 10.0, 10.0)
    assert {one.per_s for one in others} == {0.0}


def test_a_server_is_chosen_with_all_its_configurations() -> None:
    """The service itself by its name alone is its defaults."""
    every = contenders.contenders(2)
    names = [one.name for one in contenders.chosen(every, ["effserve", "litserve", "ray-throughput"])]
    assert names == ["effserve", "litserve", "litserve-zmq", "ray-throughput"]
    with pytest.raises(ValueError, match="nobody is called torchserve"):
        contenders.chosen(every, ["torchserve"])


def test_every_peer_has_an_app_and_requirements() -> None:
    """Whose names are those of its environment."""
    for server in contenders.PEERS:
        assert (machine.ROOT / "benchmarks/peers/apps" / f"{server.name}.py").is_file()
        assert (machine.ROOT / "requirements" / f"peers-{server.name}.txt").is_file()


SETTING = Setting(clients=(1, 4), rounds=2)


def turns(name: str, clients: int, *rounds: tuple[float, float]) -> list[Turn]:
    """By answers a second and p50; each p99 is half as much again."""
    return [
        Turn(name, clients, number, per_s, p50_ms, 1.5 * p50_ms, {}, 0.05, 0.01)
        for number, (per_s, p50_ms) in enumerate(rounds)
    ]


def made_up(taken: Sequence[Turn]) -> Study:
    """Of whoever took these turns."""
    servers = {"effserve-threads": OURS, "quick-pool": "quick"}
    names = dict.fromkeys(turn.name for turn in taken)
    return Study(
        machine=Machine("a processor", 2, 8.0, "3.11", "1.32", "abc", "2026-01-01", 0.1),
        setting=SETTING,
        others=(Others("all turns", 10.0, 0.01),),
        photos=4,
        photo_bytes=84_000,
        compared=tuple(Compared(name, servers.get(name, name), name.title(), "1.0", "as it is") for name in names),
        left_out=(LeftOut("Absent", "no wheel"),),
        turns=tuple(taken),
        latencies=tuple(Latency(name, 1, Spread.of([10.0, 20.0])) for name in names),
    )


STUDY = made_up(
    [
        *turns("effserve", 1, (50, 20), (60, 16)),
        *turns("effserve", 4, (120, 33), (90, 44)),
        *turns("effserve-threads", 1, (70, 14), (80, 12)),
        *turns("effserve-threads", 4, (70, 57), (80, 50)),
        *turns("quick", 1, (50, 20), (50, 20)),
        *turns("quick", 4, (80, 50), (100, 40)),
        *turns("quick-pool", 1, (55, 16), (60, 16)),
        *turns("quick-pool", 4, (70, 50), (90, 45)),
        *turns(BARE, 1, (60, 16), (60, 16)),
        *turns(BARE, 4, (100, 20), (100, 20)),
    ]
)


def rows(study: Study, title: str) -> list[list[str]]:
    """Of one table."""
    (table,) = (one for one in page.tables(study) if one.title == title)
    return [list(row) for row in table.rows]


def test_goals_compare_the_best_configurations_round_by_round() -> None:
    """Which they are depends on the number of clients."""
    assert rows(STUDY, "Goals") == [
        ["p50, 1 client", "effserve-threads ÷ quick-pool", "0.81 (0.75 to 0.88)", "≤ 1", "reached"],
        ["p99 ÷ p50, 1 client", "effserve-threads", "1.50 (1.50 to 1.50)", "≤ 1.2", "missed"],
        ["answers a second, 4 clients", "effserve ÷ quick", "1.20 (0.90 to 1.50)", "≥ 1.15", "reached"],
        ["answers a second, 4 clients", "effserve ÷ bare", "1.05 (0.90 to 1.20)", "≥ 0.93", "reached"],
    ]


def test_without_peers_there_is_nothing_to_be_better_than() -> None:
    """What needs none stays."""
    alone = made_up([turn for turn in STUDY.turns if turn.name in (OURS, BARE)])
    assert [row[1] for row in rows(alone, "Goals")] == ["effserve", "effserve ÷ bare"]


def test_errors_are_counted_over_all_turns() -> None:
    """By what was wrong."""
    bad = [replace(turn, errors={"HTTP 503": 2}) if turn.name == "quick" else turn for turn in STUDY.turns]
    assert [row[-1] for row in rows(replace(STUDY, turns=tuple(bad)), "Throughput")][2] == "8 × HTTP 503"


def test_who_was_left_out_is_listed() -> None:
    """With the reason."""
    assert rows(STUDY, "Who was compared")[-1] == ["Absent", "", "left out: no wheel"]


def test_figures_of_a_disturbed_run_say_so() -> None:
    """Beside each table of them."""

    def warned(share: float) -> int:
        study = replace(STUDY, others=(Others("all turns", 10.0, share),))
        return sum("**Disturbed: other processes had 40%" in table.note for table in page.tables(study))

    assert (warned(0.4), warned(0.05)) == (4, 0)


def test_a_study_survives_its_file(tmp_path: Path) -> None:
    """All of it."""
    path = tmp_path / "peers.json"
    path.write_text(json.dumps(asdict(STUDY)))
    assert read(path) == STUDY
