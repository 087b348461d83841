"""Loading and unloading, as the protocol's extension `model_repository` has it: who may, and what he may say."""

from collections.abc import Mapping

from service.core.errors import EffserveError, ErrorKind
from service.edges.oip.models import ROUTED
from service.edges.oip.refusals import invalid, unsupported
from service.repository import Repository

VERSION, DEPENDENTS = "version", "unload_dependents"
OVERRIDES = ("config", "file:")
"""How Triton's parameters begin that put something in the place of what the store holds."""


class Changes:
    """What loads and unloads, in the hands of somebody who may."""

    def __init__(self, repository: Repository) -> None:
        """Raises `EffserveError(CHANGES_FORBIDDEN)` where nobody may: whoever asks for one hears that before anything
        else that is wrong with it."""
        repository.check_explicit()
        self._repository = repository

    async def load(self, name: str, parameters: Mapping[str, object]) -> None:
        """Serve the newest version of a variant, or the one that a parameter names. Raises `EffserveError`."""
        version = wanted_version(parameters)
        check_name(name)
        await self._repository.load(name, version)

    async def unload(self, name: str, parameters: Mapping[str, object]) -> None:
        """Do not serve a variant any more. Raises `EffserveError`."""
        check_unload(parameters)
        check_name(name)
        await self._repository.unload(name)


def wanted_version(parameters: Mapping[str, object]) -> int | None:
    """Of a load; None for the newest. Raises `EffserveError`."""
    for name in parameters:
        if name.startswith(OVERRIDES):
            raise unsupported(name, "a variant is loaded as the store holds it, and nothing is put in its place")
    _only(parameters, VERSION)
    given = parameters.get(VERSION)
    if given is None:
        return None
    version = int(given) if isinstance(given, str) and given.isdecimal() and len(given) < 10 else given
    if isinstance(version, bool) or not isinstance(version, int) or version < 1:
        raise invalid(VERSION, "it is a number from 1 on")
    return version


def check_unload(parameters: Mapping[str, object]) -> None:
    """`unload_dependents` has no effect: nothing depends on a variant. Raises `EffserveError`."""
    _only(parameters, DEPENDENTS)
    if not isinstance(parameters.get(DEPENDENTS, False), bool):
        raise invalid(DEPENDENTS, "it is true or false")


def check_name(name: str) -> None:
    """Raise `EffserveError(CHANGE_REFUSED)` for the routed model."""
    if name == ROUTED:
        detail = f"model {ROUTED!r} is whichever variant a budget buys; it is neither loaded nor unloaded itself"
        raise EffserveError(ErrorKind.CHANGE_REFUSED, detail)


def _only(parameters: Mapping[str, object], known: str) -> None:
    for name in parameters:
        if name != known:
            raise invalid(name, f"it is not a parameter here; there is {known}")
