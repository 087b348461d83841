"""Why this variant and not another: a reason for each decision, a verdict for each candidate."""

from service.core.catalogue import Catalogue, rank
from service.core.situation import Situation
from service.core.state import Costs
from service.core.values import Candidate, Job, Question, Reason, Variant, Verdict


def candidates(
    situation: Situation, job: Job, fitting: tuple[Variant, ...], chosen: Variant, *, insured: bool
) -> tuple[Candidate, ...]:
    """One row for each variant that is known; `fitting` is what the choice was made from."""
    known = situation.catalogue.known()
    return tuple(_candidate(situation, variant, job, fitting, chosen, insured=insured) for variant in known)


def _candidate(
    situation: Situation, variant: Variant, job: Job, fitting: tuple[Variant, ...], chosen: Variant, *, insured: bool
) -> Candidate:
    refused = None if variant == chosen else _verdict(situation, variant, job, fitting, chosen, insured=insured)
    return Candidate(
        variant=variant,
        expected_s=situation.expected_s(job, variant),
        tail_s=situation.tail_s(job, variant),
        verdict=refused or Verdict.CHOSEN,
    )


def _verdict(
    situation: Situation, variant: Variant, job: Job, fitting: tuple[Variant, ...], chosen: Variant, *, insured: bool
) -> Verdict:
    """Why this variant was not chosen."""
    question = job.question
    if question.variant is not None:
        return Verdict.NOT_ASKED_FOR
    if variant not in situation.catalogue.variants:
        return Verdict.NOT_RESIDENT
    if (barred := situation.catalogue.withheld(variant, situation.costs)) is not None:
        return barred
    if question.min_top1 is not None:
        return Verdict.BELOW_MIN_ACCURACY if rank(variant) < question.min_top1 else Verdict.COSTLIER
    if variant not in situation.front:
        return Verdict.DOMINATED
    if variant not in situation.eligible(job):
        return Verdict.TERMINATED
    if variant not in fitting:
        return Verdict.TOO_SLOW
    if rank(variant) < rank(chosen):
        return Verdict.LESS_ACCURATE
    if insured:
        return Verdict.MAY_FOLLOW if job.in_hand is None else Verdict.LITTLE_SPARE_TIME
    return Verdict.WOULD_STARVE_WAITING


_WITHHELD = {
    Verdict.UNKNOWN_ACCURACY: "its accuracy is not known",
    Verdict.UNTRAINED: "its weights are untrained",
    Verdict.NO_QUICKER: "it is not clearly quicker here than {original}, which it was made from",
    Verdict.OUTDATED: "it was compared with {original} before the accuracy of that was measured anew",
}


def why_never(catalogue: Catalogue, variant: Variant, costs: Costs) -> str:
    """The reason why no budget, however large, makes a request choose this variant unless it names it. Empty when one
    does."""
    if variant not in catalogue.variants:
        return "it is not in memory: others are worth more within `store.memory_limit_mib`"
    if (barred := catalogue.withheld(variant, costs)) is not None:
        return _WITHHELD[barred].format(original=variant.original)
    if (better := catalogue.dominator(variant, costs)) is not None:
        return f"{better.name} is at least as accurate and not slower"
    return ""


def reason(question: Question, fitting: tuple[Variant, ...], chosen: Variant, *, insured: bool) -> Reason:
    """Of a job without an answer in hand."""
    if question.variant is not None:
        return Reason.NAMED_BY_REQUEST
    if question.min_top1 is not None:
        return Reason.CHEAPEST_AT_MIN_ACCURACY
    if not fitting:
        return Reason.CHEAPEST_NONE_FITS
    if insured:
        return Reason.INSURES if question.insures else Reason.INSURES_UNDER_LOAD
    return Reason.MOST_ACCURATE_THAT_FITS if chosen == fitting[0] else Reason.PROTECTS_WAITING
