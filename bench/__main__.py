"""`python -m bench`: measure, print, write to bench/results/.

Exit status 1 when load and upstream counted differently or a peer did something else; 2 when nothing could be measured.
A row that falls short of its bar is a result, not a failure.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from bench import machine, profile, report
from bench.choice import chosen
from bench.measure import Bench
from bench.peers import PEERS, Place, install, ready_peers
from bench.rows import NAMES, QUICK
from bench.upstream import Upstream

if TYPE_CHECKING:
    from collections.abc import Sequence

_ROOT = Path(__file__).parents[1]
_TOOLS = _ROOT / ".cache" / "bench" / "peers"
_RESULTS = Path(__file__).parent / "results"
_QUICK_PEERS = (
    "nginx", "envoy", "aiohttp", "proxy", "proxy-log", "proxy-accelerated", "proxy-accelerated-log", "proxy-100",
    "proxy-1000", "proxy-1000-all", "haproxy-tcp", "proxy-forward",
)  # fmt: skip


def main(words: Sequence[str] | None = None) -> int:
    """Run the bench as its options say; returns the exit status."""
    options = _options(words)
    lacking = [f"{name} (apt-get install {package})" for name, package in _PROGRAMS if shutil.which(name) is None]
    if lacking:
        print("Nothing can be measured without " + ", ".join(lacking), file=sys.stderr)
        return 2
    used = machine.cores()
    descriptors = machine.raise_descriptor_limit()
    build = machine.interpreter(options.python)
    failure = install(_TOOLS, sys.executable)
    if failure:
        print(f"The peers from PyPI could not be installed: {failure}", flush=True)
    begun = time.monotonic()

    def say(line: str) -> None:
        print(f"{time.monotonic() - begun:6.0f} s  {line}", flush=True)

    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        upstream = Upstream(Path(folder) / "upstream", used)
        try:
            place = Place(Path(folder), upstream.ports, used, options.python, _TOOLS)
            peers, missing = ready_peers(options.peers, place)
            for name, get in missing.items():
                print(f"left out: {name} is missing ({get})", flush=True)
            versions = {kind.name: kind.version(kind.find(place) or "") for kind in peers}
            say(f"{build}; {', '.join(f'{name} {version}' for name, version in versions.items())}")
            idle = min(2_000 if options.quick else 10_000, descriptors - 500)
            bench = Bench(upstream, place, peers, options.rounds, options.seconds, idle, say)
            bench.results.left_out.update(missing)
            results = bench.run(options.only)
            if profile.available():
                bench.profile(report.short(results))
            else:
                say("no profile of the rows that fall short: perf is missing (apt-get install linux-perf)")
        finally:
            upstream.close()
    facts = machine.describe(used, build)
    facts |= {"rounds": options.rounds, "seconds": options.seconds, "idle_streams": idle}
    print("\n" + report.write(options.results, results, facts, versions))
    print(f"Written to {options.results}: report.md, report.json, cost.svg")
    return 1 if report.failed(results) else 0


_PROGRAMS = (("nginx", "nginx"), ("wrk", "wrk"), ("taskset", "util-linux"))


def _options(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure the proxy beside its peers.")
    parser.add_argument("--rounds", type=int, help="rounds of each row (default 5; with --quick 3)")
    parser.add_argument(
        "--seconds", type=int, help="seconds of load per peer and round, whole (default 2; with --quick 1)"
    )
    parser.add_argument("--only", metavar="ROWS", help=f"comma-separated rows: {', '.join(NAMES)}")
    parser.add_argument("--peers", metavar="PEERS", help=f"comma-separated peers: {', '.join(PEERS)}")
    parser.add_argument("--quick", action="store_true", help="only the rows and peers that a bar is about, short")
    parser.add_argument(
        "--python", default=sys.executable, help="interpreter of the product and of aiohttp (default: this one)"
    )
    parser.add_argument("--results", type=Path, default=_RESULTS, help="folder for the report")
    options = parser.parse_args(words)
    options.rounds = options.rounds or (3 if options.quick else 5)
    options.seconds = options.seconds or (1 if options.quick else 2)
    options.only = chosen(parser, options.only, NAMES, QUICK if options.quick else NAMES)
    options.peers = chosen(parser, options.peers, PEERS, _QUICK_PEERS if options.quick else PEERS)
    return options


if __name__ == "__main__":
    sys.exit(main())
