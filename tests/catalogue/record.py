"""The record of a run: for each case the tests that showed it, and what their servers and clients saw."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

RECORD: Final = Path(__file__).with_name("record.json")

# case -> test (without parameters) -> what was seen: "U" and "T" as [least, most], the others as sorted lists.
Record = dict[str, dict[str, dict[str, list[Any]]]]


def function(test: str) -> str:
    """Return the name of the test without its parameters."""
    return test.partition("[")[0]


def add(record: Record, case: str, test: str, seen: Mapping[str, Any]) -> None:
    """Add one passed test to the record; runs of one function with other parameters come together."""
    row = record.setdefault(case, {}).setdefault(function(test), {})
    for name in ("U", "T"):
        if seen[name] is not None:
            known = row.get(name, [seen[name], seen[name]])
            row[name] = [min(known[0], seen[name]), max(known[1], seen[name])]
    for name in ("answers", "faults", "exits"):
        if seen[name]:
            row[name] = sorted({*row.get(name, ()), *seen[name]})


def read() -> Record:
    """Return the record that was last written."""
    found: Record = json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.exists() else {}
    return found


def merged(old: Record, new: Record, ran: Iterable[str], there: Iterable[str]) -> Record:
    """Return `new`, and of `old` what neither ran now nor is gone; numbers that differ between runs become a range."""
    ran, there = set(ran), set(there)
    kept: Record = {}
    for case, tests in old.items():
        for test, row in tests.items():
            if test in there and test not in ran:
                kept.setdefault(case, {})[test] = row
    for case, tests in new.items():
        for test, row in tests.items():
            kept.setdefault(case, {})[test] = row
    return kept


def write(record: Record) -> None:
    """Write the record, one line a test, in an order that does not depend on the run."""
    cases = []
    for case in sorted(record, key=order):
        rows = [f"  {json.dumps(test)}: {json.dumps(record[case][test])}" for test in sorted(record[case])]
        cases.append(f"{json.dumps(case)}: {{\n" + ",\n".join(rows) + "\n}")
    RECORD.write_text("{\n" + ",\n".join(cases) + "\n}\n", encoding="utf-8")


def order(case: str) -> tuple[str, int]:
    """Return the place of a case among others."""
    letter, _, number = case.partition("-")
    return letter, int(number)
