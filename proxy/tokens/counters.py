"""What the renewals of one connection add up to: plain counters that a scrape reads."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from proxy.histogram import Histogram
from proxy.oauth.failure import Outcome
from proxy.oauth.request import REFRESH

# Seconds. A token endpoint answers in tens of milliseconds to seconds; what is slower runs into `token_total`.
BUCKETS: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


@dataclass(frozen=True, slots=True)
class TokenCounters:
    """`requests` counts by (grant type sent, outcome): every known pair is there from the start, at 0."""

    connection: str
    requests: dict[tuple[str, str], int]
    duration: Histogram = field(default_factory=lambda: Histogram(BUCKETS))


def counters(connection: str, grant: str, before: TokenCounters | None = None) -> TokenCounters:
    """Return the counters of a connection that uses `grant`, and refreshes where it can.

    They go on from those `before` a reload, which a request that is still under way goes on counting in.
    """
    found = before or TokenCounters(connection, {})
    for sent in (grant, REFRESH):
        for outcome in Outcome:
            found.requests.setdefault((sent, outcome.value), 0)
    return found
