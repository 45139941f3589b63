"""Counts per bucket in a plain list: cheap to add to, and a scrape reads it as it is."""

from __future__ import annotations

from bisect import bisect_left


class Histogram:
    """Counts per bucket (upper bounds inclusive, the last one is +Inf) and the sum, in seconds."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, seconds: float) -> None:
        """Count one observation."""
        self.counts[bisect_left(self.bounds, seconds)] += 1
        self.total += seconds
