"""The report: the bars beside what was measured, a table per row, memory and start; as Markdown, JSON and a plot."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from bench.figures import figure, ratio
from bench.plot import chart
from bench.rows import BARS, CLOSED, MEMORY, ROWS, SESSIONS, START, Closed, Measure, Outcome, Verdict, judge
from bench.upstream import SIZES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from bench.figures import Figure, Sample
    from bench.measure import Memory, Results
    from bench.rows import Bar, Open

_BASES: Final = ("nginx", "envoy")
_MIB: Final = 1024 * 1024
_DASH: Final = "\N{EN DASH}"


def write(folder: Path, results: Results, facts: Mapping[str, object], peers: Mapping[str, str]) -> str:
    """Write `report.md`, `report.json` and `cost.svg` into `folder`; return the Markdown."""
    folder.mkdir(parents=True, exist_ok=True)
    outcomes = [judge(bar, _values(bar, results)) for bar in BARS]
    text = "\n".join(_pages(results, outcomes, facts, peers)) + "\n"
    (folder / "report.md").write_text(text, encoding="utf-8")
    (folder / "report.json").write_text(json.dumps(_plain(results, outcomes, facts, peers), indent=1), encoding="utf-8")
    (folder / "cost.svg").write_text(_plot(results), encoding="utf-8")
    return text


def short(results: Results) -> list[Bar]:
    """Return the bars that were not reached."""
    return [bar for bar in BARS if judge(bar, _values(bar, results)).verdict is Verdict.SHORT]


def failed(results: Results) -> bool:
    """Whether the figures can't be believed: load and upstream counted differently, or a peer did something else."""
    return bool(results.mismatches)


def _values(bar: Bar, results: Results) -> list[dict[str, float]]:
    """Return what a bar is about, by round and peer."""
    if bar.row == MEMORY:
        pick = _OF_MEMORY[bar.measure]
        return [{name: pick(each) for name, each in found.items()} for found in results.memory]
    if bar.row == START:
        return results.starts
    if bar.row == SESSIONS:
        if bar.measure is Measure.SESSION:
            return [{name: each.session * 1e3 for name, each in found.items()} for found in results.sessions]
        return [{name: each.tunnel / 1024 for name, each in found.items()} for found in results.sessions]
    rounds = results.loads.get(bar.row, [])
    pick_load = _OF_LOAD[bar.measure]
    return [{name: pick_load(each) for name, each in found.items()} for found in rounds]


_OF_MEMORY: Final[dict[Measure, Callable[[Memory], float]]] = {
    Measure.REST: lambda each: each.at_rest / _MIB,
    Measure.IDLE: lambda each: each.idle / 1024,
    Measure.STALLED: lambda each: each.stalled / 1024,
}
_OF_LOAD: Final[dict[Measure, Callable[[Sample], float]]] = {
    Measure.CPU: lambda each: each.cpu,
    Measure.RATE: lambda each: each.rate,
    Measure.P99: lambda each: each.p99 / 1e3,
    Measure.MILLICORES: lambda each: each.millicores,
}


# Markdown


def _pages(
    results: Results, outcomes: Sequence[Outcome], facts: Mapping[str, object], peers: Mapping[str, str]
) -> Iterable[str]:
    yield "# The proxy beside its peers\n"
    yield from (f"- {name.replace('_', ' ')}: {value}" for name, value in facts.items() if name != "interpreter")
    yield "- peers: " + ", ".join(f"{name} {version}" for name, version in peers.items())
    yield from (f"- left out: {name} ({why.strip().splitlines()[0]})" for name, why in results.left_out.items())
    yield ""
    if results.mismatches:
        yield "**FAILED: these figures can't be believed.**\n"
        yield from (f"- {fault}" for fault in results.mismatches)
        yield ""
    yield "## Bars\n"
    yield from bars(outcomes)
    for name, peers_of in results.profiles.items():
        yield from _profile(name, peers_of)
    for row in ROWS:
        if results.loads.get(row.name):
            yield from _row(row, results.loads[row.name])
    if results.memory:
        yield from _memory(results.memory)
    if results.starts:
        yield from _starts(results.starts)


def bars(outcomes: Iterable[Outcome]) -> Iterable[str]:
    """Yield the table of bars and what was measured beside them."""
    yield "| row | bar | measured | spread | |"
    yield "|---|--:|--:|--:|---|"
    for outcome in outcomes:
        yield (
            f"| {outcome.bar.title} | {outcome.bar} | {_number(outcome.figure.median)} {outcome.bar.unit} | "
            f"{_spread(outcome.figure)} | {_verdict(outcome.verdict)} |"
        )
    yield ""


def _verdict(verdict: Verdict) -> str:
    return f"**{verdict.value}**" if verdict is Verdict.SHORT else verdict.value


def _row(row: Closed | Open, rounds: Sequence[Mapping[str, Sample]]) -> Iterable[str]:
    big = SIZES[row.size] >= _MIB
    how = "closed loop" if isinstance(row, Closed) else f"open loop, {row.connections} connections"
    yield f"## {row.title[0].upper()}{row.title[1:]} ({how}; `{row.name}`)\n"
    rate = "MB/s" if big else "requests/s"
    cost_of = "MiB" if big else "request"
    yield (
        f"| | CPU per {cost_of}, µs | spread | / nginx | / Envoy | millicores | {rate} | p50, ms | p99, ms | "
        "others on the core |"
    )
    yield "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|"
    scale = SIZES[row.size] / 1e6 if big else 1.0
    costs = [{name: each.cpu for name, each in found.items()} for found in rounds]
    for name in dict.fromkeys(name for found in rounds for name in found):
        samples = [found[name] for found in rounds if name in found]
        cost = figure(each.cpu for each in samples)
        against = " | ".join(_number(ratio(costs, name, base).median) for base in _BASES)
        yield (
            f"| {name} | {_number(cost.median)} | {_spread(cost)} | {against} | "
            f"{_number(figure(each.millicores for each in samples).median)} | "
            f"{_number(figure(each.rate * scale for each in samples).median)} | "
            f"{_number(figure(each.p50 / 1e3 for each in samples).median)} | "
            f"{_number(figure(each.p99 / 1e3 for each in samples).median)} | "
            f"{figure(each.foreign * 100 for each in samples).median:.0f} % |"
        )
    yield ""


def _profile(row: str, found: Mapping[str, Mapping[str, float]]) -> Iterable[str]:
    """Yield where the microseconds of a row that falls short go, beside those of whom it is compared with."""
    yield f"## Why `{row}` falls short: where the CPU time goes, µs\n"
    yield "| | " + " | ".join(found) + " |"
    yield "|---|" + "--:|" * len(found)
    for place in dict.fromkeys(place for parts in found.values() for place in parts):
        yield f"| {place} | " + " | ".join(_number(parts.get(place, math.nan)) for parts in found.values()) + " |"
    yield ""


def _memory(rounds: Sequence[Mapping[str, Memory]]) -> Iterable[str]:
    yield f"## Memory and start (`{MEMORY}`)\n"
    yield "| | exec → ready, ms | at rest, MiB | under load, MiB | per idle stream, KiB | per stalled stream, KiB |"
    yield "|---|--:|--:|--:|--:|--:|"
    for name in dict.fromkeys(name for found in rounds for name in found):
        each = [found[name] for found in rounds if name in found]
        columns = (
            figure(one.ready_after * 1e3 for one in each),
            figure(one.at_rest / _MIB for one in each),
            figure(one.under_load / _MIB for one in each),
            figure(one.idle / 1024 for one in each),
            figure(one.stalled / 1024 for one in each),
        )
        yield f"| {name} | " + " | ".join(f"{_number(column.median)} ({_spread(column)})" for column in columns) + " |"
    yield ""


def _starts(rounds: Sequence[Mapping[str, float]]) -> Iterable[str]:
    yield f"## Start with many connections (`{START}`)\n"
    yield "| | exec → first answer, ms |"
    yield "|---|--:|"
    for name in dict.fromkeys(name for found in rounds for name in found):
        took = figure(found[name] * 1e3 for found in rounds if name in found)
        yield f"| {name} | {_number(took.median)} ({_spread(took)}) |"
    yield ""


def _number(value: float) -> str:
    if math.isnan(value):
        return _DASH
    size = abs(value)
    if size >= 10_000:
        return f"{value:,.0f}"
    return f"{value:.0f}" if size >= 100 else f"{value:.1f}" if size >= 10 else f"{value:.2f}"


def _spread(found: Figure) -> str:
    return f"{_number(found.low)}{_DASH}{_number(found.high)}" if found.known else _DASH


# Plain data, and the plot


def _plain(
    results: Results, outcomes: Sequence[Outcome], facts: Mapping[str, object], peers: Mapping[str, str]
) -> dict[str, Any]:
    return {
        "machine": dict(facts),
        "peers": dict(peers),
        "left_out": results.left_out,
        "mismatches": results.mismatches,
        "bars": [
            {
                "row": outcome.bar.row,
                "title": outcome.bar.title,
                "bar": str(outcome.bar),
                "measured": None if math.isnan(outcome.figure.median) else asdict(outcome.figure),
                "verdict": outcome.verdict.value,
            }
            for outcome in outcomes
        ],
        "loads": {
            row: [{name: asdict(sample) for name, sample in found.items()} for found in rounds]
            for row, rounds in results.loads.items()
        },
        "profiles": results.profiles,
        "starts": results.starts,
        "memory": [{name: asdict(each) for name, each in found.items()} for found in results.memory],
        "sessions": [{name: asdict(each) for name, each in found.items()} for found in results.sessions],
    }


def _plot(results: Results) -> str:
    groups = []
    for row in CLOSED:
        rounds = results.loads.get(row.name, [])
        names = dict.fromkeys(name for found in rounds for name in found)
        bars_of_row = [(name, figure(found[name].cpu for found in rounds if name in found)) for name in names]
        groups.append((row.title, sorted(bars_of_row, key=lambda each: each[1].median)))
    return chart("CPU time per request (1 MiB: per answer), lower is better", "µs", groups)
