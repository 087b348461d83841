"""The command line: what each command takes, what it prints, and the one line it ends with when it fails.

Commands run in this process, through the console script's own entry point. Serving runs in a process of its own.
"""

import http.server
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import typer.main
from typer.core import TyperCommand, TyperGroup
from typer.testing import CliRunner

from model_store import manifest as manifests
from service import __version__, cli
from tests.fixtures import jpeg, tiny_store

EFFSERVE = (sys.executable, "-c", "from service.cli import main; main()")
QUICK = {
    "EFFSERVE_LANES_COUNT": "1",
    "EFFSERVE_CALIBRATION_SECONDS_PER_VARIANT": "0.01",
    "EFFSERVE_CALIBRATION_REUSE": "false",
    "EFFSERVE_DRAIN_GRACE_S": "0",
    "EFFSERVE_LOG_FORMAT": "json",
}
ANY_PORTS = ("--http-port", "0", "--grpc-port", "0")
FOREIGN = ("EFFSERVE_", "FORCE_COLOR")
"""What the environment of a test must not say."""
TINY = ("--width", "0.25", "--depth", "0.25", "--resolution", "32")
STARTS_WITHIN_S = 240
ENOUGH_MS = "60000"
"""A budget for every variant, however busy the machine is."""


def _commands() -> Mapping[str, TyperCommand]:
    group = typer.main.get_command(cli.app)
    assert isinstance(group, TyperGroup)
    return {name: command for name, command in group.commands.items() if isinstance(command, TyperCommand)}


COMMANDS = _commands()


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def one_line(self) -> str:
        """What a failed command says."""
        assert "Traceback" not in self.out + self.err
        assert self.code == 2
        line = self.err.splitlines()[-1]
        assert line.startswith("effserve: ")
        return line


class Shell:
    """Runs commands in this process."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch = monkeypatch
        self._capsys = capsys

    def __call__(self, *words: str | Path) -> Ended:
        """As `effserve words…`."""
        self._monkeypatch.setattr(sys, "argv", ["effserve", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        printed = self._capsys.readouterr()
        return Ended(int(ended.value.code or 0), _plain(printed.out), _plain(printed.err))


@pytest.fixture(autouse=True)
def _clean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No settings but the test's, and no store but those it makes."""
    for name in list(os.environ):
        if name.startswith(FOREIGN):
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def effserve(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    """The command."""
    return Shell(monkeypatch, capsys)


def serve(*words: str | Path, **variables: str) -> Ended:
    """A server that is expected to end by itself, in its own process."""
    command = [*EFFSERVE, "serve", *map(str, words)]
    ended = subprocess.run(
        command, env=_environment() | variables, capture_output=True, text=True, timeout=STARTS_WITHIN_S, check=False
    )
    return Ended(ended.returncode, _plain(ended.stdout), _plain(ended.stderr))


def _plain(text: str) -> str:
    """Without colours, which some environments force."""
    return re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", text)


def _environment() -> dict[str, str]:
    return {name: text for name, text in os.environ.items() if not name.startswith(FOREIGN)} | QUICK


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A running server over two small trained variants; it ends well when it is told to."""
    folder = tmp_path_factory.mktemp("server")
    store, log = tiny_store(folder / "store"), folder / "log"
    command = [*EFFSERVE, "serve", "--store", str(store), *ANY_PORTS]
    with log.open("w") as output, subprocess.Popen(command, env=_environment(), stdout=output, stderr=output) as server:
        try:
            yield _address(server, log)
        finally:
            server.send_signal(signal.SIGTERM)
        assert server.wait(STARTS_WITHIN_S) == 0


def _address(server: "subprocess.Popen[bytes]", log: Path) -> str:
    """Where it listens, once it is ready."""
    give_up_s = time.monotonic() + STARTS_WITHIN_S
    while time.monotonic() < give_up_s and server.poll() is None:
        if ready := re.search(r'"(http://127\.0\.0\.1:\d+) and .*"ready"', log.read_text()):
            return ready[1]
        time.sleep(0.02)
    pytest.fail(f"the server did not become ready:\n{log.read_text()}")


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """An image file."""
    path = tmp_path / "photo.jpg"
    path.write_bytes(jpeg(160, 120))
    return path


@contextmanager
def foreign_server(content: bytes, content_type: str) -> Iterator[str]:
    """An HTTP server that is not ours and answers everything with 200."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", content_type)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            """Quiet."""

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_the_commands_are_those_of_the_module() -> None:
    """The module begins with a list of them."""
    (listed,) = re.findall(r"`effserve (serve.*?)`", " ".join((cli.__doc__ or "").split()))
    assert list(COMMANDS) == listed.split(" | ")


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_is_there(command: str) -> None:
    """For the whole and for each command."""
    result = CliRunner().invoke(cli.app, [*command.split(), "--help"])
    assert result.exit_code == 0
    assert "Usage" in result.output


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_is_described(command: str) -> None:
    """A command says what it does, an option what it is for."""
    described = COMMANDS[command]
    assert described.help
    assert [option.name for option in described.params if not getattr(option, "help", "")] == []


def test_the_version_is_the_packages(effserve: Shell) -> None:
    """One line."""
    assert effserve("--version") == Ended(0, f"effserve {__version__}\n", "")


def test_an_unknown_command_is_refused(effserve: Shell) -> None:
    """With exit code 2, as everything that cannot be done."""
    ended = effserve("swerve")
    assert ended.code == 2
    assert "swerve" in ended.err


def test_build_makes_a_level_by_its_compound_coefficient(effserve: Shell, tmp_path: Path) -> None:
    """φ = 0 is B0's network; JSON says where it is."""
    ended = effserve("build", "--phi", "0", "--store", tmp_path / "store", "--json")
    (stored,) = json.loads(ended.out)
    manifest = manifests.read(Path(stored["folder"]))
    assert (ended.code, stored["name"], stored["kept"]) == (0, "phi0", False)
    assert (manifest.name, manifest.preprocessing.input_size_px) == ("phi0", 224)
    assert stored["params"] == manifest.params == 5_288_548


def test_build_keeps_what_is_there(effserve: Shell, tmp_path: Path) -> None:
    """The second time nothing is built; the table says which."""
    words = ("build", *TINY, "--name", "tiny", "--store", tmp_path / "store")
    built, kept = effserve(*words), effserve(*words)
    assert (built.code, kept.code) == (0, 0)
    assert re.search(r"tiny +1 .* built", built.out)
    assert re.search(r"tiny +1 .* kept", kept.out)
    assert str(tmp_path / "store") in kept.out


def test_build_goes_to_the_store_of_the_settings(
    effserve: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one that `serve` reads."""
    monkeypatch.setenv("EFFSERVE_STORE_DIR", str(tmp_path / "mine"))
    assert effserve("build", *TINY, "--name", "tiny").code == 0
    assert (tmp_path / "mine/tiny/1/manifest.json").is_file()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["b9"], "no variant 'b9'; there are b0, b1"),
        (["b0", "b9"], "no variant 'b9'"),
        (["b0", "--phi", "1"], "not both"),
        (["--phi", "1", "--width", "1"], "--phi alone, or --width, --depth and --resolution together"),
        (["--width", "1"], "--phi alone, or --width, --depth and --resolution together"),
        (["--name", "mine"], "--phi alone, or --width, --depth and --resolution together"),
        (["--phi", "1", "--name", "b0"], "b0 is the name of a published variant"),
        (["--phi", "13"], "phi must be between 0 and 12"),
        (["--phi", "nan"], "phi must be between 0 and 12"),
        (["--width", "9", "--depth", "1", "--resolution", "32"], "width and depth must be in"),
        (["b0", "--tag", "aa_in1k"], "--tag goes with --weights FILE.safetensors"),
        (["b0", "--padding", "same"], "--padding goes with --weights FILE.safetensors"),
        (["b0", "--licence", "MIT"], "--licence goes with --weights FILE.safetensors"),
        (["--weights", "x.safetensors"], "a checkpoint file belongs to one variant"),
        (["b0", "b1", "--weights", "x.safetensors"], "a checkpoint file belongs to one variant"),
        (["b0", "--weights", "x.safetensors", "--padding", "left"], "--padding is same or symmetric, not 'left'"),
        (["b0", "--top1", "0.8", "--dataset", "mine"], "--top1 goes with --weights FILE.safetensors"),
        (["b0", "--weights", "x.safetensors", "--top1", "0.8"], "--top1 and --dataset go together"),
        (["b0", "--weights", "x.safetensors", "--dataset", "mine"], "--top1 and --dataset go together"),
        (["b0", "--weights", "x.safetensors", "--tag", "aa_in1k", "--padding", "same"], "--tag names a published"),
        (["--phi", "1", "--weights", "x.safetensors", "--tag", "aa_in1k"], "--tag names a published checkpoint"),
        (["b0", "--weights", "nowhere.safetensors"], "nowhere.safetensors"),
        (["b0", "--weights", "nowhere.safetensors", "--tag", "nonsense"], "nonsense"),
    ],
)
def test_build_says_what_does_not_go_together(effserve: Shell, tmp_path: Path, words: list[str], message: str) -> None:
    """In one line, before anything is built."""
    assert message in effserve("build", *words, "--store", tmp_path / "store").one_line
    assert not list(tmp_path.glob("store/*"))


def test_pull_names_an_unknown_tag(effserve: Shell, tmp_path: Path) -> None:
    """Without asking the network."""
    assert "nonsense" in effserve("pull", "b0", "--tag", "nonsense", "--store", tmp_path / "store").one_line


def test_serve_names_an_empty_store(tmp_path: Path) -> None:
    """And says how to fill it."""
    line = serve("--store", tmp_path / "nothing", *ANY_PORTS).one_line
    assert (
        line == f"effserve: no variants in {tmp_path / 'nothing'}; `effserve build` or `effserve pull` puts some there"
    )


def test_serve_refuses_a_store_that_no_budget_can_choose_from(tmp_path: Path) -> None:
    """Untrained weights are served only when the operator asks for them."""
    store = tiny_store(tmp_path / "store", ["b0"], trained=False)
    line = serve("--store", store, *ANY_PORTS).one_line
    assert "no variant in the store has weights of known accuracy" in line
    assert "--route-untrained" in line


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_serve_names_a_port_that_is_taken(tmp_path: Path, protocol: str) -> None:
    """At once, not after the variants are loaded."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = serve("--store", tmp_path / "nothing", *ANY_PORTS, f"--{protocol}-port", str(port))
    assert f"cannot listen on 127.0.0.1 port {port}: Address already in use; EFFSERVE_" in ended.one_line


def test_serve_names_a_variable_it_does_not_know(tmp_path: Path) -> None:
    """A typo must not leave a setting at its default."""
    line = serve("--store", tmp_path, EFFSERVE_HTTP_PROT="1").one_line
    assert "EFFSERVE_HTTP_PROT is not a known environment variable; did you mean EFFSERVE_HTTP_PORT?" in line


def test_serve_names_a_value_that_cannot_be(tmp_path: Path) -> None:
    """Of a flag as of a settings file."""
    file = tmp_path / "effserve.toml"
    file.write_text("[drain]\ntimeout_s = 0\n")
    assert "http.port: " in serve("--http-port", "65536").one_line
    assert "drain.timeout_s: " in serve(*ANY_PORTS, EFFSERVE_CONFIG=str(file)).one_line


def test_variants_shows_the_table(effserve: Shell, url: str) -> None:
    """One row for each, with nothing cut off where no terminal limits it."""
    ended = effserve("variants", "--url", url)
    head, *rows = ended.out.splitlines()
    assert (ended.code, ended.err) == (0, "")
    assert head.split() == [
        "variant", "px", "GMACs", "top-1", "source", "mean", "ms", "tail", "ms", "MB", "routed", "answers", "why",
    ]  # fmt: skip
    assert [row.split()[0] for row in rows] == ["b0", "b1"]
    assert "77.1%" in rows[0]
    assert "…" not in ended.out


def test_variants_prints_json_for_machines(effserve: Shell, url: str) -> None:
    """The document that the server gave."""
    ended = effserve("variants", "--json", "--url", url)
    assert [row["name"] for row in json.loads(ended.out)["variants"]] == ["b0", "b1"]


def test_plan_shows_what_a_budget_buys(effserve: Shell, url: str) -> None:
    """The choice, why, and what became of the others."""
    ended = effserve("plan", "--budget-ms", ENOUGH_MS, "--url", url)
    first, _, *rows = ended.out.splitlines()
    assert ended.code == 0
    assert first.startswith("b1  b1 is the most accurate variant")
    assert sorted(row.split()[0] + " " + row.split(" ms")[-1].strip() for row in rows) == [
        "b0 less accurate",
        "b1 chosen",
    ]


def test_plan_says_when_a_request_would_be_refused(effserve: Shell, url: str) -> None:
    """Else the row of the cheapest would look like an answer."""
    strict = effserve("plan", "--budget-ms", "0.01", "--mode", "strict", "--url", url)
    assert re.search(r"would be refused in strict mode; [\d.]+ ms would do now", strict.out)
    assert "would be refused" not in effserve("plan", "--budget-ms", "0.01", "--url", url).out


def test_plan_takes_a_variant_or_an_accuracy(effserve: Shell, url: str) -> None:
    """What is asked goes to the server, and nothing else."""
    named = json.loads(effserve("plan", "--variant", "b0", "--json", "--url", url).out)
    cheapest = json.loads(effserve("plan", "--min-accuracy", "0.78", "--json", "--url", url).out)
    assert (named["decision"]["variant"], named["decision"]["reason"]) == ("b0", "named_by_request")
    assert (cheapest["decision"]["variant"], named["budget_ms"]) == ("b1", 100.0)


def test_classify_shows_what_it_sees(effserve: Shell, url: str, photo: Path) -> None:
    """Variant, time, why, and the classes asked for."""
    ended = effserve("classify", photo, "--budget-ms", ENOUGH_MS, "--top-k", "3", "--url", url)
    first, why, *classes = ended.out.splitlines()
    assert ended.code == 0
    assert re.fullmatch(r"photo\.jpg  b1  [\d.]+ of 60000 ms, met", first)
    assert "most accurate" in why
    assert len(classes) == 3
    assert all(re.fullmatch(r" +[\d.]+%  class \d", line) for line in classes)


def test_classify_prints_json_for_machines(effserve: Shell, url: str, photo: Path) -> None:
    """The document that the server gave."""
    answer = json.loads(effserve("classify", photo, "--variant", "b0", "--json", "--url", url).out)
    assert answer["decision"]["variant"] == "b0"
    assert len(answer["predictions"]) == 5


def test_classify_takes_several_files_of_any_name(effserve: Shell, url: str, tmp_path: Path) -> None:
    """Names are shown as they are: brackets are no markup."""
    names = ["[red]one.jpg", "two[b].png", "[bold] three"]
    for name in names:
        (tmp_path / name).write_bytes(jpeg(64, 48))
    ended = effserve("classify", *(tmp_path / name for name in names), "--budget-ms", ENOUGH_MS, "--url", url)
    assert ended.code == 0
    assert [line.split("  b1  ")[0] for line in ended.out.splitlines() if "  b1  " in line] == names


def test_the_server_may_be_named_in_the_environment(effserve: Shell, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once for all commands."""
    monkeypatch.setenv("EFFSERVE_URL", url)
    assert effserve("variants").code == 0


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["plan", "--variant", "b9"], "unknown-variant: no variant 'b9' is served; there are b0, b1"),
        (["plan", "--mode", "slow"], "invalid-parameter: mode: "),
        (["plan", "--variant", "b0", "--min-accuracy", "0.5"], "exclude each other"),
        (["plan", "--min-accuracy", "0.99"], "accuracy-unavailable: "),
        (["plan", "--budget-ms", "1e9"], "invalid-parameter: budget_ms: "),
    ],
)
def test_a_refusal_of_the_server_is_one_line(effserve: Shell, url: str, words: list[str], line: str) -> None:
    """Kind and detail of its problem."""
    assert line in effserve(*words, "--url", url).one_line


@pytest.mark.parametrize("value", ["0", "-5", "nan", "inf"])
@pytest.mark.parametrize("command", ["plan", "classify x.jpg"])
def test_a_budget_is_a_number_above_nothing(effserve: Shell, command: str, value: str) -> None:
    """Said before a server is asked."""
    ended = effserve(*command.split(), "--budget-ms", value, "--url", "http://127.0.0.1:9")
    assert ended.code == 2
    assert "Invalid value for '--budget-ms'" in ended.err
    assert f"{value} is not a number of milliseconds above 0" in ended.err


@pytest.mark.parametrize("value", ["0", "-1", "nan", "inf", "100.5"])
def test_a_simulated_load_is_a_number_in_its_range(effserve: Shell, value: str) -> None:
    """Both ends are named, whatever is wrong."""
    ended = effserve("simulate", "--load", value)
    assert ended.code == 2
    assert "Invalid value for '--load'" in ended.err
    assert f"{value} is not a number from 0.001 to 100" in ended.err


def test_a_file_that_is_no_image_is_named_by_the_server(effserve: Shell, url: str, tmp_path: Path) -> None:
    """Text and nothing."""
    (tmp_path / "text.txt").write_text("no image")
    (tmp_path / "empty.jpg").touch()
    assert "text.txt: undecodable-image: " in effserve("classify", tmp_path / "text.txt", "--url", url).one_line
    assert "empty-image: " in effserve("classify", tmp_path / "empty.jpg", "--url", url).one_line


def test_a_file_that_cannot_be_read_is_named(effserve: Shell, url: str, tmp_path: Path) -> None:
    """Before anything is sent."""
    line = effserve("classify", tmp_path / "nowhere.jpg", "--url", url).one_line
    assert line == f"effserve: cannot read {tmp_path / 'nowhere.jpg'}: No such file or directory"


@pytest.mark.parametrize("command", ["variants", "plan", "classify"])
def test_no_server_is_one_line(effserve: Shell, photo: Path, command: str) -> None:
    """It asks what everybody asks first."""
    files = [photo] if command == "classify" else []
    # Bound and not listening: the port is nobody else's meanwhile.
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        line = effserve(command, *files, "--url", f"http://127.0.0.1:{silent.getsockname()[1]}").one_line
    assert line.endswith("is `effserve serve` running, and is --url right?")


@pytest.mark.parametrize("wrong", ["http://localhost:abc", "http://[::1", "localhost:8000", "ftp://localhost"])
def test_what_is_no_url_is_one_line(effserve: Shell, wrong: str) -> None:
    """Whatever is wrong about it."""
    effserve("variants", "--url", wrong).one_line  # noqa: B018 - the property asserts


@pytest.mark.parametrize(
    ("content", "content_type"),
    [
        (b"<html>hello</html>", "text/html"),
        (b"[1, 2]", "application/json"),
        (b"{not json", "application/json"),
    ],
)
def test_another_programs_server_is_one_line(effserve: Shell, content: bytes, content_type: str) -> None:
    """Port 8000 is a popular one."""
    with foreign_server(content, content_type) as url:
        line = effserve("variants", "--url", url).one_line
    assert line == f"effserve: {url}/variants is no answer of effserve; is --url right?"
