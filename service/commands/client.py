"""The client commands: classify, plan and variants against a running server, over HTTP."""

import json
import mimetypes
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import httpx
from rich.markup import escape

from service.commands.console import fail, out, print_json, print_table

TIMEOUT_S = 60.0
EVENTS = "text/event-stream"


def classify(files: list[Path], *, url: str, params: dict[str, Any], as_json: bool, anytime: bool = False) -> None:
    """Send each file; print one block an answer, or one JSON document: the answer, or a list of them for several files.

    With `anytime` a file has several answers; each is printed as it comes, and JSON has a list of them for it. Fails on
    the first error answer.
    """
    found: list[object] = []
    with _client(url) as client:
        for path in files:
            answers = []
            for answer in (_better_and_better if anytime else _once)(client, path, params):
                answers.append(answer)
                if not as_json:
                    _show_answer(path, answer)
            found.append(answers if anytime else answers[0])
    if as_json:
        print_json(found if len(files) > 1 else found[0])


def plan(*, url: str, params: dict[str, Any], as_json: bool) -> None:
    """What a request would get now."""
    with _client(url) as client:
        answer = _checked(partial(client.get, "/plan", params=params))
    if as_json:
        print_json(answer)
        return
    decision = answer["decision"]
    out.print(f"[bold]{escape(decision['variant'])}[/bold]  {escape(decision['why'])}", highlight=False)
    if answer["would_be_refused"]:
        smallest = f"{answer['smallest_feasible_budget_ms']:g} ms would do now"
        out.print(f"  would be refused in strict mode; {smallest}", style="yellow", highlight=False)
    rows = [_candidate_row(candidate) for candidate in decision["candidates"]]
    columns = [("variant", "left"), ("top-1", "right"), ("mean", "right"), ("tail", "right"), ("verdict", "left")]
    print_table("", columns, rows)


def variants(*, url: str, as_json: bool) -> None:
    """The live accuracy/latency/cost table."""
    with _client(url) as client:
        answer = _checked(partial(client.get, "/variants"))
    if as_json:
        print_json(answer)
        return
    columns = [
        ("variant", "left"), ("px", "right"), ("GMACs", "right"), ("top-1", "right"), ("source", "left"),
        ("mean ms", "right"), ("tail ms", "right"), ("routed", "left"), ("answers", "right"),
    ]  # fmt: skip
    print_table("", columns, [_variant_row(row) for row in answer["variants"]])
    for refused in answer.get("refused", []):
        entry = f"{refused['name']} version {refused['version']}: {refused['reason']}"
        out.print(f"not served: {entry}", style="red", highlight=False, markup=False)


def _once(client: httpx.Client, path: Path, params: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield _checked(partial(client.post, "/classify", **_upload(path), params=params))


def _better_and_better(client: httpx.Client, path: Path, params: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Each answer as it comes, the last one final."""
    name = ""
    try:
        with client.stream("POST", "/classify/anytime", **_upload(path), params=params) as response:
            if not response.headers.get("Content-Type", "").startswith(EVENTS):
                response.read()
                _checked(lambda: response)
                _fail_foreign(response)
            for name, document in _events(response.iter_lines()):
                if name == "error":
                    _fail_with(document.get("status", 500), document)
                yield document
    except httpx.HTTPError as error:
        _fail_unreachable(error)
    except json.JSONDecodeError:
        fail(f"{client.base_url} sends events that are none of effserve; is --url right?")
    if name != "final":
        fail("the server ended the connection before its last answer")


def _events(lines: Iterable[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Name and document of each server-sent event."""
    name = ""
    for line in lines:
        field, _, value = line.partition(": ")
        if field == "event":
            name = value
        elif field == "data":
            yield name, json.loads(value)


def _candidate_row(row: dict[str, Any]) -> list[str]:
    verdict = row["verdict"].replace("_", " ")
    return [row["variant"], _percent(row["top1"]), _ms(row["expected_ms"]), _ms(row["tail_ms"]), verdict]


def _variant_row(row: dict[str, Any]) -> list[str]:
    return [
        row["name"],
        str(row["input_size_px"]),
        f"{row['macs'] / 1e9:.2f}",
        _percent(row["accuracy"]["top1"]),
        row["accuracy"]["source"] if row["trained"] else "untrained",
        f"{row['expected_ms']:.1f}",
        f"{row['tail_ms']:.1f}",
        "yes" if row["routed"] else "",
        str(row["answers"]),
    ]


def _show_answer(path: Path, answer: dict[str, Any]) -> None:
    decision, timing, budget = answer["decision"], answer["timing_ms"], answer["budget"]
    met = "[green]met[/green]" if budget["met"] else "[red]missed[/red]"
    became = met if answer["final"] else "so far"
    spent = f"{timing['total']:.1f} of {budget['requested_ms']:g} ms"
    out.print(f"[bold]{escape(path.name)}[/bold]  {escape(decision['variant'])}  {spent}, {became}", highlight=False)
    out.print(f"  {decision['why']}", style="dim", highlight=False, markup=False)
    for warning in answer["warnings"]:
        out.print(f"  warning: {warning}", style="yellow", highlight=False, markup=False)
    for prediction in answer["predictions"]:
        out.print(f"  {prediction['probability']:7.2%}  {prediction['label']}", highlight=False, markup=False)


def _client(url: str) -> httpx.Client:
    try:
        return httpx.Client(base_url=url, timeout=TIMEOUT_S)
    except httpx.InvalidURL as error:
        fail(f"{url} is not a URL: {error}")


def _upload(path: Path) -> dict[str, Any]:
    try:
        content = path.read_bytes()
    except OSError as error:
        fail(f"cannot read {path}: {error.strerror}")
    guessed = mimetypes.guess_type(path.name)[0] or ""
    media_type = guessed if guessed.startswith("image/") else "application/octet-stream"
    return {"content": content, "headers": {"Content-Type": media_type}}


def _checked(request: Callable[[], httpx.Response]) -> dict[str, Any]:
    """The JSON of a good answer; anything else ends the command with one line."""
    try:
        response = request()
    except httpx.HTTPError as error:
        _fail_unreachable(error)
    body = _document(response)
    if not response.is_success:
        _fail_with(response.status_code, {"title": response.reason_phrase, **body})
    if not body:
        _fail_foreign(response)
    return body


def _fail_with(status: int, problem: dict[str, Any]) -> NoReturn:
    fail(f"{status} {problem.get('title', '')}: {problem.get('detail', '')}")


def _fail_unreachable(error: httpx.HTTPError) -> NoReturn:
    fail(f"no answer from the server ({error}); is `effserve serve` running, and is --url right?")


def _fail_foreign(response: httpx.Response) -> NoReturn:
    fail(f"{response.url} is no answer of effserve; is --url right?")


def _document(response: httpx.Response) -> dict[str, Any]:
    """The JSON object in the answer; empty when there is none."""
    try:
        body = response.json()
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def _ms(value: float) -> str:
    return f"{value:.1f} ms"


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"
