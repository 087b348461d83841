"""Regenerates the stubs in `service/wire/` from the .proto files; `--check` only compares.

The files stay where protoc wants them (`effserve/v1/…`), because that path is the descriptor's name, which reflection
shows and other languages import. The Python modules live in `service.wire`; so their imports and module names are
rewritten.
"""

import argparse
import sys
import tempfile
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent
WIRE = ROOT.parent / "service" / "wire"
SERVICES = ("effserve/v1/classifier.proto", "inference/grpc_inference.proto")
PROTOS = (*SERVICES, "graphs/graph.proto")
REPLACED = {
    f"{begin}{Path(proto).parent.as_posix().replace('/', '.')}{end}": f"{begin}service.wire{end}"
    for proto in PROTOS
    for begin, end in (("from ", " import "), ("'", f".{Path(proto).stem}_pb2'"))
}


class GenerationError(Exception):
    """protoc refuses the file; it has said why."""


def stubs() -> dict[str, str]:
    """Content of each stub by file name. Raises `GenerationError`."""
    with tempfile.TemporaryDirectory() as folder:
        messages = [f"--{kind}_out={folder}" for kind in ("python", "pyi")]
        includes = [f"-I{ROOT}", f"-I{files('grpc_tools') / '_proto'}"]
        for outputs, protos in ((messages, PROTOS), ([f"--grpc_python_out={folder}"], SERVICES)):
            if protoc.main(["protoc", *includes, *outputs, *protos]) != 0:
                raise GenerationError(", ".join(protos))
        return {path.name: _relocated(path.read_text()) for path in sorted(Path(folder).rglob("*.py*"))}


def _relocated(text: str) -> str:
    for old, new in REPLACED.items():
        text = text.replace(old, new)
    # The service's own checks do not apply to generated code.
    return "# mypy: ignore-errors\n" + text


def differing(wanted: Mapping[str, str], folder: Path) -> list[str]:
    """Names of the stubs that are missing in `folder` or have other content there."""
    return [
        name for name, text in wanted.items() if not (folder / name).is_file() or (folder / name).read_text() != text
    ]


def main(arguments: list[str] | None = None, folder: Path = WIRE) -> int:
    """Write the stubs, or compare them; the exit status."""
    parser = argparse.ArgumentParser(description="Regenerate the gRPC stubs.")
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 when the stubs differ")
    checking = parser.parse_args(arguments).check
    wanted = stubs()
    differ = differing(wanted, folder)
    if checking:
        if differ:
            sys.stderr.write(f"{', '.join(differ)} in service/wire differ from proto/: run `make wire`\n")
        return 1 if differ else 0
    for name in differ:
        (folder / name).write_text(wanted[name])
    return 0


if __name__ == "__main__":
    sys.exit(main())
