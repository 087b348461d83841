"""A real Prometheus over deploy/prometheus/ as it is, but for how often it looks and where the service is."""

import re
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.rehearsal.tools import ROOT

CONFIGURATION = ROOT / "deploy" / "prometheus"
EVERY_S = 1
PATIENCE_S = 120.0
"""How long a test waits for what should happen soon: only one that fails waits so long."""
_LISTENING = re.compile(r"msg=\"Listening on\" address=(127\.0\.0\.1:\d+)")


@dataclass(frozen=True, slots=True)
class Series:
    """One series of an answer."""

    labels: Mapping[str, str]
    points: tuple[tuple[float, float], ...]
    """(time, value): one where the query was for an instant."""


@dataclass(frozen=True, slots=True)
class Prometheus:
    """A running one."""

    url: str

    def instant(self, expr: str) -> list[Series]:
        """What an expression is now. Raises `ValueError` with Prometheus' words when it cannot be evaluated."""
        found = self._get("query", query=expr)["result"]
        return [Series(one["metric"], (_point(one["value"]),)) for one in found]

    def over_time(self, expr: str, seconds: int, step_s: int = EVERY_S) -> list[Series]:
        """Likewise, over the last seconds."""
        now = time.time()
        found = self._get("query_range", query=expr, start=str(now - seconds), end=str(now), step=str(step_s))
        return [Series(one["metric"], tuple(map(_point, one["values"]))) for one in found["result"]]

    def rules(self) -> list[dict[str, Any]]:
        """Every rule with its health."""
        return [rule for group in self._get("rules")["groups"] for rule in group["rules"]]

    def targets(self) -> list[dict[str, Any]]:
        """What it scrapes, with its health."""
        targets: list[dict[str, Any]] = self._get("targets")["activeTargets"]
        return targets

    def label_values(self, metric: str, label: str) -> list[str]:
        """As a variable of a dashboard asks for them."""
        answer = httpx.get(f"{self.url}/api/v1/label/{label}/values", params={"match[]": metric}, timeout=PATIENCE_S)
        values: list[str] = answer.raise_for_status().json()["data"]
        return values

    def _get(self, what: str, **parameters: str) -> dict[str, Any]:
        answer = httpx.get(f"{self.url}/api/v1/{what}", params=parameters, timeout=PATIENCE_S).json()
        if answer["status"] != "success":
            raise ValueError(answer["error"])
        data: dict[str, Any] = answer["data"]
        return data


def _point(pair: tuple[float, str]) -> tuple[float, float]:
    return float(pair[0]), float(pair[1])


@contextmanager
def watching(program: Path, port: int, folder: Path) -> Iterator[Prometheus]:
    """A Prometheus that scrapes the service on a port of this machine; ended afterwards."""
    configure(folder, port)
    said = folder / "prometheus.log"
    command = [
        str(program), f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data",
        "--web.listen-address=127.0.0.1:0",
    ]  # fmt: skip
    with said.open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
    try:
        yield Prometheus(_address(process, said))
    finally:
        process.terminate()
        process.wait(PATIENCE_S)


def configure(folder: Path, port: int) -> None:
    """Copy the committed configuration, with these two things changed."""
    for file in ("recording.yml", "alerts.yml"):
        shutil.copy(CONFIGURATION / file, folder)
    text = (CONFIGURATION / "prometheus.yml").read_text(encoding="utf-8")
    text, intervals = re.subn(r"_interval: 15s$", f"_interval: {EVERY_S}s", text, flags=re.MULTILINE)
    text, targets = re.subn(r'targets: \["effserve:8000"\]', f'targets: ["127.0.0.1:{port}"]', text)
    assert (intervals, targets) == (2, 1)
    (folder / "prometheus.yml").write_text(text, encoding="utf-8")


def _address(process: subprocess.Popen[bytes], said: Path) -> str:
    """Where it listens, once it is ready."""
    until_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < until_s and process.poll() is None:
        found = _LISTENING.search(said.read_text())
        if found is not None and httpx.get(f"http://{found[1]}/-/ready").is_success:
            return f"http://{found[1]}"
        time.sleep(0.05)
    raise RuntimeError(f"Prometheus did not get ready:\n{said.read_text()[-2000:]}")
