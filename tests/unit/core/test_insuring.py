"""Who is insured: a request that names one variant, by name or by accuracy, has nothing better to wait for."""

from dataclasses import replace

import pytest

from service.core.actions import Start
from service.core.latency import Observation
from service.core.scheduler import Scheduler
from service.core.values import AccuracySource, Job, PolicyName, Variant
from tests.builders import FAMILY, TIMES_S, job, latency, policy

UNKNOWN = Variant("u", 1, None, AccuracySource.NONE, trained=True)
"""Can be asked for by name only."""


def insured(**asked: object) -> Job:
    """A job of policy P2 that all variants fit."""
    one = job(1, 1.0, **asked)  # type: ignore[arg-type]
    return replace(one, question=replace(one.question, policy=PolicyName.P2))


@pytest.mark.parametrize(
    ("asked", "first"), [({"variant": "b1"}, "b1"), ({"min_top1": 0.8}, "b2"), ({"variant": "u"}, "u")]
)
def test_a_named_variant_is_final(asked: dict[str, object], first: str) -> None:
    """Also one of unknown accuracy, to which nothing compares; the books are even."""
    subject = Scheduler(policy=policy((*FAMILY, UNKNOWN)), latency=latency(TIMES_S | {"u": 0.01}), lanes=1)
    (start,) = subject.submit(0.0, insured(**asked))
    assert isinstance(start, Start)
    assert start.decision.variant.name == first
    assert subject.finish(0.1, 0, Observation(first, "JPEG", 0.0, 0.0, 0.1)) == []
    now = subject.statistics(0.1)
    assert (now.finished, now.insured) == (1, 0)


def test_others_are_kept() -> None:
    """The cheapest answers, and the best that fits is tried at once."""
    subject = Scheduler(policy=policy(), latency=latency(), lanes=1)
    subject.submit(0.0, insured())
    (upgrade,) = subject.finish(0.016, 0, Observation("b0", "JPEG", 0.0, 0.0, 0.016))
    assert isinstance(upgrade, Start)
    assert (upgrade.job.in_hand, upgrade.decision.variant.name) == (FAMILY[0], "b4")
