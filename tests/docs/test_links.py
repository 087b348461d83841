"""What the pages point at exists: files, headings, make targets, commands and their options."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer.main
from typer.core import TyperGroup

from service.cli import app

ROOT = Path(__file__).resolve().parents[2]


def pages(folder: Path) -> Iterator[Path]:
    """All of a folder. What hides behind a dot (environments, caches, stores) is large, and may change meanwhile."""
    for entry in folder.iterdir():
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            yield from pages(entry)
        elif entry.suffix == ".md":
            yield entry


PAGES = sorted(pages(ROOT))
SHELLS = {"sh", "bash", "shell", "console"}

FENCE = re.compile(r"^ *```(\w*)[^\n]*\n(.*?)^ *```", re.DOTALL | re.MULTILINE)
INDENTED = re.compile(r"^(?: {4}|\t)(.*)$", re.MULTILINE)
SPAN = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"!?\[[^\]]*\]\(<?([^)\s>]+)>?[^)]*\)")
REFERENCE = re.compile(r"^\[[^\]]+\]: *<?(\S+?)>?$", re.MULTILINE)
HEADING = re.compile(r"^#{1,6} +(.+?) *#*$", re.MULTILINE)
ANCHOR = re.compile(r"<a (?:id|name)=\"([^\"]+)\"")
TARGET = re.compile(r"^([a-z][\w-]*):", re.MULTILINE)
ASSIGNMENT = re.compile(r"\w+=.*")
WORD = re.compile(r"[a-z][\w-]*")


def prose(text: str) -> str:
    """A page without its code."""
    return SPAN.sub("", FENCE.sub("", text))


def anchors(text: str) -> set[str]:
    """What `#…` can lead to on a page: headings as GitHub names them, and anchors written out."""
    found: set[str] = set(ANCHOR.findall(text))
    for heading in HEADING.findall(FENCE.sub("", text)):
        slug = re.sub(r"[^\w\- ]", "", re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()).replace(" ", "-")
        count = 0
        while (unique := f"{slug}-{count}" if count else slug) in found:
            count += 1
        found.add(unique)
    return found


def broken_links(page: Path) -> list[str]:
    """Relative links of a page that lead nowhere."""
    text = page.read_text(encoding="utf-8")
    links = LINK.findall(prose(text)) + REFERENCE.findall(prose(text))
    return [link for link in links if not re.match(r"[a-z]+:", link) and not _leads_somewhere(page, link)]


def _leads_somewhere(page: Path, link: str) -> bool:
    path, _, anchor = link.partition("#")
    target = page.parent / path if path else page
    if not target.exists():
        return False
    return not anchor or target.suffix != ".md" or anchor in anchors(target.read_text(encoding="utf-8"))


def commands(text: str, program: str) -> Iterator[list[str]]:
    """Each call of `program` that a page shows in a shell block, an indented block or a code span, as words."""
    shown = [block for language, block in FENCE.findall(text) if language in SHELLS]
    rest = FENCE.sub("", text)
    shown += INDENTED.findall(rest) + SPAN.findall(INDENTED.sub("", rest))
    for line in "\n".join(shown).replace("\\\n", " ").splitlines():
        for words in _calls(line):
            if words and Path(words[0]).name == program:
                yield words


def _calls(line: str) -> Iterator[list[str]]:
    """The commands of one line, without prompt, comment and variables set before them."""
    lexer = shlex.shlex(line.removeprefix("$ "), posix=True, punctuation_chars=";|&")
    lexer.whitespace_split = True
    try:
        words = list(lexer)
    except ValueError:  # an apostrophe in a code span that is no command
        return
    call: list[str] = []
    for word in [*words, ";"]:
        if set(word) <= set(";|&"):
            yield call
            call = []
        elif call or not ASSIGNMENT.fullmatch(word):
            call.append(word)


def unknown_targets(text: str) -> set[str]:
    """Make targets that a page names and the Makefile lacks."""
    known = set(TARGET.findall((ROOT / "Makefile").read_text(encoding="utf-8")))
    named = {word for call in commands(text, "make") for word in call[1:] if WORD.fullmatch(word)}
    return named - known


def unknown_usage(text: str) -> list[str]:
    """Calls of effserve that a page shows and the command line would not understand."""
    return [" ".join(call) for call in commands(text, "effserve") if not _understood(call[1:])]


def _understood(words: list[str]) -> bool:
    group = typer.main.get_command(app)
    assert isinstance(group, TyperGroup)
    name, options = (words or [""])[0], {word.partition("=")[0] for word in words if word.startswith("--")}
    if not WORD.fullmatch(name):
        return options <= {"--version", "--help"}
    if name not in group.commands:
        return False
    known = {flag for option in group.commands[name].params for flag in (*option.opts, *option.secondary_opts)}
    return options <= known | {"--help"}


def relative(page: Path) -> str:
    """For the test's name."""
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_links_lead_somewhere(page: Path) -> None:
    """To a file of the repository, and to a heading in it where one is named."""
    assert broken_links(page) == []


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_make_targets_exist(page: Path) -> None:
    """Every `make …` that is shown can be made."""
    assert unknown_targets(page.read_text(encoding="utf-8")) == set()


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_commands_and_options_exist(page: Path) -> None:
    """Every `effserve …` that is shown is understood."""
    assert unknown_usage(page.read_text(encoding="utf-8")) == []


def test_pages_are_found() -> None:
    """Else nothing would be checked."""
    assert {"README.md", "docs/settings.md", "model_store/README.md"} <= set(map(relative, PAGES))


@pytest.mark.parametrize(
    ("link", "good"),
    [
        ("other.md", True),
        ("other.md#two-words-b0b7", True),
        ("other.md#two-words-b0b7-1", True),
        ("other.md#here", True),
        ("other.md#three", False),
        ("nowhere.md", False),
        ("https://example.org/nowhere.md", True),
        ("#own", True),
        ("#foreign", False),
    ],
)
def test_a_broken_link_is_found(link: str, good: bool, tmp_path: Path) -> None:
    """Files, headings as GitHub names them, and headings of the page itself."""
    (tmp_path / "other.md").write_text('# Two words: `b0`…`b7`\n## Two words: b0…b7\n<a id="here"></a>\n')
    page = tmp_path / "page.md"
    page.write_text(f"# Own\nsee [there]({link})\n```md\n# Foreign\n[not](a-link.md)\n```\n")
    assert (broken_links(page) == []) is good


@pytest.mark.parametrize(
    ("text", "unknown"),
    [
        ("`make test`", set()),
        ("`make PYTHON=python3.12 run`", set()),
        ("we make mistakes", set()),
        ("`make coffee`", {"coffee"}),
        ("```sh\nmake test && make tea  # with milk\n```", {"tea"}),
        ("    make wire    # or not\n    make cake", {"cake"}),
    ],
)
def test_an_unknown_target_is_found(text: str, unknown: set[str]) -> None:
    """In spans and blocks, not in prose."""
    assert unknown_targets(text) == unknown


@pytest.mark.parametrize(
    ("line", "good"),
    [
        ("effserve serve --route-untrained --http-port 8080", True),
        ("$ effserve serve --no-route-untrained &", True),
        ("EFFSERVE_HTTP_PORT=8080 .venv/bin/effserve serve", True),
        ("effserve plan --budget-ms=40 | head", True),
        ("effserve classify cat.jpg \\\n  --json", True),
        ("effserve --version", True),
        ("effserve serve --help", True),
        ("effserve swerve", False),
        ("effserve serve --port 8080", False),
        ("make run; effserve plan --budget 40", False),
        ("effserve classify cat.jpg \\\n  --jsonl", False),
        ("effserve --verbose", False),
    ],
)
def test_an_unknown_command_or_option_is_found(line: str, good: bool) -> None:
    """Whatever stands around it."""
    assert (unknown_usage(f"```sh\n{line}\n```\n") == []) is good
    if "\n" not in line:
        assert (unknown_usage(f"Try `{line}` now.") == []) is good
