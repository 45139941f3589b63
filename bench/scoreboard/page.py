"""The page: a table of what was measured, who was better where, and how to repeat it; pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from bench.scoreboard.contestants import CONTESTANTS, PRODUCT
from bench.scoreboard.results import Cost

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import date

    from bench.scoreboard.contestants import Contestant
    from bench.scoreboard.results import Result
    from bench.scoreboard.trials import Row

_OURS: Final = next(each.title for each in CONTESTANTS if each.name == PRODUCT)

_REPEAT: Final = """\
## Repeat it, and put yours before it

```sh
make scoreboard                                  # about five minutes; Envoy and mitmproxy come from PyPI
iclient-proxy demo --faults list                 # what the servers can do
iclient-proxy demo --faults revoked-token sse    # prints their URLs, and serves until Ctrl-C
```

`/faults/counts` of the servers says how many requests came and what became of them, `POST /faults/reset` begins anew,
and with `--format json` the URLs are for programs."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What a page says beside its results: the day, how long tokens lived, faults, versions, who was not there."""

    day: date
    lifetime: int
    does: Mapping[str, str]
    versions: Mapping[str, str]
    missing: Mapping[str, str]


def page(
    rows: Sequence[Row], ready: Sequence[Contestant], results: Mapping[str, Mapping[str, Result]], facts: Facts
) -> str:
    """Return the page; `results` are by row and by title of the contestant."""
    return "\n".join(_lines(rows, ready, results, facts)).rstrip() + "\n"


def _lines(
    rows: Sequence[Row], ready: Sequence[Contestant], results: Mapping[str, Mapping[str, Result]], facts: Facts
) -> Iterator[str]:
    yield "<!-- Made by `make scoreboard`: every figure is from one run. -->"
    yield ""
    yield "# Scoreboard"
    yield ""
    yield "The same faults for this proxy and for what people use instead. The servers ship with it, so that you can"
    yield "put your own before them; all counts are theirs, not a proxy's word."
    yield ""
    names = ", ".join(f"{title} {version}" for title, version in facts.versions.items())
    yield f"Run on {facts.day.isoformat()} by `make scoreboard`: {names}."
    yield f"Tokens lived {facts.lifetime} s. What waits for a renewal by the clock waits longer where that is longer."
    yield ""
    yield from (f"Left out, since it was not there: {title} ({get}).\n" for title, get in facts.missing.items())
    titles = [each.title for each in ready]
    yield f"| | {' | '.join(titles)} |"
    yield f"|---|{'---|' * len(titles)}"
    for row in rows:
        yield f"| {row.title} | {' | '.join(str(results[row.name][title]) for title in titles)} |"
    yield ""
    yield "*Lost* are requests of the application that got no good answer; it asks again after a quarter of a second."
    yield "*Refused at the API* are requests that reached it with a token that it no longer takes, replays included."
    yield ""
    if len(ready) > 1:
        yield from _others(rows, results)
    yield "## How each was set up"
    yield ""
    for each in ready:
        yield f"- **{each.title}**: {each.about} ([`bench/scoreboard/{each.file}`](../bench/scoreboard/{each.file}))"
    yield ""
    yield "mitmproxy does what its addon does: one that reads bodies or keeps refresh tokens can be written, too."
    yield ""
    yield from _REPEAT.splitlines()
    yield ""
    yield "## What the servers do"
    yield ""
    yield "| row | fault | |"
    yield "|---|---|---|"
    for row in rows:
        yield f"| {row.title} | `{row.fault}` | {facts.does[row.fault]} |"
    yield ""
    origins = {result.origin for found in results.values() for result in found.values() if isinstance(result, Cost)}
    yield from (f"Cost and memory: {origin}.\n" for origin in sorted(origins))


def _others(rows: Sequence[Row], results: Mapping[str, Mapping[str, Result]]) -> Iterator[str]:
    yield "## Where others are better"
    yield ""
    yield "Figure by figure, whatever else the row says of who has it."
    yield ""
    better = [line for row in rows for line in beaten(row, results[row.name])]
    yield from better or ["In no row of this run."]
    yield ""


def beaten(row: Row, found: Mapping[str, Result]) -> list[str]:
    """Return a line for each contestant that did better than the product in one row, in whatever figure of it."""
    ours = found.get(_OURS)
    if ours is None:
        return []
    lines = []
    for title, result in found.items():
        figures = [
            f"{_figure(theirs.value)} beside {_figure(own.value)} {own.what}"
            for theirs in result.compared
            for own in ours.compared
            if theirs.beats(own)
        ]
        if result.compared and not ours.compared:
            figures = [f"{result}; {_OURS} {ours}"]
        if figures:
            lines.append(f"- {row.title}: {title}, {', '.join(figures)}")
    return lines


def _figure(value: float) -> str:
    return f"{value:.0f}" if value >= 10 or value == round(value) else f"{value:.1f}"
