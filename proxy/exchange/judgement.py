"""The judgement of one response: by its head, or by its body once that is here; and what follows for the exchange."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, Protocol

from proxy.access_token import Refused
from proxy.exchange.classify import OPEN
from proxy.exchange.document import Unread
from proxy.exchange.inspection import Inspection
from proxy.exchange.policy import Next, decide
from proxy.patience import PatientTimer

if TYPE_CHECKING:
    from proxy.access_token import AccessToken
    from proxy.exchange.plan import Plan
    from proxy.exchange.record import ExchangeRecord
    from proxy.exchange.replay import HeldResponse
    from proxy.exchange.surroundings import Surroundings
    from proxy.wire.request import RequestHead


class Judged(Protocol):
    """Whose response is judged."""

    def is_replayable(self, status: int) -> bool:
        """Whether the request could be sent once more after a refusal with this status."""
        ...

    def judged(self, held: HeldResponse, way: Next) -> None:
        """The judgement is over: go on with the held response this way."""
        ...


class Judgement:
    """One response of which the rules have something to say. It is held until `judged` is called, once."""

    __slots__ = ("_exchange", "_held", "_inspection", "_plan", "_record", "_since", "_surroundings", "_timer", "_token")

    def __init__(
        self,
        exchange: Judged,
        surroundings: Surroundings,
        plan: Plan,
        record: ExchangeRecord,
        token: AccessToken,
        held: HeldResponse,
    ) -> None:
        self._exchange = exchange
        self._surroundings = surroundings
        self._plan = plan
        self._record = record
        self._token = token
        self._held = held
        self._inspection: Inspection | None = None
        self._timer: PatientTimer | None = None
        self._since = 0.0

    def begin(self, request: RequestHead) -> None:
        """Ask the rules; where the head leaves it open, wait for the body, for at most `limits.inspect_hold`."""
        classifier, surroundings, held = self._plan.classifier, self._surroundings, self._held
        verdict = classifier.judge(held.head)
        if verdict is not OPEN:
            self._end(verdict)
            return
        inspection = Inspection(
            classifier,
            surroundings.bounds,
            surroundings.memory,
            held,
            chunked=held.head.fields.chunked and request.version == 1,
            bodiless=request.method == b"HEAD",
        )
        if inspection.is_settled():
            self._end(inspection.verdict())
            return
        self._inspection = inspection
        self._since = perf_counter()
        self._timer = PatientTimer(surroundings.loop, surroundings.bounds.hold, lambda: self.give_up(Unread.SLOW))

    def more(self) -> None:
        """More of the response has been added to what is held."""
        if self._inspection is not None and self._inspection.is_settled():
            self._inspected(self._inspection)

    def give_up(self, reason: Unread) -> None:
        """Judge by what is known; no more of the body will be."""
        if self._inspection is not None:
            self._inspection.settle(reason)
            self._inspected(self._inspection)

    def drop(self) -> None:
        """Nobody wants to know any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._inspection is not None:
            self._inspection.drop()
            self._inspection = None

    def _inspected(self, inspection: Inspection) -> None:
        if self._held.done:  # what is still under way is counted at its end
            self._record.seconds_upstream += perf_counter() - self._since
        self.drop()
        self._end(inspection.verdict())

    def _end(self, rule: str | None) -> None:
        held, way = self._held, Next.RELAY
        if rule is None:
            accepted(self._plan, self._record, self._token)
        else:
            way = self._refused(rule)
        self._exchange.judged(held, way)

    def _refused(self, rule: str) -> Next:
        """Take note of an auth error and decide what follows."""
        verdicts, counters, attempt = self._plan.verdicts, self._plan.counters, self._record.attempts
        counters.auth_errors[rule] = counters.auth_errors.get(rule, 0) + 1
        way = decide(
            is_auth_error=True,
            attempt=attempt,
            renews=verdicts is not None and verdicts.refused(self._token, replayed=attempt > 1) is Refused.RETRY,
            replayable=self._exchange.is_replayable(self._held.head.status),
        )
        if way.outcome is not None:
            counters.replays[way.outcome] += 1
        return way


def accepted(plan: Plan, record: ExchangeRecord, token: AccessToken | None) -> None:
    """Take note that the upstream took the token."""
    verdicts = plan.verdicts
    if verdicts is not None and verdicts.unproven and token is not None:
        verdicts.accepted(token)
    if record.renewed:
        plan.counters.replays["accepted"] += 1
