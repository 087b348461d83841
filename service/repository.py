"""What is served, changed while the service runs: one variant loaded, one unloaded, or all made equal to the store.

Changes happen one after the other, each in two parts. What takes time (reading, opening, the first run, measuring) is
done on the loading thread and changes nothing, so a version that is damaged or does not run leaves everything as it
was. Then the event loop puts a new edition in the place of the old one, between two requests. Requests that came before
and named what is gone are still answered by it; when the last of them has gone, its session is freed, and the change
ends. Where memory is limited, what has to make room goes before (`residency.py`).
[ADR 11](../docs/decisions/0011-hot-loading.md)
"""

import asyncio
import math
import re
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from enum import StrEnum
from typing import Any, TypeVar

from model_store.manifest import NAME_PATTERN
from service.core.errors import EffserveError, ErrorKind
from service.core.events import Observer, StoreUnread, VariantChanged, VariantRefused
from service.core.messages import Change, ChangeKind, EntryState, RefusedVariant, StoreEntry
from service.core.policy import Policy
from service.core.values import Absent, Variant
from service.dataplane import Dataplane, Edition
from service.pipeline.executor import Runner
from service.pipeline.opening import Known, Opened, Opener, loaded_event
from service.pipeline.session import SessionError
from service.pipeline.store import StoredVariant, StoreError, StoreReader, StoreScan
from service.residency import Residency

T = TypeVar("T")
SHOWN_NAME = 64
"""A longer name is cut where it is repeated to the client."""


class StoreChanges(StrEnum):
    """Who may change what is served, while the service runs."""

    NONE = "none"
    EXPLICIT = "explicit"
    POLL = "poll"


class Repository:
    """One per process. Belongs to the event loop; `close` it. What fails raises `EffserveError` and is observed."""

    def __init__(
        self,
        *,
        dataplane: Dataplane,
        runners: dict[Variant, Runner],
        store: StoreReader,
        opener: Opener,
        policy_of: Callable[[Sequence[Variant], Sequence[Absent]], Policy],
        residency: Residency,
        changes: StoreChanges,
        observer: Observer,
    ) -> None:
        """`runners` are what the lanes run on; nobody else changes them."""
        self._dataplane = dataplane
        self._runners = runners
        self._store = store
        self._opener = opener
        self._policy_of = policy_of
        self._residency = residency
        self._changes = changes
        self._observer = observer
        self._turn = asyncio.Lock()
        self._working: set[asyncio.Task[Any]] = set()
        self._failed: dict[tuple[str, str], StoredVariant] = {}
        """Intact versions that could not be served, by name and version."""
        self._thread = ThreadPoolExecutor(1, "loading", opener.prepare)
        self._leaving: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._left: Future[Any] | None = None
        """A step that was left behind. Kept, so that nothing it made is freed on its thread."""

    def __repr__(self) -> str:
        return f"<Repository changes={self._changes} loading={self._dataplane.loading}>"

    def check_explicit(self) -> None:
        """Raises `EffserveError(CHANGES_FORBIDDEN)` unless single variants may be loaded and unloaded."""
        self._allow(StoreChanges.EXPLICIT)

    async def load(self, name: str, version: int | None = None) -> Change:
        """Serve the newest version of a variant, or the one asked for."""
        self.check_explicit()
        return await self._in_turn(lambda: self._load(name, version))

    async def unload(self, name: str) -> Change:
        """Do not serve a variant any more."""
        self.check_explicit()
        return await self._in_turn(lambda: self._unload(name))

    async def bring(self, name: str) -> Change:
        """Load what is known and not in memory; what cannot be loaded is no longer known."""
        return await self._in_turn(lambda: self._bring(name))

    async def reload(self) -> Sequence[Change]:
        """Serve the newest version of everything in the store, and nothing else. What fails is among the changes."""
        self._allow(StoreChanges.EXPLICIT, StoreChanges.POLL)
        return await self._in_turn(self._reload)

    async def follow(self, every_s: float) -> None:
        """Do the same every so many seconds, until cancelled. What was refused is tried again once its files change."""

        async def turn() -> None:
            await asyncio.sleep(every_s)
            await self._in_turn(lambda: self._reload(again=False))

        await self._over_and_over(turn)

    async def keep_useful(self) -> None:
        """Load what requests need and what has become more useful, where memory is limited, until cancelled."""
        await self._over_and_over(lambda: self._residency.turn(self.bring))

    async def _over_and_over(self, turn: Callable[[], Awaitable[None]]) -> None:
        """One turn that comes to nothing does not end it; the observer is told."""
        said = ""
        while True:
            try:
                await turn()
                said = ""
            except Exception as error:
                # The one broad catch of these loops: the store may be all right at the next look.
                reason, cause = (error.detail, None) if isinstance(error, EffserveError) else (repr(error), error)
                self._observer.observe(StoreUnread(reason, cause, news=reason != said))
                said = reason

    async def index(self) -> Sequence[StoreEntry]:
        """What the store holds, and what is served, with the reason why something is not."""
        there = await asyncio.to_thread(self._store.versions)
        known = list(self._dataplane.known())
        others = set(there) - {(entry.name, entry.version) for entry in known}
        return [*known, *(StoreEntry(*one, EntryState.UNAVAILABLE, "not loaded") for one in sorted(others))]

    def leave(self) -> None:
        """The service shuts down: who waits for something to be read or opened is told so at once, and nothing comes of
        it. A step that has begun cannot be cut short; it goes on, and nobody waits for it."""
        if not self._leaving.done():
            self._leaving.set_result(None)

    async def close(self) -> bool:
        """Leave, and wait for a swap in hand. False when the loading thread is still inside its last step."""
        self.leave()
        await asyncio.gather(*self._working, return_exceptions=True)
        self._thread.shutdown(wait=False)
        return self._left is None or self._left.done()

    def _allow(self, *modes: StoreChanges) -> None:
        if self._changes not in modes:
            allowed = " or ".join(f"`{mode}`" for mode in modes)
            detail = f"store.changes is `{self._changes}`; this needs {allowed}"
            raise EffserveError(ErrorKind.CHANGES_FORBIDDEN, detail)

    async def _in_turn(self, work: Callable[[], Awaitable[T]]) -> T:
        """A change that has begun is carried through, whether or not somebody still waits for it."""

        async def alone() -> T:
            async with self._turn:
                self._refuse_when_draining()
                return await work()

        task = asyncio.create_task(alone())
        self._working.add(task)
        task.add_done_callback(self._done)
        return await asyncio.shield(task)

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._working.discard(task)
        if not task.cancelled():
            # Whoever asked may have gone; the observer knows what became of it.
            task.exception()

    async def _load(self, name: str, version: int | None) -> Change:
        found = None
        if re.fullmatch(NAME_PATTERN, name):
            found = await self._aside(lambda: self._store.find(name, version))
        if found is None:
            which = "" if version is None else f"version {version} of "
            raise EffserveError(ErrorKind.UNKNOWN_VARIANT, f"the store has no {which}{name[:SHOWN_NAME]!r}")
        try:
            with self._residency.pinning(name):
                return await self._put_or_fail(found)
        finally:
            await self._say_anew()

    async def _put_or_fail(self, found: StoredVariant | RefusedVariant) -> Change:
        change = await self._put(found)
        if change.kind is ChangeKind.REFUSED:
            detail = f"{change.name} version {change.version} cannot be served: {change.reason}"
            raise EffserveError(ErrorKind.LOAD_FAILED, detail)
        return change

    async def _say_anew(self) -> None:
        """What fits depends on who has to stay, and that may have changed while what is served has not."""
        edition = self._edition(self._dataplane.served())
        if any(self._dataplane.not_resident(one.variant.name) != one for one in edition.policy.catalogue.absent):
            await self._adopt(edition)

    async def _bring(self, name: str) -> Change:
        known = self._dataplane.absent().get(name)
        if known is None:
            return Change(ChangeKind.KEPT, name, "")
        version = known.manifest.version
        found = await self._aside(lambda: self._store.find(name, version))
        change = await self._caught(found or RefusedVariant(name, str(version), "it is gone from the store"))
        if change.kind is ChangeKind.REFUSED:
            await self._forget(name)
        return change

    async def _forget(self, name: str) -> None:
        """What is not in memory is not known any more, either."""
        absent = {other: entry for other, entry in self._dataplane.absent().items() if other != name}
        await self._adopt(self._edition(self._dataplane.served(), absent))

    async def _unload(self, name: str) -> Change:
        served, started_s = self._dataplane.served(), time.perf_counter()
        if (absent := self._dataplane.absent().get(name)) is not None:
            await self._forget(name)
            self._residency.unpin(name)
            return Change(ChangeKind.UNLOADED, name, _version(absent))
        if name not in served:
            detail = f"no variant {name[:SHOWN_NAME]!r} is served; there are {', '.join(sorted(served))}"
            raise EffserveError(ErrorKind.UNKNOWN_VARIANT, detail)
        change = Change(ChangeKind.UNLOADED, name, _version(served[name]))
        await self._adopt(self._edition({other: entry for other, entry in served.items() if other != name}))
        self._residency.unpin(name)
        self._tell(change, started_s)
        return change

    async def _evict(self, name: str, for_whom: str) -> Change:
        """It stays known."""
        served, started_s = self._dataplane.served(), time.perf_counter()
        rest = {other: entry for other, entry in served.items() if other != name}
        await self._adopt(self._edition(rest, {**self._dataplane.absent(), name: served[name]}))
        change = Change(ChangeKind.UNLOADED, name, _version(served[name]), f"to make room for {for_whom}")
        self._tell(change, started_s)
        return change

    async def _reload(self, *, again: bool = True) -> Sequence[Change]:
        """Unless `again`, what could not be opened is left alone while its files are what they were."""
        try:
            found = await self._aside(self._store.scan)
        except StoreError as error:
            raise EffserveError(ErrorKind.CHANGE_REFUSED, str(error)) from error
        chosen = self._residency.wanted_of(found.entries)
        left = {_key(entry) for entry in found.entries if not again and self._failed.get(_key(entry)) is entry}
        wanted = [entry for entry in self._wanted(found) if _key(entry) not in left]
        changes = await self._know([entry for entry in wanted if entry.manifest.name not in chosen])
        wanted = [entry for entry in wanted if entry.manifest.name in chosen]
        changes += [await self._tried(entry) for entry in wanted] + [self._refused(one) for one in found.refused]
        there = {entry.manifest.name for entry in found.entries} | {refused.name for refused in found.refused}
        changes += [await self._gone(name) for name in sorted(set(self._dataplane.served()) - there)]
        refused = left | {(change.name, change.version) for change in changes if change.kind is ChangeKind.REFUSED}
        self._dataplane.refuse(one for one in self._dataplane.refused() if (one.name, one.version) in refused)
        return changes

    def _wanted(self, found: StoreScan) -> Iterator[StoredVariant]:
        """The newest of each; but while the files of what is served are damaged, nothing older takes its place. First
        those that a budget can choose: they may make it possible that others cannot be."""
        damaged = {(refused.name, refused.version) for refused in found.refused}
        for entry in sorted(found.entries, key=lambda entry: not self._chosen(entry)):
            now = self._dataplane.served().get(entry.manifest.name)
            if now is None or _key(now) not in damaged or entry.manifest.version > now.manifest.version:
                yield entry

    async def _know(self, others: Sequence[StoredVariant]) -> list[Change]:
        """These are in the store, and there is no memory for them; some may have to go. All that may, or nobody."""
        absent = {entry.manifest.name: entry for entry in others}
        edition = self._edition({k: entry for k, entry in self._dataplane.served().items() if k not in absent}, absent)
        going = sorted(self._dataplane.served().keys() & absent)
        changes = [await self._evict(name, "others in the store") for name in going]
        if absent != self._dataplane.absent():
            await self._adopt(edition)
        return changes

    def _chosen(self, entry: StoredVariant) -> bool:
        """Whether a budget could choose it if there were no other."""
        return bool(self._policy_of([entry.variant()], ()).catalogue.routed())

    async def _tried(self, entry: StoredVariant) -> Change:
        """That there is no room for it is no reason not to look at the others."""
        try:
            return await self._caught(entry)
        except EffserveError as error:
            if error.kind is not ErrorKind.MEMORY_LIMIT:
                raise
            return self._refused(RefusedVariant(*_key(entry), error.detail))

    async def _caught(self, entry: StoredVariant | RefusedVariant) -> Change:
        """Nor what fails in a way that nobody foresaw."""
        if isinstance(entry, RefusedVariant):
            return self._refused(entry)
        try:
            return await self._put(entry)
        except EffserveError:
            raise
        except Exception as error:
            self._failed[_key(entry)] = entry
            self._observer.observe(StoreUnread(f"{entry.manifest.name} cannot be loaded: {error!r}", error))
            return self._refused(RefusedVariant(*_key(entry), f"it cannot be loaded: {error!r}"))

    async def _gone(self, name: str) -> Change:
        """What is not in the store any more."""
        try:
            return await self._unload(name)
        except EffserveError as error:
            if error.kind is not ErrorKind.CHANGE_REFUSED:
                raise
            version = _version(self._dataplane.served()[name])
            return self._refused(RefusedVariant(name, version, f"it is gone from the store: {error.detail}"))

    async def _put(self, found: StoredVariant | RefusedVariant) -> Change:
        """Serve what was found, or say why not."""
        if isinstance(found, RefusedVariant):
            return self._refused(found)
        name, started_s = found.manifest.name, time.perf_counter()
        before = self._dataplane.served().get(name)
        if before is not None and (before.manifest, before.folder) == (found.manifest, found.folder):
            self._forgive(found)
            return Change(ChangeKind.KEPT, name, _version(found))
        try:
            self._edition({**self._dataplane.served(), name: found})
        except EffserveError as error:
            # Others decide about that, so it is tried again whether or not its files change.
            return self._refused(RefusedVariant(name, _version(found), error.detail))
        if before is None or before.folder != found.folder:
            for other in self._residency.room_for(found):
                await self._evict(other, name)
        try:
            await self._serve(found, before)
        except SessionError as error:
            self._failed[_key(found)] = found
            return self._refused(RefusedVariant(name, _version(found), str(error)))
        kind = ChangeKind.LOADED if before is None else ChangeKind.REPLACED
        change = Change(
            kind, name, _version(found), "" if before is None else f"in place of version {_version(before)}"
        )
        self._tell(change, started_s)
        return change

    async def _serve(self, found: StoredVariant, before: StoredVariant | None) -> None:
        """Where only what is said of the network has changed, its session is kept, and what is known of its runs.
        Raises `SessionError` when it cannot be served."""
        edition = self._edition({**self._dataplane.served(), found.manifest.name: found})
        if before is None or before.folder != found.folder:
            opened = await self._opened(found)
            self._refuse_when_draining()
            self._runners[found.variant()] = opened.runner
            self._observer.observe(loaded_event(found, opened.runner.session, opened.load_s))
            edition = replace(edition, costs={**edition.costs, found.manifest.name: opened.cost})
        elif _network(before) != _network(found):
            raise SessionError("its network was changed in place while it is served; it needs a new version")
        else:
            self._runners[found.variant()] = self._runners[before.variant()]
        self._forgive(found)
        await self._adopt(edition)

    async def _opened(self, found: StoredVariant) -> Opened:
        known = self._known(min(self._dataplane.served().values(), key=lambda other: _unlike(found, other)))
        with self._loading(found):
            return await self._aside(lambda: self._opener.open(found, known, self._refuse_when_draining))

    def _forgive(self, found: StoredVariant) -> None:
        """Whatever was wrong with this version is so no more."""
        self._dataplane.refuse(one for one in self._dataplane.refused() if (one.name, one.version) != _key(found))

    def _known(self, entry: StoredVariant) -> Known:
        return Known(self._runners[entry.variant()], self._dataplane.calibrated(entry.manifest.name))

    def _edition(
        self, entries: Mapping[str, StoredVariant], absent: Mapping[str, StoredVariant] | None = None
    ) -> Edition:
        """`absent` None: what is known beside `entries` stays so. Raises `EffserveError(CHANGE_REFUSED)`."""
        known = self._dataplane.absent() if absent is None else absent
        absent = {name: entry for name, entry in known.items() if name not in entries}
        variants = [entry.variant() for entry in entries.values()]
        policy = self._policy_of(variants, self._residency.absences(absent.values(), entries))
        if not policy.catalogue.routed():
            detail = "after that no variant would be served that a budget can choose"
            raise EffserveError(ErrorKind.CHANGE_REFUSED, detail)
        return Edition(entries, policy, {name: self._residency.cost(entry) for name, entry in absent.items()}, absent)

    async def _adopt(self, edition: Edition) -> None:
        """Returns when what is not served any more is free."""
        self._refuse_when_draining()
        free = asyncio.get_running_loop().create_future()
        self._dataplane.adopt(edition, lambda: free.set_result(None))
        await free
        # Freeing a session keeps the interpreter's lock, so it is soonest done at full priority: here, once the loading
        # thread has let go of what it measured by.
        await asyncio.wrap_future(self._thread.submit(lambda: None))
        gone = set(self._runners).difference(edition.policy.catalogue.variants)
        for variant in gone:
            del self._runners[variant]
        if gone:
            self._give_back()

    def _give_back(self) -> None:
        """What runs of larger variants have computed in, before anything else is loaded: the thread takes one step
        after the other. Nobody waits for that; if it fails, the loop tells."""
        smallest = min(self._runners.values(), key=lambda runner: runner.preprocessing.input_size_px)
        asyncio.wrap_future(self._thread.submit(smallest.session.give_back))

    def _refused(self, refused: RefusedVariant) -> Change:
        """Told only where it is news: a store is looked at again and again."""
        change = Change(ChangeKind.REFUSED, refused.name, refused.version, refused.reason)
        known = self._dataplane.refused()
        if refused not in known:
            others = [one for one in known if (one.name, one.version) != (refused.name, refused.version)]
            self._dataplane.refuse([*others, refused])
            self._observer.observe(VariantRefused(refused.name, refused.version, refused.reason))
            self._observer.observe(VariantChanged(change, 0.0))
        return change

    def _tell(self, change: Change, started_s: float) -> None:
        self._observer.observe(VariantChanged(change, time.perf_counter() - started_s))

    def _refuse_when_draining(self) -> None:
        if self._dataplane.draining or self._leaving.done():
            raise _shutting_down()

    @contextmanager
    def _loading(self, found: StoredVariant) -> Iterator[None]:
        self._dataplane.loading = (StoreEntry(*_key(found), EntryState.LOADING),)
        try:
            yield
        finally:
            self._dataplane.loading = ()

    async def _aside(self, work: Callable[[], T]) -> T:
        """On the loading thread. Raises `EffserveError(DRAINING)` as soon as the service shuts down."""
        self._refuse_when_draining()
        step = self._thread.submit(work)
        done = asyncio.wrap_future(step)
        either: tuple[asyncio.Future[Any], ...] = (done, self._leaving)
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if done.done():
            return done.result()
        done.cancel()
        self._left = step
        raise _shutting_down()


def allowed(repository: Repository | None) -> Repository:
    """Raises `EffserveError(CHANGES_FORBIDDEN)` where there is none."""
    if repository is None:
        raise EffserveError(ErrorKind.CHANGES_FORBIDDEN, "what this service serves is fixed")
    return repository


def _shutting_down() -> EffserveError:
    return EffserveError(ErrorKind.DRAINING, "the service is shutting down; what it serves stays as it is")


def _version(entry: StoredVariant) -> str:
    return str(entry.manifest.version)


def _key(entry: StoredVariant) -> tuple[str, str]:
    return entry.manifest.name, _version(entry)


def _unlike(one: StoredVariant, other: StoredVariant) -> float:
    """How far apart the work of their runs is."""
    return abs(math.log(one.manifest.macs / other.manifest.macs))


def _network(entry: StoredVariant) -> tuple[object, ...]:
    """What a session depends on."""
    manifest = entry.manifest
    return manifest.graph_sha256, manifest.labels, manifest.preprocessing
