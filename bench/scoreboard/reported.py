"""Cost and memory from a report of the bench, where there is one."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any, Final

from bench.figures import figure
from bench.scoreboard.results import Cost

if TYPE_CHECKING:
    from pathlib import Path

_ROW: Final = "small-64"
_MIB: Final = 1024 * 1024


def costs(report: Path) -> dict[str, Cost]:
    """Return what each peer of a `report.json` costs, if the report has both figures; empty without a report."""
    if not report.is_file():
        return {}
    said = json.loads(report.read_text(encoding="utf-8"))
    loads: list[dict[str, Any]] = said["loads"].get(_ROW, [])
    memory: list[dict[str, Any]] = said["memory"]
    origin = f"`make bench`, row `{_ROW}`: medians of {len(loads)} rounds, access log off; memory at rest"
    found = {}
    for name in {name for each in loads for name in each}:
        cost = figure(_cpu(each[name]) for each in loads if name in each)
        rest = figure(each[name]["at_rest"] / _MIB for each in memory if name in each)
        if cost.known and rest.known:
            found[name] = Cost(cost.median, rest.median, origin)
    return found


def _cpu(sample: dict[str, Any]) -> float:
    return sample["cpu_seconds"] / sample["amount"] * 1e6 if sample["amount"] else math.nan
