"""How many workers what is set comes to."""

import resource
from contextlib import nullcontext

import pytest

from service.core.workers import Workers
from service.settings import SettingsError, load
from service.startup import StartupError, allow_many_files
from service.workers.run import run, wanted


@pytest.mark.parametrize(
    ("count", "lanes", "workers"),
    [
        (1, {}, 1),
        ("4", {}, 4),
        ("auto", {}, 4),
        ("auto", {"threads": 2}, 2),
        ("auto", {"count": 48}, 6),
        (3, {"threads": 8}, 3),
    ],
)
def test_workers_share_lanes(count: int | str, lanes: dict[str, int], workers: int) -> None:
    """On 32 cores, with as many lanes unless somebody wants it otherwise."""
    assert wanted(load(None, {"workers": {"count": count}, "lanes": lanes}), 32) == Workers(workers)


def test_there_are_no_more_workers_than_lanes() -> None:
    """And it is told."""
    assert wanted(load(None, {"workers": {"count": 8}, "lanes": {"threads": 8}}), 32) == Workers(
        4, "8 workers were asked for, and there are 4 lanes to share: 4 workers"
    )


@pytest.mark.parametrize("count", ["many", "0", "1000", 1.5])
def test_anything_else_is_refused_by_name(count: object) -> None:
    """A number from 1 on, or `auto`."""
    with pytest.raises(SettingsError, match=r"^workers\.count: "):
        load(None, {"workers": {"count": count}})


def test_the_environment_may_say_auto(monkeypatch: pytest.MonkeyPatch) -> None:
    """As any other value."""
    monkeypatch.setenv("EFFSERVE_WORKERS_COUNT", "auto")
    assert load().workers.count is None


@pytest.mark.parametrize("group", ["log", "tracing"])
def test_what_would_change_one_process_alone_is_refused(group: str) -> None:
    """Before anything starts."""
    settings = load(None, {"workers": {"count": 2}, "lanes": {"count": 2}, group: {"changes": True}})
    with pytest.raises(StartupError, match=r"log\.changes and tracing\.changes .+ workers\.count to be 1"):
        run(settings, lambda _: nullcontext(lambda _: None))


def test_memory_is_limited_in_one_process_alone() -> None:
    """The others would not have what it loads for its requests."""
    settings = load(None, {"workers": {"count": 2}, "lanes": {"count": 2}, "store": {"memory_limit_mib": 300}})
    with pytest.raises(StartupError, match=r"store\.memory_limit_mib .+ workers\.count to be 1"):
        run(settings, lambda _: nullcontext(lambda _: None))


def test_as_many_files_may_be_open_as_the_system_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything else begins: a connection is a file, and workers inherit what their supervisor may."""
    seen = []
    monkeypatch.setattr("service.app.run", lambda *_: seen.append(resource.getrlimit(resource.RLIMIT_NOFILE)))
    before = soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft - 1, hard))
    try:
        run(load(None, {}), lambda _: nullcontext(lambda _: None))
        assert seen == [(hard, hard)]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.parametrize("why", [ValueError, OSError])
def test_a_limit_that_cannot_be_reached_ends_no_start(monkeypatch: pytest.MonkeyPatch, why: type[Exception]) -> None:
    """Some systems have a hard limit that they do not let anybody have."""

    def refused(*_: object) -> None:
        raise why("current limit exceeds maximum limit")

    monkeypatch.setattr(resource, "setrlimit", refused)
    assert allow_many_files() == resource.getrlimit(resource.RLIMIT_NOFILE)[0]
