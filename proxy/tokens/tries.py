"""Makes the token requests of an attempt: one, and another where an assertion was refused because a clock is wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from proxy.oauth.failure import Failure, Outcome
from proxy.oauth.response import Issued, read
from proxy.tokens.lease import Moment

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.clock import Clock
    from proxy.definitions.models import IClient, RequestOverride
    from proxy.oauth.compose import TokenRequest
    from proxy.oauth.material import Material
    from proxy.tokens.correspondence import Correspondent
    from proxy.tokens.counters import TokenCounters
    from proxy.tokens.discovery import Discovery
    from proxy.tokens.renewal import Attempt

# Statuses of a place where no endpoint is (any more), so that what the metadata say may be out of date.
_NOT_HERE: Final = frozenset({301, 302, 303, 307, 308, 404, 405, 410})


class Tries:
    """The token requests of one iClient. `limit` is in bytes; `chance` returns a number x with 0 ≤ x < 1."""

    def __init__(
        self,
        iclient: IClient,
        server: Correspondent,
        discovery: Discovery,
        counters: TokenCounters,
        clock: Clock,
        *,
        chance: Callable[[], float],
        limit: int,
    ) -> None:
        self._iclient = iclient
        self._server = server
        self._discovery = discovery
        self._counters = counters
        self._clock = clock
        self._chance = chance
        self._limit = limit

    def monotonic(self) -> float:
        """Return the time by the clock that does not jump."""
        return self._clock.monotonic()

    @property
    def now(self) -> Moment:
        """This moment."""
        return Moment(self._clock.monotonic(), self._clock.wall(), self._chance())

    async def make(
        self,
        attempt: Attempt,
        grant: str,
        build: Callable[[Material], TokenRequest],
        override: RequestOverride,
        *,
        once: bool = False,
    ) -> None:
        """Ask with what `build` makes, as `override` has it, and note in `attempt` what came of it.

        `once`: what is sent is good only once, even where a clock is wrong.
        """
        # It needs the server's metadata where nobody wrote where to go.
        discover = self._iclient.token_url is None and override.url is None
        attempt.grant = grant
        for again in (not once and self._server.signs, False):
            attempt.asked_at = self.now
            made = await self._server.made(build, attempt.held, attempt.authorization, discover=discover)
            if isinstance(made, Failure):
                attempt.result = made
                return
            attempt.grant = made.grant
            attempt.sent += 1
            attempt.result = await self._exchange(made)
            if discover and _nobody_there(attempt.result):
                self._discovery.doubt()
            if not (self._server.learn_skew(attempt.result) and again and isinstance(attempt.result, Failure)):
                return

    async def _exchange(self, request: TokenRequest) -> Issued | Failure:
        began = self._clock.monotonic()
        answer = await self._server.answer(request)
        if isinstance(answer, Failure):
            result: Issued | Failure = answer
            if answer.code == "url_outside_valid_domains":
                return result  # nothing was asked
        else:
            result = read(answer, self._iclient, limit=self._limit, now=self._clock.wall())
        outcome = result.outcome if isinstance(result, Failure) else Outcome.OK
        key = request.grant, outcome.value
        self._counters.requests[key] = self._counters.requests.get(key, 0) + 1
        self._counters.duration.observe(self._clock.monotonic() - began)
        return result


def _nobody_there(result: Issued | Failure) -> bool:
    """Tell whether a request met no endpoint: the host is gone, or it leads somewhere else."""
    return isinstance(result, Failure) and (result.outcome is Outcome.TRANSPORT or result.status in _NOT_HERE)
