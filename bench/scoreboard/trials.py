"""The rows: what the application does before the servers of each fault, and what is read from their counts."""

from __future__ import annotations

import hashlib
import os
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Final

from bench.machine import busy_seconds
from bench.scoreboard.results import Burst, Cost, Posted, Recovery, Rotation, Steady, Streamed
from proxy.demo.faults import GOOD_FOR, TOGETHER

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.scoreboard.application import Answer, Application
    from bench.scoreboard.contestants import Serving
    from bench.scoreboard.results import Result
    from bench.scoreboard.servers import Counts

_MIB: Final = 1024 * 1024
_PACE: Final = 0.25  # seconds between requests of an application that wants to know when it works again
# Between requests while all is well: tokens are not revoked in the moment in which they are issued.
_APART: Final = 1.0
_REQUESTS: Final = 1000
_STREAMS: Final = 3
_EVENTS: Final = b"data: first\n\ndata: second\n\n"


@dataclass(frozen=True, slots=True)
class Stand:
    """One contestant before one fault. `patience` is how many seconds a recovery is waited for."""

    application: Application
    serving: Serving
    counts: Callable[[], Counts]
    patience: float


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the scoreboard."""

    name: str
    title: str
    fault: str
    run: Callable[[Stand], Result]


def _outcome(answer: Answer) -> str:
    if not answer.status:
        return "no answer"
    return str(answer.status) if answer.good or answer.status != 200 else "200 with the error"


def _warm(stand: Stand, times: int) -> None:
    """Ask until there were so many good answers; raises TimeoutError if there is none for too long."""
    deadline = time.monotonic() + stand.patience
    good = 0
    while good < times:
        if stand.application.ask().good:
            good += 1
            time.sleep(_APART)
        elif time.monotonic() > deadline:
            raise TimeoutError("no good answer before the fault")
        else:
            time.sleep(_PACE)


def _recovery(stand: Stand, good_before: int) -> Recovery:
    _warm(stand, good_before)
    # From the start on, everything counts, also what came before the first request.
    before = stand.counts() if good_before else None
    begun = time.monotonic()
    lost: Counter[str] = Counter()
    seconds = None
    while seconds is None and time.monotonic() - begun < stand.patience:
        answer = stand.application.ask()
        if answer.good:
            seconds = time.monotonic() - begun
        else:
            lost[_outcome(answer)] += 1
            time.sleep(_PACE)
    after = stand.counts()
    return Recovery(
        seconds,
        stand.patience,
        lost,
        after.token_requests - (before.token_requests if before else 0),
        after.api_outcomes.get("revoked", 0) + after.api_outcomes.get("error_in_body", 0),
    )


def _after_good_ones(stand: Stand) -> Result:
    return _recovery(stand, GOOD_FOR)


def _from_the_start(stand: Stand) -> Result:
    return _recovery(stand, 0)


def _burst(stand: Stand) -> Result:
    _warm(stand, 1)
    before = stand.counts()
    outcomes = Counter(_outcome(answer) for answer in stand.application.together(TOGETHER))
    after = stand.counts()
    return Burst(
        TOGETHER,
        outcomes,
        after.token_requests - before.token_requests,
        after.api_requests - before.api_requests,
    )


def _steadily(seconds: float, every: float) -> Callable[[Stand], Result]:
    def run(stand: Stand) -> Result:
        begun = time.monotonic()
        answers: list[Answer] = []

        def ask() -> None:
            while time.monotonic() - begun < seconds - every:
                answers.append(stand.application.ask())
                time.sleep(every)

        with ThreadPoolExecutor(1) as pool:
            asking = pool.submit(ask)
            time.sleep(max(0.0, begun + seconds - time.monotonic()))
            counts = stand.counts()
            asking.result()
        outcomes = Counter(_outcome(answer) for answer in answers)
        return Steady(seconds, outcomes, median(answer.seconds for answer in answers), counts.token_requests)

    return run


def _post(stand: Stand) -> Result:
    _warm(stand, 1)
    before = stand.counts()
    body = os.urandom(_MIB)
    answer = stand.application.ask("POST", body)
    identical = answer.good and answer.said.get("sha256") == hashlib.sha256(body).hexdigest()
    return Posted(_outcome(answer), identical, stand.counts().token_requests - before.token_requests)


def _events(stand: Stand) -> Result:
    _warm(stand, 1)
    answers = [stand.application.ask() for _ in range(_STREAMS)]
    # The quickest: what a busy machine adds is nobody's doing.
    best = min(answers, key=lambda answer: answer.first)
    return Streamed(best.first, best.seconds, all(answer.good and answer.body == _EVENTS for answer in answers))


def _rotation(stand: Stand) -> Result:
    _warm(stand, 1)
    before = stand.counts().token_requests
    stand.application.leave(lambda: stand.counts().token_requests > before)
    deadline = time.monotonic() + stand.patience
    answer = stand.application.ask()
    while not answer.good and time.monotonic() < deadline:
        time.sleep(_PACE)
        answer = stand.application.ask()
    counts = stand.counts()
    return Rotation(counts.grant, _outcome(answer), counts.token_requests)


def _cost(stand: Stand) -> Result:
    _warm(stand, 1)
    process, core = stand.serving.process, stand.serving.core
    before, busy, begun = process.cpu_seconds(), busy_seconds(core), time.monotonic()
    good = stand.application.in_turn(_REQUESTS)
    spent = process.cpu_seconds() - before
    foreign = (busy_seconds(core) - busy - spent) / (time.monotonic() - begun)
    if good != _REQUESTS:
        raise ValueError(f"only {good} of {_REQUESTS} answers were good")
    return Cost(spent / _REQUESTS * 1e6, process.resident_bytes() / _MIB, COST_HERE, max(0.0, foreign))


COST_HERE: Final = f"measured here: {_REQUESTS:,} requests one after another, and the memory after them"
COST: Final = "cost"
ROWS: Final = (
    Row("revoked-token", "The API revokes the token: time to the first 200", "revoked-token", _after_good_ones),
    Row("concurrent-refusals", f"{TOGETHER} requests are refused at once", "concurrent-refusals", _burst),
    Row("empty-200", "The first token answer is an empty 200: time to the first 200", "empty-200", _from_the_start),
    Row("no-expires-in", "Token answers without `expires_in`", "no-expires-in", _steadily(5, 0.5)),
    Row("endpoint-500", "The token endpoint answers 500", "endpoint-500", _steadily(12, 1)),
    Row("endpoint-400", "The token endpoint answers 400 `invalid_client`", "endpoint-400", _steadily(12, 1)),
    Row("slow-at-start", "The first token takes 3 s: time to the first 200", "slow-at-start", _from_the_start),
    Row("refused-post", "POST of 1 MiB, refused once its body is read", "refused-post", _post),
    Row("error-200", "The refusal is a 200 with an error in its body", "error-200", _after_good_ones),
    Row("sse", "Server-sent events, 2 s apart, the quickest of three", "sse", _events),
    Row("abort-rotation", "The client leaves while the refresh token rotates", "abort-rotation", _rotation),
    Row(COST, "CPU time per small request, resident memory", "no-fault", _cost),
)
NAMES: Final = tuple(row.name for row in ROWS)
