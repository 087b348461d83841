"""Whether the service in this container takes requests: `python healthcheck.py`. The image has no curl."""

import os
import sys
import urllib.error
import urllib.request

TIMEOUT_S = 2.0


def problem(port: str) -> str | None:
    """What keeps it from taking requests, in one line; None when nothing does."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=TIMEOUT_S):
            return None
    except OSError as error:  # also what HTTP says, and timeouts
        return str(error)


def main() -> int:
    """The exit status that Docker wants: 1 for unhealthy."""
    said = problem(os.environ.get("EFFSERVE_HTTP_PORT", "8000"))
    if said is not None:
        sys.stderr.write(f"{said}\n")
    return 0 if said is None else 1


if __name__ == "__main__":
    sys.exit(main())
