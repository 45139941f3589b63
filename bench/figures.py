"""From samples to figures: medians, spreads, ratios of the same round, and whether the counts agree. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


@dataclass(frozen=True, slots=True)
class Sample:
    """One peer under one load, once. Latencies in microseconds; `amount` is what `cpu_seconds` was spent on.

    `amount` is in whole answers, also where the load stopped within some: bytes of bodies over the size of one.
    `counted` is what the upstream saw; `foreign` the share of the proxy's core that others used meanwhile.
    """

    amount: float
    seconds: float
    cpu_seconds: float
    p50: float
    p99: float
    sent: int
    completed: int
    counted: int
    failed: int
    broken: int
    foreign: float

    @property
    def cpu(self) -> float:
        """CPU time per answer in microseconds."""
        return self.cpu_seconds / self.amount * 1e6 if self.amount else math.nan

    @property
    def millicores(self) -> float:
        """CPU time per second, in thousandths of a core."""
        return self.cpu_seconds / self.seconds * 1e3

    @property
    def rate(self) -> float:
        """Answers per second."""
        return self.amount / self.seconds


@dataclass(frozen=True, slots=True)
class Figure:
    """The median of some rounds, the lowest and the highest of them."""

    median: float
    low: float
    high: float

    @property
    def known(self) -> bool:
        """Whether there was anything to take the median of."""
        return not math.isnan(self.median)


UNKNOWN = Figure(math.nan, math.nan, math.nan)


def figure(values: Iterable[float]) -> Figure:
    """Return the median of `values` and their spread; not-a-numbers are left out."""
    known = sorted(value for value in values if not math.isnan(value))
    return Figure(median(known), known[0], known[-1]) if known else UNKNOWN


def ratio(rounds: Sequence[Mapping[str, float]], peer: str, base: str) -> Figure:
    """Return `peer` over `base`: the median of the ratios within each round, so that a slow minute cancels out."""
    return figure(each[peer] / each[base] for each in rounds if peer in each and each.get(base))


def excess(rounds: Sequence[Mapping[str, float]], peer: str, base: str) -> Figure:
    """Return how much `peer` has more than `base`, within each round as `ratio` does."""
    return figure(each[peer] - each[base] for each in rounds if peer in each and base in each)


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the smallest value that `percent` of all values do not exceed; nan of none."""
    if not values:
        return math.nan
    place = max(0, math.ceil(len(values) * percent / 100) - 1)
    return sorted(values)[place]


def mismatch(sample: Sample) -> str | None:
    """Say what is wrong with the counts of a sample; None when load and upstream agree.

    A load that stops leaves requests under way: the upstream must have seen at least what was answered and at most what
    was sent, and nothing may have failed.
    """
    if sample.failed:
        return f"{sample.failed} of {sample.completed} answers were not 2xx"
    if sample.broken:
        return f"{sample.broken} streams broke or stood still"
    if not sample.completed:
        return "nothing was answered"
    if not sample.completed <= sample.counted <= sample.sent:
        return (
            f"the load sent {sample.sent} and got {sample.completed} answers, but the upstream counted {sample.counted}"
        )
    return None
