"""`make conformance`: run the clients, and compare docs/conformance.md with what came out; `--write` writes it."""

import argparse
import sys
from collections.abc import Iterable, Mapping

from tests.conformance.clients import ROOT, Results, all_results

PAGE = ROOT / "docs" / "conformance.md"
HEAD = """\
# Conformance

<!-- Written by `python -m tests.conformance --write` from a run. Change the checks in tests/conformance/. -->

What other projects' clients, unmodified, can do with this server: a row for each check, a column for each client, as
`make conformance` found it. An empty cell means that the client has no such call. What the checks do is told in
[triton.py](../tests/conformance/triton.py); the surface is described in [open-inference.md](open-inference.md).

Installed were `{packages}`.

"""


def page(found: Mapping[str, Results], packages: str) -> str:
    """The table, with reasons below it."""
    checks = list(dict.fromkeys(check for results in found.values() for check in results))
    rows = [_row(["check", *(f"`tritonclient.{client}`" for client in found)]), _row(["---"] * (len(found) + 1))]
    rows += [_row([_words(check), *(_cell(results, check) for results in found.values())]) for check in checks]
    failed = [
        f"- {_words(check)}, `tritonclient.{client}`: {reason}\n"
        for client, results in found.items()
        for check, reason in results.items()
        if reason is not None
    ]
    return HEAD.format(packages=packages) + "".join(rows) + "".join(["\n", *failed] if failed else [])


def main() -> int:
    """The exit status: 1 for a check that failed, or a page that says something else."""
    parser = argparse.ArgumentParser(description="Run other projects' clients against a server.")
    parser.add_argument("--write", action="store_true", help="write docs/conformance.md")
    writing = parser.parse_args().write
    requirements = (ROOT / "requirements" / "conformance.txt").read_text().splitlines()
    found = all_results()
    made = page(found, ", ".join(line for line in requirements if line and not line.startswith("#")))
    if writing:
        PAGE.write_text(made, encoding="utf-8")
    sys.stdout.write(made.partition("Installed were")[2])
    failed = any(reason is not None for results in found.values() for reason in results.values())
    stale = made != PAGE.read_text(encoding="utf-8")
    if stale:
        sys.stderr.write("docs/conformance.md says something else: run `python -m tests.conformance --write`\n")
    return 1 if failed or stale else 0


def _words(check: str) -> str:
    return check.replace("_", " ")


def _cell(results: Results, check: str) -> str:
    if check not in results:
        return ""
    return "pass" if results[check] is None else "**fail**"


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |\n"


if __name__ == "__main__":
    sys.exit(main())
