"""`python -m tests.mutants`: tries the mutants of the security modules; exit status 1 where a bar is not met."""

from __future__ import annotations

import argparse
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.mutants.groups import GROUPS
from tests.mutants.lists import EQUIVALENT, SURVIVORS, reasons
from tests.mutants.trial import BUDGET, modules_of, sample, try_group

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.mutants.groups import Group
    from tests.mutants.trial import Tried

BAR: Final = 90.0  # per cent of the mutants of each group
EXCLUDED_MAX: Final = 5.0
RESULTS: Final = Path(__file__).parents[2] / "build" / "mutants"


@dataclass(frozen=True)
class Row:
    """What one group came to."""

    group: Group
    known: int  # mutants there are
    tried: int
    excluded: int
    found: Tried
    seconds: float

    @property
    def noticed(self) -> int:
        """Mutants that some test noticed, by failing or by not coming to its end."""
        return len(self.found.killed) + len(self.found.timed_out)

    @property
    def score(self) -> float:
        """Per cent of the mutants tried that were noticed."""
        return 100.0 * self.noticed / max(1, self.tried)

    @property
    def holds(self) -> bool:
        return self.score >= BAR and self.excluded <= EXCLUDED_MAX / 100 * self.known

    def __str__(self) -> str:
        cells = (
            self.group.name,
            f"{self.tried} of {self.known}",
            f"{self.excluded}",
            f"{self.noticed} ({len(self.found.timed_out)} by time)",
            f"{len(self.found.survived)}",
            f"{self.score:.1f} %",
            f"{self.found.tests}",
            f"{self.seconds:.0f}",
            "yes" if self.holds else "**no**",
        )
        return "| " + " | ".join(cells) + " |"


HEAD: Final = (
    "| group | mutants | left out as equivalent | noticed | survived | score | tests | s | ≥ 90 % |\n"
    "|---|--:|--:|--:|--:|--:|--:|--:|---|"
)


def main(words: Sequence[str] | None = None) -> int:
    """Try the groups that are asked for; returns the exit status."""
    options = _options(words)
    os.nice(options.nice)
    equivalent, explained = reasons(EQUIVALENT), reasons(SURVIVORS)
    rows, unexplained, stale = [], [], []
    for group in GROUPS:
        if group.name not in options.groups:
            continue
        row = _row(group, options, equivalent)
        rows.append(row)
        unexplained += sorted(row.found.survived - set(explained))
        stale += sorted((row.found.killed | row.found.timed_out) & set(explained))
        _tell(f"{group.name}: {row.score:.1f} % in {row.seconds:.0f} s")
        for test in row.found.broken:
            _tell(f"    fails without a mistake, so it judged nothing: {test}")
    sys.stdout.write("\n".join([HEAD, *map(str, rows)]) + "\n")
    for title, names in (
        ("survived, and not in survivors.toml", unexplained),
        ("in survivors.toml, but noticed", stale),
    ):
        if names:
            sys.stdout.write(f"\n{title}:\n" + "".join(f"  {name}\n" for name in names))
    return 0 if all(row.holds for row in rows) and not unexplained and not stale else 1


def _row(group: Group, options: argparse.Namespace, equivalent: dict[str, str]) -> Row:
    begun = time.monotonic()
    modules = modules_of(group)
    everyone = [mutant for module in modules for mutant in module.mutants]
    drawn = sample(everyone, options.most, options.seed)
    counted = {mutant.name for mutant in drawn} - set(equivalent)
    earlier = _read(RESULTS / f"{group.name}.tsv") if options.again else {}
    settled = {name for name in counted if earlier.get(name, "survived") != "survived"}
    chosen = [mutant for mutant in drawn if mutant.name in counted - settled and options.only in mutant.name]
    _tell(f"{group.name}: {len(chosen)} of {len(everyone)} mutants")
    found = try_group(group, chosen, modules, options.budget, _tell if options.verbose else _silent)
    found.killed |= {name for name in settled if earlier[name] == "killed"}
    found.timed_out |= {name for name in settled if earlier[name] == "timed out"}
    if not options.only:
        _write(RESULTS / f"{group.name}.tsv", found)
    excluded = sum(mutant.name in equivalent for mutant in everyone)
    return Row(group, len(everyone), found.tried, excluded, found, time.monotonic() - begun)


def _read(path: Path) -> dict[str, str]:
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return {name: outcome for outcome, _, name in (line.partition("\t") for line in lines)}


def _write(path: Path, found: Tried) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    outcomes = (("killed", found.killed), ("timed out", found.timed_out), ("survived", found.survived))
    lines = [f"{outcome}\t{name}\n" for outcome, names in outcomes for name in sorted(names)]
    path.write_text("".join(lines), encoding="utf-8")


_OUT: Final = os.dup(2)  # pytest captures the usual one


def _tell(line: str) -> None:
    os.write(_OUT, f"{line}\n".encode())


def _silent(line: str) -> None:
    pass


def _options(words: Sequence[str] | None) -> argparse.Namespace:
    names = [group.name for group in GROUPS]
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description="Mutants of the security modules.")
    parser.add_argument("groups", nargs="*", metavar="GROUP", help=f"of {', '.join(names)}; all of them when left out")
    parser.add_argument("--most", type=int, default=400, help="mutants of a group; of more, a sample")
    parser.add_argument("--seed", type=int, default=1, help="of the sample")
    parser.add_argument("--only", default="", metavar="TEXT", help="mutants with this in their name")
    parser.add_argument("--again", action="store_true", help="try only what survived the last time, or was not tried")
    parser.add_argument("--nice", type=int, default=15, help="how far others go first")
    parser.add_argument("--budget", type=float, default=BUDGET, help="seconds of tests that one mutant may take")
    parser.add_argument("-v", "--verbose", action="store_true", help="tell of every mutant")
    options = parser.parse_args(words)
    unknown = [name for name in options.groups if name not in names]
    if unknown:
        parser.error(f"unknown: {', '.join(unknown)} (known: {', '.join(names)})")
    options.groups = options.groups or names
    return options


if __name__ == "__main__":
    sys.exit(main())
