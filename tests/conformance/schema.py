"""Whether a running server does what its OpenAPI document says. Runs in the environment of schemathesis.

`python schema.py openapi HTTP_ADDRESS GRPC_ADDRESS IMAGE` prints a line of JSON: each operation with null, or the
reason why it failed. Each is asked with made-up parameters, with names that exist and, where it takes one, the image.
"""

import json
import sys
from pathlib import Path
from typing import Any

import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

EXAMPLES = 30
CHANGES = "/v2/repository/models/"
ENDLESS = "/events"
"""What is to come to its end before it is judged never would."""
UNSAYABLE = ("/classify", "/plan", "/infer", "/logging", "/trace/setting")
"""What is good there, a schema cannot say: an image, a budget that suffices, a variant or an accuracy but not both,
switches that make a level."""
KNOWN = {"name": ("b0", "b1", "efficientnet"), "version": ("1",), "kind": ("internal", "queue-full")}
CASES = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.generate],
)


def failure(operation: Any, image: bytes) -> str | None:  # noqa: ANN401
    """What is wrong with the answers of one operation."""
    without = [positive_data_acceptance] if any(part in operation.path for part in UNSAYABLE) else []

    @CASES
    @given(case=operation.as_strategy(), known=st.booleans(), good=st.booleans(), choice=st.integers(0, 5))
    def ask(case: Any, known: bool, good: bool, choice: int) -> None:  # noqa: ANN401
        if known and case.path_parameters:
            for name in case.path_parameters:
                case.path_parameters[name] = KNOWN[name][choice % len(KNOWN[name])]
        if good and "/classify" in operation.path and case.meta.generation.mode.value == "positive":
            case.body, case.media_type = image, "image/jpeg"
            # It takes bytes in place of its own for a violation.
            case.call_and_validate(excluded_checks=[*without, negative_data_rejection])
        else:
            case.call_and_validate(excluded_checks=without)

    try:
        ask()
    except BaseExceptionGroup as group:
        return "; ".join(" ".join(str(one).split()) for one in group.exceptions)[:400]
    except Exception as error:
        return f"{type(error).__name__}: {' '.join(str(error).split())}"[:400]
    return None


def run(address: str, image: bytes) -> dict[str, str | None]:
    """All operations but those that change what the others ask, and the one whose answer has no end."""
    document = schemathesis.openapi.from_url(f"http://{address}/openapi.json")
    operations = [found.ok() for found in document.get_all_operations()]
    return {one.label: failure(one, image) for one in operations if not one.path.startswith((CHANGES, ENDLESS))}


if __name__ == "__main__":
    _, _, over_http, _, photo = sys.argv
    sys.stdout.write("\n" + json.dumps(run(over_http, Path(photo).read_bytes())) + "\n")
