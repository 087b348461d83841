"""Rules that look at what is left of the budget of whoever is next, and at nothing else.

`Greedy`: the most accurate variant that fits. It is the aggressive baseline in RAMSIS' experiments (Mendoza et al.,
EuroSys 2024), and what "the best that fits the budget" means to most.

`SlackFit` (Khare et al., SuperServe, NSDI 2025). Offline, the latencies of all (network, batch) pairs are cut into
evenly spaced buckets; each bucket prefers its largest batch. Online, the bucket just below the slack of the most urgent
request gives the pair. Under load slack shrinks, and accuracy with it. Reduced: batches of 1, so that a bucket prefers
its most accurate variant and an empty one gives way to the next below. What remains beside `Greedy` is the grid: a
variant waits for the slack that its whole bucket needs.
"""

import math
from dataclasses import dataclass

from service.core.baselines.base import Baseline
from service.core.situation import Situation
from service.core.values import Job, Variant


@dataclass(frozen=True)
class Greedy(Baseline):
    """Whatever fits. It has no parameter."""

    def allows(self, situation: Situation, job: Job, variant: Variant) -> bool:
        """No condition but the own budget."""
        return True


@dataclass(frozen=True)
class SlackFit(Baseline):
    """Whatever lies in a bucket that fits whole."""

    buckets: float = 16
    """Buckets between the tail latencies of the cheapest and the most accurate variant. More come closer to Greedy."""

    def allows(self, situation: Situation, job: Job, variant: Variant) -> bool:
        """Whether the upper edge of the variant's bucket is within what is left."""
        eligible = situation.eligible(job)
        least_s, most_s = situation.tail_s(job, eligible[-1]), situation.tail_s(job, eligible[0])
        bucket_s = (most_s - least_s) / self.buckets
        bucket = math.ceil((situation.tail_s(job, variant) - least_s) / bucket_s)
        return least_s + bucket * bucket_s <= situation.left_s(job)
