"""Request ids: the client's own when it is fit for headers and logs, else a new one."""

import os
import re

TRACE_HEADER = "traceresponse"
"""Tells a client the trace and the span of its request, as `traceparent` is written. A draft of the W3C's names it:
https://w3c.github.io/trace-context/#trace-context-http-response-headers-format"""
_FIT = re.compile(r"[\x21-\x7e]{1,128}")


def request_id(given: str | None) -> str:
    """`given` when it is 1–128 visible ASCII characters, else 32 random hexadecimal digits."""
    return given if given is not None and _FIT.fullmatch(given) else os.urandom(16).hex()
