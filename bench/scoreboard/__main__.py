"""`python -m bench.scoreboard`: the same faults for all, and what became of each, written to docs/scoreboard.md.

Exit status 1 when a contestant that is there could not be tried in some row; 2 when nobody is there. Who is worse than
another is a result, not a failure.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from bench import machine
from bench.choice import chosen
from bench.peers import ROOT, install
from bench.scoreboard import contestants, page, trials
from bench.scoreboard.application import Application
from bench.scoreboard.reported import costs
from bench.scoreboard.results import Cannot, Failed
from bench.scoreboard.servers import Servers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.scoreboard.contestants import Contestant, Field
    from bench.scoreboard.results import Result
    from bench.scoreboard.trials import Row

_TOOLS = ROOT / ".cache" / "bench" / "peers"
_PAGE = ROOT / "docs" / "scoreboard.md"
_REPORT = ROOT / "bench" / "results" / "report.json"
# Beyond the lifetime of a token: what waits for the next renewal by the clock has recovered by then.
_BEYOND = 5


def main(words: Sequence[str] | None = None) -> int:
    """Run the scoreboard as its options say; returns the exit status."""
    options = _options(words)
    failure = install(options.tools, sys.executable) if set(options.peers) != {contestants.PRODUCT} else ""
    if failure:
        print(f"The peers from PyPI could not be installed: {failure}", flush=True)
    rows = [row for row in trials.ROWS if row.name in options.rows]
    begun = time.monotonic()
    with (
        tempfile.TemporaryDirectory(prefix="scoreboard-") as folder,
        Servers(options.python, options.lifetime) as servers,
    ):
        field = contestants.Field(options.tools, options.python, machine.cores(), Path(folder))
        ready, missing = field.ready(options.peers)
        for title, get in missing.items():
            print(f"left out: {title} is missing ({get})", flush=True)
        if not ready:
            return 2
        versions = {each.title: field.version(each) for each in ready}
        reported = costs(options.report)
        results: dict[str, dict[str, Result]] = {row.name: {} for row in rows}
        for contestant in ready:
            for row in rows:
                found = reported.get(contestant.name) if row.name == trials.COST else None
                result = found or _try(row, contestant, field, servers, options.lifetime + _BEYOND)
                results[row.name][contestant.title] = result
                print(f"{time.monotonic() - begun:6.0f} s  {row.name}, {contestant.title}: {result}", flush=True)
        facts = page.Facts(
            datetime.now(UTC).date(),
            options.lifetime,
            {row.fault: servers.faults[row.fault].does for row in rows},
            versions,
            missing,
        )
    text = page.page(rows, ready, results, facts)
    options.page.write_text(text, encoding="utf-8")
    print(f"\n{text}\nWritten to {options.page}")
    return 1 if any(isinstance(result, Failed) for found in results.values() for result in found.values()) else 0


def _try(row: Row, contestant: Contestant, field: Field, servers: Servers, patience: float) -> Result:
    fault = servers.faults[row.fault]
    if fault.grant not in contestant.grants:
        return Cannot(f"no grant `{fault.grant}`")
    # The one before has ended: nobody else's requests are counted.
    servers.reset()
    try:
        with field.start(contestant, fault) as serving:
            application = Application(serving.port, fault.name)
            return row.run(trials.Stand(application, serving, lambda: servers.counts(fault.name), patience))
    except (OSError, RuntimeError, ValueError) as error:
        return Failed(str(error).strip().splitlines()[0] if str(error) else type(error).__name__)


def _options(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.scoreboard", description="The same faults for all.")
    parser.add_argument("--peers", help=f"comma-separated: {', '.join(contestants.NAMES)}")
    parser.add_argument("--rows", help=f"comma-separated: {', '.join(trials.NAMES)}")
    parser.add_argument("--lifetime", type=int, default=20, help="seconds that tokens live (default 20)")
    parser.add_argument("--report", type=Path, default=_REPORT, help="report.json of the bench, for cost and memory")
    parser.add_argument("--page", type=Path, default=_PAGE, help="where the page is written")
    parser.add_argument("--tools", type=Path, default=_TOOLS, help="environment with the peers from PyPI")
    parser.add_argument("--python", default=sys.executable, help="interpreter of the product (default: this one)")
    options = parser.parse_args(words)
    options.peers = chosen(parser, options.peers, contestants.NAMES, contestants.NAMES)
    options.rows = chosen(parser, options.rows, trials.NAMES, trials.NAMES)
    return options


if __name__ == "__main__":
    sys.exit(main())
