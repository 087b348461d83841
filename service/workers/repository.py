"""What is served, changed in all workers: whoever is asked has the supervisor ask everybody, one after the other.

The first to be asked decides: what it refuses is refused, and nothing has changed anywhere. What it has done the others
have to follow; one that cannot is started again by the supervisor, and then serves what the first does.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from service.core.messages import Change
from service.repository import Repository, StoreChanges

AskAll = Callable[..., Awaitable[Sequence[Change]]]
"""Verb and arguments of a change → what the first worker made of it. Raises `EffserveError`."""


class SharedRepository(Repository):
    """The repository of one of several workers."""

    def __init__(self, *, ask_all: AskAll, **parts: Any) -> None:  # noqa: ANN401
        """`parts` are those of any repository."""
        super().__init__(**parts)
        self._ask_all = ask_all

    async def load(self, name: str, version: int | None = None) -> Change:
        """See `Repository.load`."""
        self.check_explicit()
        return (await self._ask_all("load", name, version))[0]

    async def unload(self, name: str) -> Change:
        """See `Repository.unload`."""
        self.check_explicit()
        return (await self._ask_all("unload", name))[0]

    async def reload(self) -> Sequence[Change]:
        """See `Repository.reload`."""
        self._allow(StoreChanges.EXPLICIT, StoreChanges.POLL)
        return await self._ask_all("reload")

    async def here(self, verb: str, *content: Any) -> Sequence[Change]:  # noqa: ANN401
        """Do it in this worker. Raises `EffserveError`."""
        if verb == "load":
            return [await super().load(*content)]
        return [await super().unload(*content)] if verb == "unload" else await super().reload()
