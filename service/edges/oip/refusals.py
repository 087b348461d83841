"""What is said of what is refused, by its name where it has one."""

from service.core.errors import EffserveError, ErrorKind
from service.edges.oip.models import SHOWN_NAME


def invalid(name: str, why: str) -> EffserveError:
    """No such parameter, or not that value."""
    return _named(ErrorKind.INVALID_PARAMETER, name, why)


def unsupported(name: str, why: str) -> EffserveError:
    """The protocol has it; here it cannot be changed."""
    return _named(ErrorKind.UNSUPPORTED, name, why)


def forbidden(setting: str) -> EffserveError:
    """The operator has not allowed it by this setting."""
    return EffserveError(ErrorKind.CHANGES_FORBIDDEN, f"{setting} is `false`; this needs `true`")


def too_large(limit_bytes: int) -> EffserveError:
    """A request, before anybody looks into it."""
    detail = f"the request has more than {limit_bytes} bytes"
    return EffserveError(ErrorKind.REQUEST_TOO_LARGE, detail, {"limit_bytes": limit_bytes})


def _named(kind: ErrorKind, name: str, why: str) -> EffserveError:
    shown = name[:SHOWN_NAME]
    return EffserveError(kind, f"{shown}: {why}", {"parameter": shown})
