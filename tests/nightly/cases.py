"""All cases beside good traffic, in many interleavings: no good request is lost, and nothing comes to a wrong upstream.

The first round is the cases that have a process, each bad definition thrown at one as a reload among them, with the
good requests in the moments that its seed chooses; the others leave out those that nothing may go beside. CI has one
round.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tests.support.figures import Figure
from tests.support.parts import Ended, tell, told_to_end

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

_ROUNDS: Final = 25
_ROOT: Final = Path(__file__).parents[2]
_WITH_A_PROCESS: Final = ("tests/datapath", "tests/lifecycle")
_RESTS_WITHIN: Final = 2.0  # seconds, I2
_LAG: Final = 0.1  # seconds, I5


@dataclass
class Rounds:
    """What all rounds have told."""

    rounds: int = 0
    interleavings: int = 0
    cases: set[str] = field(default_factory=set)
    good: int = 0
    lost: int = 0
    leaks: int = 0
    rest: float = 0.0
    lag: float = 0.0
    failed: list[str] = field(default_factory=list)
    lags: dict[str, float] = field(default_factory=dict)  # of the tests that are over the bar: the longest one

    def add(self, seed: int, told: dict[str, Any]) -> None:
        """Add one round."""
        self.rounds += 1
        self.cases.update(told["cases"])
        self.interleavings += len(told["cases"])
        self.good += told["beside"]["good requests"]
        self.lost += told["beside"]["lost"]
        self.leaks += told["beside"]["leaks"]
        self.rest = max(self.rest, told["rest"])
        self.lag = max(self.lag, told["lag"])
        for test, lag in told["lags"].items():
            if lag >= _LAG:
                self.lags[test] = max(lag, self.lags.get(test, 0.0))
        self.failed += [f"{test} (seed {seed})" for test in told["failed"]]


async def measure(folder: Path, scale: float, seed: int) -> list[Figure]:
    """Run so many rounds, each with a seed of its own; `Ended` when told to, once the round under way is over."""

    async def play(each: int) -> dict[str, Any]:
        return await _round(folder / f"{each}.json", each, only_beside=each > seed)

    return await of_rounds(max(1, round(_ROUNDS * scale)), seed, play)


async def of_rounds(wanted: int, seed: int, play: Callable[[int], Awaitable[dict[str, Any]]]) -> list[Figure]:
    """Play so many rounds, each with a seed of its own, and return what they came to; raises `Ended` when told to."""
    rounds = Rounds()
    with told_to_end() as told:
        for each in range(seed, seed + wanted):
            rounds.add(each, await play(each))
            tell(
                f"round {rounds.rounds}: {rounds.good} good requests, lost {rounds.lost}, leaks {rounds.leaks}, "
                f"failed {len(rounds.failed)}, rest {rounds.rest:.2f} s, lag {rounds.lag * 1000:.0f} ms"
            )
            if told.is_set():
                break
    tell(*rounds.failed, *(f"{lag * 1000:.0f} ms at {test}" for test, lag in sorted(rounds.lags.items())))
    if told.is_set():
        raise Ended(figures(rounds))
    return figures(rounds)


async def _round(told: Path, seed: int, *, only_beside: bool) -> dict[str, Any]:
    """Run the cases once; return what the run told of itself. What a terminal says to end is not said to it."""
    words = ("--only-beside",) if only_beside else ()
    running = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "pytest", "-q", "-m", "case", "-n", "4", "--dist", "loadfile", "-p", "no:cacheprovider",
        "--beside", str(seed), "--measure", "--tell", str(told), *words, *_WITH_A_PROCESS,
        cwd=_ROOT, env={**os.environ, "CI_REQUIRE_ALL": ""},
        stdout=asyncio.subprocess.PIPE, process_group=0,
    )  # fmt: skip
    try:
        output, _ = await running.communicate()
    finally:
        if running.returncode is None:
            os.killpg(running.pid, signal.SIGTERM)
            await running.wait()
    # Of what failed: why.
    sys.stderr.writelines(f"{line}\n" for line in output.decode().splitlines() if line.startswith(("E  ", "____")))
    content: dict[str, Any] = json.loads(await asyncio.to_thread(told.read_text))
    return content


def figures(rounds: Rounds) -> list[Figure]:
    """Return the rows."""
    return [
        Figure(
            f"{len(rounds.cases)} cases, each in {rounds.rounds} interleavings: tests of them that fail",
            str(len(rounds.failed)), "0", not rounds.failed,
        ),
        Figure("good requests beside them", f"{rounds.good:,}"),
        Figure("of them: lost", str(rounds.lost), "0", rounds.lost == 0),
        Figure("what came to the upstream of another connection", str(rounds.leaks), "0", rounds.leaks == 0),
        Figure(
            "seconds until a process is as it was before the case, at most",
            f"{rounds.rest:.2f}", f"≤ {_RESTS_WITHIN:g}", rounds.rest <= _RESTS_WITHIN,
        ),
        Figure(
            "milliseconds that an event loop stands still, at most",
            f"{rounds.lag * 1000:.0f}", f"< {_LAG * 1000:g}", rounds.lag < _LAG,
        ),
    ]  # fmt: skip
