"""Loading and unloading, as the protocol's extension `model_repository` asks for it: what may stand beside the name."""

from collections.abc import Mapping

from service.core.errors import EffserveError, ErrorKind
from service.edges.oip.models import ROUTED, SHOWN_NAME

VERSION, DEPENDENTS = "version", "unload_dependents"
OVERRIDES = ("config", "file:")
"""How Triton's parameters begin that put something in the place of what the store holds."""


def wanted_version(parameters: Mapping[str, object]) -> int | None:
    """Of a load; None for the newest. Raises `EffserveError`."""
    for name in parameters:
        if name.startswith(OVERRIDES):
            detail = f"{name[:SHOWN_NAME]}: a variant is loaded as the store holds it, and nothing is put in its place"
            raise EffserveError(ErrorKind.UNSUPPORTED, detail, {"parameter": name[:SHOWN_NAME]})
    _only(parameters, VERSION)
    given = parameters.get(VERSION)
    if given is None:
        return None
    version = int(given) if isinstance(given, str) and given.isdecimal() and len(given) < 10 else given
    if isinstance(version, bool) or not isinstance(version, int) or version < 1:
        raise _invalid(VERSION, "it is a number from 1 on")
    return version


def check_unload(parameters: Mapping[str, object]) -> None:
    """`unload_dependents` has no effect: nothing depends on a variant. Raises `EffserveError`."""
    _only(parameters, DEPENDENTS)
    if not isinstance(parameters.get(DEPENDENTS, False), bool):
        raise _invalid(DEPENDENTS, "it is true or false")


def check_name(name: str) -> None:
    """Raise `EffserveError(CHANGE_REFUSED)` for the routed model."""
    if name == ROUTED:
        detail = f"model {ROUTED!r} is whichever variant a budget buys; it is neither loaded nor unloaded itself"
        raise EffserveError(ErrorKind.CHANGE_REFUSED, detail)


def _only(parameters: Mapping[str, object], known: str) -> None:
    for name in parameters:
        if name != known:
            raise _invalid(name[:SHOWN_NAME], f"it is not a parameter here; there is {known}")


def _invalid(name: str, why: str) -> EffserveError:
    return EffserveError(ErrorKind.INVALID_PARAMETER, f"{name}: {why}", {"parameter": name})
