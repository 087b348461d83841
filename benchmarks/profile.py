"""Where each microsecond of a request goes when all cores are at work: `python -m benchmarks.profile --store DIR`.

Clients keep the service saturated with B0 over HTTP, and three things look at it. The kernel's counts say whose
processor time it was, and whether that comes to the wall clock times the cores. The lanes' own clock and ONNX Runtime's
profile say what lanes did, operator by operator; the profile is switched on from outside (`benchmarks.instrumented`),
and costs a per cent or two. py-spy, in a second turn that counts for nothing else, says where Python was.
"""

import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer
from prometheus_client.parser import text_string_to_metric_families

from benchmarks import machine, photos, report
from benchmarks.clients import HOST
from benchmarks.instrumented import through
from benchmarks.peers import loader
from benchmarks.peers.contenders import Manner
from benchmarks.peers.loader import Asked
from benchmarks.report import Table, say
from benchmarks.server import SETTLE_S, Server, plain_store, serving
from service.pipeline.cpus import usable_cores
from service.telemetry import table as metrics

VARIANT = "b0"
MANNER = Manner(f"/classify?variant={VARIANT}&budget_ms=60000")
"""With a budget that refuses nobody."""
SHOWN = 12
"""Operators, or places in Python."""
SAMPLES_PER_S = 200
PYSPY = Path(sys.executable).with_name("py-spy")


@dataclass(frozen=True, slots=True)
class Counts:
    """Seconds so far, and requests."""

    at_ns: int
    """Since 1970: the runtime's profile has that clock."""
    cpu_s: dict[str, float]
    """Processor time by whose it was; `all` is that of all cores, `idle` what nobody had of it."""
    answers: float
    decode_s: float
    run_s: float


@dataclass(frozen=True, slots=True)
class Saturated:
    """What a turn came to, in microseconds for each answer."""

    answers_per_s: float
    wall_us: float
    """The wall clock times the cores."""
    cpu_us: dict[str, float]
    lanes_us: float
    """The wall clock times the lanes."""
    decode_us: float
    run_us: float
    operators_us: dict[str, float]
    """By kind, the most first; `model_run` is what the runtime says of a whole run."""


@dataclass(frozen=True, slots=True)
class Sampled:
    """What py-spy saw: samples by thread and place, and of those, or the reason why it saw nothing."""

    places: dict[str, int]
    reason: str = ""


def measure(
    store: Path, images: Sequence[bytes], *, clients: int, seconds: float, calibrate_s: float
) -> tuple[Saturated, Sampled]:
    """Two turns of one server."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "profiles.json"
        with serving(store, calibrate_s=calibrate_s, program=through("operators", file)) as server:
            with _asking(server, images, Path(folder), clients, SETTLE_S + 2 * seconds + 5) as asking:
                time.sleep(SETTLE_S)
                before = _counts(server, asking)
                time.sleep(seconds)
                after = _counts(server, asking)
                sampled = _sampled(server, Path(folder) / "stacks", seconds)
            lanes = _lanes(server)
        operators = _operators(json.loads(file.read_text()), before.at_ns, after.at_ns)
    return _between(before, after, operators, lanes), sampled


@contextmanager
def _asking(
    server: Server, images: Sequence[bytes], folder: Path, clients: int, seconds: float
) -> Iterator["subprocess.Popen[str]"]:
    """Clients as the comparison with other servers has them; they end when they are not needed any more."""
    requests = [folder / f"{number:04}" for number in range(len(images))]
    for path, image in zip(requests, images, strict=True):
        path.write_bytes(MANNER.request(image))
    # Whether the class is right is not asked here.
    asked = Asked(server.http_port, list(map(str, requests)), [0] * len(images), "(0)", clients, 0.0, seconds)
    (folder / "asked.json").write_text(json.dumps(asdict(asked)))
    command = [sys.executable, "-I", loader.__file__, str(folder / "asked.json")]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, text=True) as process:
        try:
            yield process
        finally:
            process.terminate()


def _counts(server: Server, asking: "subprocess.Popen[str]") -> Counts:
    sums = _sums(server)
    threads = machine.threads(server.pid)
    whole = machine.cores()
    cpu_s = {
        "lanes": sum(one.user_s for one in threads if one.gives_way),
        "lanes, in the kernel": sum(one.system_s for one in threads if one.gives_way),
        "event loop": sum(one.user_s for one in threads if one.first),
        "event loop, in the kernel": sum(one.system_s for one in threads if one.first),
        "other threads of the service": sum(one.cpu_s for one in threads if not one.first and not one.gives_way),
        "clients": machine.cpu_s(asking.pid),
    }
    cpu_s["others: processes, interrupts, the host"] = whole.busy_s - sum(cpu_s.values())
    cpu_s["idle"] = whole.idle_s
    decode, run = metrics.DECODE.name, metrics.INFERENCE.name
    return Counts(time.time_ns(), cpu_s, sums[f"{run}_count"], sums[f"{decode}_sum"], sums[f"{run}_sum"])


def _sums(server: Server) -> defaultdict[str, float]:
    """Of each metric, over all its labels."""
    sums = defaultdict[str, float](float)
    for family in text_string_to_metric_families(_text(server, "/metrics")):
        for sample in family.samples:
            sums[sample.name] += sample.value
    return sums


def _lanes(server: Server) -> int:
    lanes: int = json.loads(_text(server, "/healthz"))["lanes"]
    return lanes


def _text(server: Server, path: str) -> str:
    with urllib.request.urlopen(f"http://{HOST}:{server.http_port}{path}") as answer:
        text: bytes = answer.read()
    return text.decode()


def _between(before: Counts, after: Counts, operators: dict[str, float], lanes: int) -> Saturated:
    answers, wall_s = after.answers - before.answers, (after.at_ns - before.at_ns) / 1e9

    def us(seconds: float) -> float:
        return round(seconds / answers * 1e6, 1)

    return Saturated(
        answers_per_s=answers / wall_s,
        wall_us=us(wall_s * (os.cpu_count() or 1)),
        cpu_us={whose: us(after.cpu_s[whose] - before.cpu_s[whose]) for whose in after.cpu_s},
        lanes_us=us(wall_s * lanes),
        decode_us=us(after.decode_s - before.decode_s),
        run_us=us(after.run_s - before.run_s),
        operators_us=operators,
    )


def _operators(profiles: Sequence[tuple[int, str]], begin_ns: int, end_ns: int) -> dict[str, float]:
    """Microseconds of a run within the turn, by the runtime's own clock."""
    spent, runs = defaultdict[str, float](float), 0
    for started_ns, path in profiles:
        for event in json.loads(Path(path).read_text()):
            if not begin_ns <= started_ns + event.get("ts", 0) * 1000 < end_ns:
                continue
            if event["name"] == "model_run":
                spent["model_run"] += event["dur"]
                runs += 1
            elif event["cat"] == "Node" and event["name"].endswith("_kernel_time"):
                spent[event["args"]["op_name"]] += event["dur"]
    return {name: round(us / max(runs, 1), 1) for name, us in sorted(spent.items(), key=lambda one: -one[1])}


def _sampled(server: Server, file: Path, seconds: float) -> Sampled:
    """Another turn, because looking takes time from who is looked at."""
    if not PYSPY.exists():
        return Sampled({}, "py-spy is not installed")
    rate, lasting = str(SAMPLES_PER_S), str(max(round(seconds), 1))
    looked = subprocess.run(
        [PYSPY, "record", "--pid", str(server.pid), "--duration", lasting, "--rate", rate, "--threads",
         "--nonblocking", "--format", "raw", "--output", file],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if looked.returncode:
        return Sampled({}, f"py-spy: {looked.stderr.strip().rpartition(chr(10))[2]}")
    return Sampled(dict(_places(file.read_text().splitlines()).most_common()))


def _places(lines: Sequence[str]) -> Counter[str]:
    """Of each stack the thread and the innermost function of the service, or the innermost of all."""
    places = Counter[str]()
    for line in lines:
        stack, _, samples = line.rpartition(" ")
        thread, *frames = stack.split(";")
        ours = [frame for frame in frames if "service/" in frame] or frames or ["nothing of Python"]
        who = "lanes" if "lane-" in thread else "event loop" if "MainThread" in thread else "other threads"
        places[f"{who}: {ours[-1].rpartition(':')[0] or ours[-1]})"] += int(samples)
    return places


def tables(found: Saturated, sampled: Sampled) -> Iterator[Table]:
    """Processor time, lanes, operators, places in Python."""
    rows = [(whose, f"{us:.0f}", f"{us / found.wall_us:.1%}") for whose, us in found.cpu_us.items()]
    whole = sum(found.cpu_us.values())
    rows += [
        ("sum", f"{whole:.0f}", f"{whole / found.wall_us:.1%}"),
        ("wall clock × cores", f"{found.wall_us:.0f}", ""),
    ]
    note = (
        f"Microseconds for each answer, of which there were {found.answers_per_s:.1f} a second. By the kernel's counts."
    )
    yield Table("Processor time of a request", ("", "µs", "share"), rows, note)
    between_us = found.lanes_us - found.decode_us - found.run_us
    parts = (
        ("decoding", found.decode_us),
        ("run", found.run_us),
        ("between", between_us),
        ("wall clock × lanes", found.lanes_us),
    )
    rows = [(what, f"{us:.0f}", f"{us / found.lanes_us:.1%}") for what, us in parts]
    note = (
        "By the lanes' clock, which goes on while a lane waits for a core. Between: neither, whether or not it waits."
    )
    yield Table("What lanes did", ("", "µs", "share"), rows, note)
    run_us = found.operators_us.get("model_run", 0.0)
    operators = {name: us for name, us in found.operators_us.items() if name != "model_run"}
    rows = [(name, f"{us:.0f}", f"{us / run_us:.1%}") for name, us in itertools.islice(operators.items(), SHOWN)]
    rest_us = run_us - sum(itertools.islice(operators.values(), SHOWN))
    if run_us:
        rows += [
            ("the rest, and between them", f"{rest_us:.0f}", f"{rest_us / run_us:.1%}"),
            ("run", f"{run_us:.0f}", ""),
        ]
    yield Table("A run by operator", ("", "µs", "share"), rows, "By ONNX Runtime's profile.")
    yield _places_table(sampled)


def _places_table(sampled: Sampled) -> Table:
    whole = sum(sampled.places.values())
    rows = [(place, f"{n / whole:.1%}") for place, n in itertools.islice(sampled.places.items(), SHOWN)]
    note = sampled.reason and f"Skipped: {sampled.reason}."
    return Table("Where Python was", ("", "share"), rows, note or f"Of {whole} samples of threads that were at work.")


def main(
    store: Annotated[Path, typer.Option(help="Model store with B0.")],
    clients: Annotated[int | None, typer.Option(min=1, help="Default: twice the cores.")] = None,
    seconds: Annotated[float, typer.Option(min=1, help="Of each of the two turns.")] = 5.0,
    calibrate_s: Annotated[float, typer.Option(help="For each variant at the start.")] = 0.5,
    out: Annotated[Path | None, typer.Option(help="Result file (JSON); default: none.")] = None,
) -> None:
    """Measure, and print the tables."""
    here, others = machine.describe(), list[machine.Others]()
    with plain_store(store, [VARIANT]) as plain, machine.watching("profile", others):
        found, sampled = measure(
            plain, photos.read(None), clients=clients or 2 * usable_cores(), seconds=seconds, calibrate_s=calibrate_s
        )
    report.show([report.machine_table(here), report.others_table(others), *tables(found, sampled)])
    if out is not None:
        sections = {"machine": asdict(here), "others": [asdict(one) for one in others]}
        report.write(out, sections | {"saturated": asdict(found), "sampled": asdict(sampled)})
        say(f"written to {out}")


if __name__ == "__main__":
    typer.run(main)
