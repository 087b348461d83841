"""What the files of deploy/ say, for tests that compare them."""

import json
import re
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
DOCKERFILE = DEPLOY / "Dockerfile"
Json = dict[str, Any]


def manifests() -> list[Json]:
    """Kubernetes' objects, of all files that kustomize is told of."""
    folder = DEPLOY / "kubernetes"
    named = yaml.safe_load((folder / "kustomization.yaml").read_text(encoding="utf-8"))["resources"]
    return [one for name in named for one in yaml.safe_load_all((folder / name).read_text(encoding="utf-8"))]


def manifest(kind: str, name: str = "effserve") -> Json:
    """One of them."""
    (found,) = (one for one in manifests() if (one["kind"], one["metadata"]["name"]) == (kind, name))
    return found


def services() -> dict[str, Json]:
    """The compose file's."""
    found: dict[str, Json] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))["services"]
    return found


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's steps: (instruction, what follows it on one line), comments left out."""
    text = re.sub(r"^\s*#.*\n", "", DOCKERFILE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    lines = text.replace("\\\n", " ").splitlines()
    return [(line.split()[0], line.split(maxsplit=1)[1]) for line in lines if line.strip()]


def last_stage() -> list[tuple[str, str]]:
    """The steps of what runs."""
    steps = instructions()
    last = max(number for number, (name, _) in enumerate(steps) if name == "FROM")
    return steps[last:]


def step(name: str) -> str:
    """What the last stage says once."""
    (found,) = (rest for step, rest in last_stage() if step == name)
    return found


def image_environment() -> dict[str, str]:
    """Variables of what runs."""
    return dict(pair.split("=", 1) for pair in step("ENV").split())


def command(text: str) -> list[str]:
    """A command in the Dockerfile's form of a JSON list, at the end of an instruction."""
    words: list[str] = json.loads(text[text.index("[") :])
    return words


def seconds(text: str) -> float:
    """`40s` as a number."""
    return float(text.removesuffix("s"))
