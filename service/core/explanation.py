"""Why this variant and not another: a reason for each decision, a verdict for each candidate."""

from service.core.catalogue import rank
from service.core.situation import Situation
from service.core.values import Candidate, Job, Question, Reason, Variant, Verdict


def candidates(situation: Situation, job: Job, fitting: tuple[Variant, ...], chosen: Variant) -> tuple[Candidate, ...]:
    """One row for each variant that is served; `fitting` is what the choice was made from."""
    return tuple(_candidate(situation, variant, job, fitting, chosen) for variant in situation.catalogue.variants)


def _candidate(
    situation: Situation, variant: Variant, job: Job, fitting: tuple[Variant, ...], chosen: Variant
) -> Candidate:
    return Candidate(
        variant=variant,
        expected_s=situation.expected_s(job, variant),
        tail_s=situation.tail_s(job, variant),
        verdict=Verdict.CHOSEN if variant == chosen else _verdict(situation, variant, job, fitting, chosen),
    )


def _verdict(
    situation: Situation, variant: Variant, job: Job, fitting: tuple[Variant, ...], chosen: Variant
) -> Verdict:
    """Why this variant was not chosen."""
    question = job.question
    if question.variant is not None:
        return Verdict.NOT_ASKED_FOR
    if variant.rank_top1 is None:
        return Verdict.UNKNOWN_ACCURACY
    if not variant.trained and not situation.catalogue.route_untrained:
        return Verdict.UNTRAINED
    if question.min_top1 is not None:
        return Verdict.BELOW_MIN_ACCURACY if variant.rank_top1 < question.min_top1 else Verdict.COSTLIER
    if variant not in situation.front:
        return Verdict.DOMINATED
    if variant not in situation.eligible(job):
        return Verdict.TERMINATED
    if variant not in fitting:
        return Verdict.TOO_SLOW
    if variant.rank_top1 < rank(chosen):
        return Verdict.LESS_ACCURATE
    if question.insures:
        return Verdict.MAY_FOLLOW if job.in_hand is None else Verdict.LITTLE_SPARE_TIME
    return Verdict.WOULD_STARVE_WAITING


def reason(question: Question, fitting: tuple[Variant, ...], chosen: Variant) -> Reason:
    """Of a job without an answer in hand."""
    if question.variant is not None:
        return Reason.NAMED_BY_REQUEST
    if question.min_top1 is not None:
        return Reason.CHEAPEST_AT_MIN_ACCURACY
    if not fitting:
        return Reason.CHEAPEST_NONE_FITS
    if question.insures:
        return Reason.INSURES
    return Reason.MOST_ACCURATE_THAT_FITS if chosen == fitting[0] else Reason.PROTECTS_WAITING
