"""Writes the pages of this folder that repeat what the code says; `--check` only compares.

Settings, metrics and errors are tables in the code, and each is described there once. These pages are made from them,
so that they cannot disagree. Defaults that depend on the machine are shown as their description states them.

Pages about measurements are written by hand, but for their tables, which are made from the file of results that a
marker names: `<!-- figures of benchmarks/results/FILE.json: TITLE, TITLE -->` up to `<!-- end of figures -->`.
"""

import argparse
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from pathlib import Path

from pydantic.fields import FieldInfo

from benchmarks import coverage, footprint, soak
from benchmarks.decode import page as decode
from benchmarks.decode import study as decode_study
from benchmarks.g16 import page as g16
from benchmarks.g16 import study as g16_study
from benchmarks.layouts import page as layouts
from benchmarks.layouts import study as layouts_study
from benchmarks.peers import page as peers
from benchmarks.peers import study as peers_study
from benchmarks.realtime import page as realtime
from benchmarks.realtime import validation
from benchmarks.report import Table
from benchmarks.scheduling import page as scheduling
from service import settings
from service.core.errors import ErrorKind
from service.core.messages import ChangeKind
from service.core.values import AccuracySource, Reason
from service.edges.status import STATUS
from service.simulation import study
from service.telemetry import table as metrics

FOLDER = Path(__file__).resolve().parent
OWN_VARIABLES = {
    "EFFSERVE_CONFIG": "Settings file of `effserve serve`, as `--config` names it.",
    "EFFSERVE_URL": "Server that `effserve classify`, `plan`, `variants`, `reload` and `top` ask, as `--url` names it.",
}

SETTINGS = """\
# Settings

<!-- Written by docs/generate.py from service/settings.py. Change it there. -->

A flag wins over the environment, the environment over the settings file, the file over the default. A name that is not
a setting and a value out of its range end the start with one line that names them. Settings do not change while the
service runs.

One thing is set that is no setting of the service: the limit of open files, of which each connection is one. The soft
limit (`ulimit -Sn`, often 1,024) is raised to the hard one at the start, so raise the hard one (`LimitNOFILE=` in a
unit of systemd, `ulimits` in a compose file) where more connections are wanted.

The file is TOML with one table for each group; `--config FILE` or `EFFSERVE_CONFIG` names it:

```toml
[http]
port = 8080

[routing]
default_budget_ms = 50
```

`effserve serve --help` lists the settings that also have a flag.

{groups}
## Variables that are not settings

The command line reads these itself.

{own}"""

METRICS = """\
# Metrics

<!-- Written by docs/generate.py from service/telemetry/table.py. Change it there. -->

`GET /metrics` answers in Prometheus' text format, or in OpenMetrics when the `Accept` header asks for it. Beside these
stand `process_*` and `python_info` of the client library. Times are in seconds. A histogram has the series `_bucket`,
`_sum` and `_count`.

With several [workers](scaling.md) each of them answers for all: `workers` says what is shown of their values. Counts of
a worker that was killed remain, but for its last five seconds.

{table}
## Labels

Values come from closed sets: nothing that a client makes up becomes a label.

{labels}
## Buckets

The budgets people ask for are bucket limits, so the share of requests inside such a budget is exact.

{buckets}"""

ERRORS = """\
# Errors

<!-- Written by docs/generate.py from service/edges/status.py. Change it there. -->

Every failure has a kind, the same on both protocols, which never changes once released. Over HTTP it is the member
`kind` of an `application/problem+json` document (RFC 9457), whose `type` leads to `/problems/<kind>`; over gRPC, the
trailer `effserve-error-kind`.

{table}"""


def settings_page() -> str:
    """One table for each group."""
    groups = "\n".join(_group(name) for name in settings.groups())
    own = _table(
        ("variable", "meaning"), ((_code(name), OWN_VARIABLES[name]) for name in sorted(settings.NOT_SETTINGS))
    )
    return SETTINGS.format(groups=groups, own=own)


def metrics_page() -> str:
    """All metrics, their labels and their buckets."""
    rows = (
        (_code(spec.exposed_name), spec.kind.value, _codes(spec.labels), spec.workers.value, spec.meaning)
        for spec in metrics.TABLE
    )
    buckets = ((_code(spec.exposed_name), ", ".join(f"{b:g}" for b in spec.buckets)) for spec in _histograms())
    return METRICS.format(
        table=_table(("metric", "type", "labels", "workers", "meaning"), rows),
        labels=_table(("label", "values"), ((_code(name), values) for name, values in LABELS.items())),
        buckets=_table(("histogram", "upper limits"), buckets),
    )


def errors_page() -> str:
    """All kinds of failure, in the order of their definition."""
    rows = (
        (_code(kind), str(status.http), _code(status.grpc.name), status.title, status.advice)
        for kind, status in ((kind, STATUS[kind]) for kind in ErrorKind)
    )
    return ERRORS.format(table=_table(("kind", "HTTP", "gRPC", "title", "what to do"), rows))


PAGES: dict[str, Callable[[], str]] = {
    "settings.md": settings_page,
    "metrics.md": metrics_page,
    "errors.md": errors_page,
}

WITH_FIGURES = (
    "g16.md",
    "layouts.md",
    "memory.md",
    "performance.md",
    "preprocessing.md",
    "scheduling.md",
    "validation.md",
)
"""Pages with tables from a file of results, where they are there."""
RESULTS: dict[str, Callable[[Path], list[Table]]] = {
    "decode": lambda path: decode.tables(decode_study.read(path)),
    "g16": lambda path: g16.tables(g16_study.read(path)),
    "layouts": lambda path: layouts.tables(layouts_study.read(path)),
    "peers": lambda path: peers.tables(peers_study.read(path)),
    "scheduling": lambda path: scheduling.tables(study.read(path)),
    "realtime": lambda path: realtime.tables(validation.read(path)),
    "soak": lambda path: soak.tables(soak.read(path)),
    "footprint": lambda path: footprint.tables(footprint.read(path)),
    "coverage": lambda path: coverage.page_tables(coverage.read(path)),
}
"""Tables of a file of results, by the beginning of its name."""
FIGURES = re.compile(
    r"(?P<begin><!-- figures of (?P<file>\S+): (?P<titles>[^>]+) -->\n).*?(?P<end><!-- end of figures -->)", re.DOTALL
)


def page_with_figures(text: str, root: Path) -> str:
    """The page with the tables that its markers name made anew. Raises `ValueError`, `OSError`."""
    page, made = FIGURES.subn(lambda found: f"{found['begin']}\n{_figures(found, root)}{found['end']}", text)
    if made == 0 or made != text.count("<!-- figures of "):
        raise ValueError("a page of figures has no marker, or one that is not as docs/generate.py describes it")
    return page


def _figures(found: re.Match[str], root: Path) -> str:
    path = root / found["file"]
    kind = next((kind for kind in RESULTS if path.name.startswith(kind)), None)
    if kind is None:
        raise ValueError(f"{found['file']} is of no kind that has tables; they begin with {' or '.join(RESULTS)}")
    there = {table.title: table for table in RESULTS[kind](path)}
    titles = [title.strip() for title in found["titles"].split(",")]
    if unknown := set(titles) - set(there):
        raise ValueError(f"no tables {', '.join(sorted(unknown))} in {found['file']}; there are {', '.join(there)}")
    return "".join(_markdown(there[title]) for title in titles)


def _markdown(table: Table) -> str:
    rows = (tuple(row) for row in table.rows)
    note = f"{table.note}\n\n" if table.note else ""
    return f"{_table(tuple(table.headings), rows)}\n{note}"


def main(arguments: list[str] | None = None, folder: Path = FOLDER) -> int:
    """Write the pages, or compare them; the exit status."""
    parser = argparse.ArgumentParser(description="Write the pages that are made from the code.")
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 when a page is out of date")
    checking = parser.parse_args(arguments).check
    wanted = {name: page() for name, page in PAGES.items()} | {
        name: page_with_figures((folder / name).read_text(encoding="utf-8"), folder.parent)
        for name in WITH_FIGURES
        if (folder / name).is_file()
    }
    stale = differing(wanted, folder)
    if checking:
        if stale:
            sys.stderr.write(f"{', '.join(stale)} in docs/ differ from the code: run `make docs`\n")
        return 1 if stale else 0
    for name in stale:
        (folder / name).write_text(wanted[name], encoding="utf-8")
    return 0


def differing(wanted: Mapping[str, str], folder: Path) -> list[str]:
    """Names of the pages that are missing in `folder` or have other content there."""
    return [
        name
        for name, text in wanted.items()
        if not (folder / name).is_file() or (folder / name).read_text(encoding="utf-8") != text
    ]


def _group(name: str) -> str:
    model = settings.groups()[name]
    fields = ((f"{name}.{key}", field) for key, field in model.model_fields.items())
    rows = ((_code(full), _code(settings.variable(full)), *_default_and_meaning(field)) for full, field in fields)
    table = _table(("setting", "environment variable", "default", "meaning"), rows)
    return f"## {name}\n\n{model.__doc__}\n\n{table}"


def _default_and_meaning(field: FieldInfo) -> tuple[str, str]:
    """A default that depends on the machine stands in the description, after `Default: `."""
    meaning = field.description or ""
    if field.default_factory is None:
        return _value(field.default), meaning
    meaning, _, default = meaning.partition(" Default: ")
    return default.removesuffix("."), meaning


def _value(value: object) -> str:
    if value is None:
        return "none"
    if isinstance(value, Enum):
        return _code(value.value)
    if isinstance(value, bool):
        return _code(str(value).lower())
    return _code(f"{value:g}" if isinstance(value, float) else str(value))


def _histograms() -> Iterable[metrics.Spec]:
    return (spec for spec in metrics.TABLE if spec.kind is metrics.Kind.HISTOGRAM)


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    return "".join(_line(cells) for cells in (head, ("---",) * len(head), *rows))


def _line(cells: tuple[str, ...]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |\n"


def _code(text: str) -> str:
    return f"`{text}`"


def _codes(texts: Iterable[str]) -> str:
    return ", ".join(map(_code, texts))


LABELS = {
    "protocol": "`http`, `grpc`",
    "variant": f"the names of variants in the store; {_code(metrics.NO_VARIANT)} when none answered",
    "version": "the served version of the variant",
    "outcome": f"requests: `answered`, {_codes(ErrorKind)}; budgets: `met`, `missed`, `unattainable`, `shed`, "
    "`infeasible`, `failed`; spans: `exported`, `failed` (the collector did not take them), `dropped` (too many "
    "waited)",
    "budget": f"{_codes(metrics.BUDGET_CLASSES.values())}: the budget was at most that",
    "lanes": "`foreground`, `background`",
    "change": _codes(kind for kind in ChangeKind if kind is not ChangeKind.KEPT),
    "reason": _codes(Reason),
    "source": _codes(AccuracySource),
    "trained": "`true`, `false`",
}
"""What each label can be."""


if __name__ == "__main__":
    sys.exit(main())
