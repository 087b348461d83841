"""The client commands: classify, plan and variants against a running server, over HTTP or gRPC."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import typer
from rich.markup import escape

from service.client import Answer, Client, ClientError, LocalKind
from service.client.asking import ClassifyOptions, PlanOptions
from service.client.values import Candidate, Variant
from service.commands.console import fail, out, print_json, print_table
from service.core.errors import ErrorKind

OF_IMAGES = frozenset(
    {
        ErrorKind.EMPTY_IMAGE,
        ErrorKind.UNDECODABLE_IMAGE,
        ErrorKind.IMAGE_TOO_LARGE,
        ErrorKind.TOO_MANY_PIXELS,
        ErrorKind.UNSUPPORTED_MEDIA_TYPE,
    }
)
"""Failures that are one file's; the others are of what was asked about all of them, or of the server."""


def classify(files: list[Path], *, url: str, asked: ClassifyOptions, as_json: bool, anytime: bool = False) -> None:
    """Send each file; print one block an answer, or one JSON document: the answer, or a list of them for several files.

    With `anytime` a file has several answers; each is printed as it comes, and JSON has a list of them for it. Fails on
    the first error answer.
    """
    found: list[object] = []
    with _asking(url) as client:
        for path in files:
            image = _content(path)
            answers = []
            with _about(path):
                for answer in client.classify_anytime(image, **asked) if anytime else [client.classify(image, **asked)]:
                    answers.append(asdict(answer))
                    if not as_json:
                        _show_answer(path, answer)
            found.append(answers if anytime else answers[0])
    if as_json:
        print_json(found if len(files) > 1 else found[0])


def plan(*, url: str, asked: PlanOptions, as_json: bool) -> None:
    """What a request would get now."""
    with _asking(url) as client:
        answer = client.plan(**asked)
    if as_json:
        print_json(asdict(answer))
        return
    decision = answer.decision
    out.print(f"[bold]{escape(decision.variant)}[/bold]  {escape(decision.why)}", highlight=False)
    if answer.would_be_refused:
        smallest = f"{answer.smallest_feasible_budget_ms:g} ms would do now"
        out.print(f"  would be refused in strict mode; {smallest}", style="yellow", highlight=False)
    rows = [_candidate_row(candidate) for candidate in decision.candidates or ()]
    columns = [("variant", "left"), ("top-1", "right"), ("mean", "right"), ("tail", "right"), ("verdict", "left")]
    print_table("", columns, rows)


def variants(*, url: str, as_json: bool) -> None:
    """The live accuracy/latency/cost table."""
    with _asking(url) as client:
        answer = client.variants()
    if as_json:
        print_json(asdict(answer))
        return
    columns = [
        ("variant", "left"), ("px", "right"), ("GMACs", "right"), ("top-1", "right"), ("source", "left"),
        ("mean ms", "right"), ("tail ms", "right"), ("MB", "right"),
        ("routed", "left"), ("answers", "right"), ("why", "left"),
    ]  # fmt: skip
    print_table("", columns, [_variant_row(row) for row in answer.variants])
    for refused in answer.refused:
        entry = f"{refused.name} version {refused.version}: {refused.reason}"
        out.print(f"not served: {entry}", style="red", highlight=False, markup=False)


def reload(*, url: str, as_json: bool) -> None:
    """Make what a server serves equal to its store; one line for each variant. Exit status 1 when one was refused."""
    with _asking(url) as client:
        changes = client.reload()
    if as_json:
        print_json(asdict(changes))
    for change in () if as_json else changes.changes:
        reason = f": {change.reason}" if change.reason else ""
        style = "red" if change.change == "refused" else None
        said = f"{change.change} {change.name} version {change.version}{reason}"
        out.print(said, style=style, highlight=False, markup=False)
    if any(change.change == "refused" for change in changes.changes):
        raise typer.Exit(1)


@contextmanager
def _asking(url: str) -> Iterator[Client]:
    """A client; what keeps its answers away ends the command with one line."""
    try:
        client = Client(url)
    except ValueError as error:
        fail(str(error))
    hints = {
        LocalKind.NO_ANSWER: "; is `effserve serve` running, and is --url right?",
        LocalKind.NOT_EFFSERVE: "; is --url right?",
    }
    try:
        with client:
            yield client
    except ClientError as error:
        hint = next((said for kind, said in hints.items() if kind == error.kind), None)
        fail(str(error) if hint is None else error.detail + hint)


@contextmanager
def _about(path: Path) -> Iterator[None]:
    """What a server says against an image is told with the image's name."""
    try:
        yield
    except ClientError as error:
        if error.kind not in OF_IMAGES:
            raise
        fail(f"{path}: {error}")


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        fail(f"cannot read {path}: {error.strerror}")


def _candidate_row(row: Candidate) -> list[str]:
    return [row.variant, _percent(row.top1), _ms(row.expected_ms), _ms(row.tail_ms), row.verdict.replace("_", " ")]


def _variant_row(row: Variant) -> list[str]:
    return [
        row.name,
        str(row.input_size_px),
        f"{row.macs / 1e9:.2f}",
        _percent(row.accuracy.top1),
        row.accuracy.source if row.trained else "untrained",
        f"{row.expected_ms:.1f}",
        f"{row.tail_ms:.1f}",
        f"{row.memory_bytes / 1e6:.0f}" if row.resident else f"({row.memory_bytes / 1e6:.0f})",
        "yes" if row.routed else "",
        str(row.answers),
        row.not_routed,
    ]


def _show_answer(path: Path, answer: Answer) -> None:
    met = "[green]met[/green]" if answer.met else "[red]missed[/red]"
    became = met if answer.final else "so far"
    spent = f"{answer.timing_ms.total:.1f} of {answer.budget.requested_ms:g} ms"
    out.print(f"[bold]{escape(path.name)}[/bold]  {escape(answer.variant)}  {spent}, {became}", highlight=False)
    out.print(f"  {answer.decision.why}", style="dim", highlight=False, markup=False)
    for warning in answer.warnings:
        out.print(f"  warning: {warning}", style="yellow", highlight=False, markup=False)
    for prediction in answer.predictions:
        out.print(f"  {prediction.probability:7.2%}  {prediction.label}", highlight=False, markup=False)


def _ms(value: float) -> str:
    return f"{value:.1f} ms"


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"
