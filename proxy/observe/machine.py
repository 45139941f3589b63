"""Metrics of the interpreter and its process, by prometheus_client; imported by the first scrape, off the loop."""

from __future__ import annotations

from typing import Final

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics

_REGISTRY: Final = CollectorRegistry()
ProcessCollector(registry=_REGISTRY)
PlatformCollector(registry=_REGISTRY)
GCCollector(registry=_REGISTRY)


def render(*, openmetrics: bool) -> bytes:
    """Return the exposition of memory, CPU time, file descriptors and garbage collections, without an end mark."""
    if openmetrics:
        whole: bytes = generate_openmetrics(_REGISTRY)  # type: ignore[no-untyped-call]  # the library's gap
        return whole.removesuffix(b"# EOF\n")
    return generate_latest(_REGISTRY)
