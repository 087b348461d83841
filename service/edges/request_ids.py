"""Request ids: the client's own when it is fit for headers and logs, else a new one."""

import re
import uuid

_FIT = re.compile(r"[\x21-\x7e]{1,128}")


def request_id(given: str | None) -> str:
    """`given` when it is 1–128 visible ASCII characters, else 32 random hexadecimal digits."""
    return given if given is not None and _FIT.fullmatch(given) else uuid.uuid4().hex
