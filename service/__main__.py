"""`effserve`, and `python -m service`."""

import os
import sys
from contextlib import suppress

from service import huge_pages


def main() -> None:
    """Run the command line. A server begins anew first where that gets it huge pages: the same process, from the start,
    which takes some hundredths of a second as long as nothing else has been imported."""
    wanted = huge_pages.environment(os.environ) if sys.argv[1:2] == ["serve"] else None
    if wanted is not None:
        # Where that is forbidden the server runs all the same.
        with suppress(OSError):
            os.execve(sys.executable, sys.orig_argv, wanted)
    # Only now: it takes a second when files are cold.
    from service.cli import main as run

    run()


if __name__ == "__main__":
    main()
