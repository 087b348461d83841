"""When a question is asked again: pure rules, with time and chance as arguments.

A pause grows exponentially and is drawn from zero to its limit ("full jitter"), so that clients that failed together do
not come back together. What the server names as `Retry-After` is the least. A budget of retries, shared by all calls
of a client, keeps many clients from multiplying the load of a server that is down: the token bucket of gRPC's retry
throttling (gRFC A6).
"""

from dataclasses import dataclass

from service.client.errors import ClientError

LATER = 0.25
"""A pause that the server named is lengthened by up to this share of it."""


@dataclass(frozen=True, slots=True)
class Retries:
    """How often, and after how long."""

    attempts: int = 3
    """In all, with the first."""
    pause_s: float = 0.05
    """Limit of the first pause; each further one is twice as long."""
    longest_pause_s: float = 1.0
    tokens: float = 10.0
    """Of the retry budget that all calls of a client share."""

    def after(self, error: ClientError, *, attempt: int, left_s: float, chance: float) -> float | None:
        """Seconds until the next attempt; None when there is none.

        `attempt` is the number of the one that failed, from 1; `left_s` the caller's time; `chance` in [0, 1).
        """
        if not error.retryable or attempt >= self.attempts:
            return None
        if error.retry_after_s is not None:
            pause_s = error.retry_after_s * (1 + LATER * chance)
        else:
            pause_s = chance * min(self.pause_s * 2 ** (attempt - 1), self.longest_pause_s)
        return pause_s if pause_s < left_s else None


NEVER = Retries(attempts=1)


class RetryBudget:
    """Failures take a token, successes give a tenth back; below half there are no retries."""

    PER_SUCCESS = 0.1

    def __init__(self, tokens: float) -> None:
        self._most = self._tokens = tokens

    def __repr__(self) -> str:
        return f"<RetryBudget {self._tokens:g} of {self._most:g}>"

    @property
    def allows(self) -> bool:
        """Whether a failure may be followed by another attempt."""
        return self._tokens > self._most / 2

    def failed(self) -> None:
        """An attempt ended in a failure of the moment."""
        self._tokens = max(self._tokens - 1, 0.0)

    def succeeded(self) -> None:
        """An attempt was answered."""
        self._tokens = min(self._tokens + self.PER_SUCCESS, self._most)
