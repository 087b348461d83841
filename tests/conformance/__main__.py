"""`make conformance`: run the clients, and compare docs/conformance.md with what came out; `--write` writes it."""

import argparse
import sys
import textwrap
from collections.abc import Iterable, Mapping

from tests.conformance.clients import ROOT, SUITES, Results, Suite, all_results

PAGE = ROOT / "docs" / "conformance.md"
HEAD = """\
# Conformance

<!-- Written by `python -m tests.conformance --write` from a run. Change the checks in tests/conformance/. -->

What other projects' clients, unmodified, can do with this server: a row for each check, a column for each client, as
`make conformance` found it. An empty cell means that the client has no such call. The surface is described in
[open-inference.md](open-inference.md), how to use some of these clients in [clients.md](clients.md).

What needs no client is tested on every machine, by `make test`: that the protocol's documents have the
[shape](../tests/contract/test_oip_shape.py) that its OpenAPI file gives them, that the messages have its
[numbers](../tests/docs/test_oip_wire.py), and that a client which knows nothing but
[reflection](../tests/contract/test_reflection.py) can call everything.
"""


def section(suite: Suite, found: Mapping[str, Results]) -> str:
    """One table, with reasons below it."""
    checks = list(dict.fromkeys(check for results in found.values() for check in results))
    rows = [
        _row(["check", *(f"`{suite.clients[client]}`" for client in found)]),
        _row(["---"] * (len(found) + 1)),
        *(_row([_words(check), *(_cell(results, check) for results in found.values())]) for check in checks),
    ]
    failed = [
        f"- {_words(check)}, `{suite.clients[client]}`: {reason}\n"
        for client, results in found.items()
        for check, reason in results.items()
        if reason is not None
    ]
    packages = ", ".join(f"`{package}`" for package in suite.packages)
    intro = textwrap.fill(suite.intro, 120, break_long_words=False, break_on_hyphens=False)
    head = f"\n## {suite.title}\n\n{intro}\n\nInstalled: {packages}.\n\n"
    return head + "".join(rows) + "".join(["\n", *failed] if failed else [])


def main() -> int:
    """The exit status: 1 for a check that failed, or a page that says something else.

    A suite that cannot be installed on this machine is left out, and said to be; the page is then neither compared nor
    written.
    """
    parser = argparse.ArgumentParser(description="Run other projects' clients against a server.")
    parser.add_argument("--write", action="store_true", help="write docs/conformance.md")
    writing = parser.parse_args().write
    found = {suite.name: all_results(suite) for suite in SUITES if suite.installed}
    sections = [section(suite, found[suite.name]) for suite in SUITES if suite.installed]
    sys.stdout.write("".join(sections))
    left_out = [suite.title for suite in SUITES if not suite.installed]
    if left_out:
        sys.stderr.write(f"skipped, because they are not installed here: {', '.join(left_out)}\n")
    failed = any(
        reason is not None for one in found.values() for results in one.values() for reason in results.values()
    )
    return 1 if failed or (not left_out and _stale(HEAD + "".join(sections), writing=writing)) else 0


def _stale(made: str, *, writing: bool) -> bool:
    if writing:
        PAGE.write_text(made, encoding="utf-8")
    stale = made != PAGE.read_text(encoding="utf-8")
    if stale:
        sys.stderr.write("docs/conformance.md says something else: run `python -m tests.conformance --write`\n")
    return stale


def _words(check: str) -> str:
    return check.replace("_", " ") if "/" not in check else f"`{check}`"


def _cell(results: Results, check: str) -> str:
    if check not in results:
        return ""
    return "pass" if results[check] is None else "**fail**"


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |\n"


if __name__ == "__main__":
    sys.exit(main())
