"""A human's consent becomes a grant: codes that a browser brings, and devices on which somebody enters one."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, TypeGuard

from proxy.errors import TokenUnavailable
from proxy.oauth.device import INTERVAL, Device
from proxy.oauth.failure import Failure, Outcome, Remedy
from proxy.problem import PROBLEMS
from proxy.tokens.unavailable import closing

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.oauth.grant import Authorization
    from proxy.oauth.response import Issued
    from proxy.tokens.issuer import Issuer
    from proxy.tokens.journal import Journal
    from proxy.tokens.renewal import Renewal

# RFC 8628 §3.5: a server that does not answer is asked less often each time; so far at most, in seconds.
_LONGEST_INTERVAL: Final = 60.0
_UNANSWERED: Final = frozenset({Outcome.TRANSPORT, Outcome.TIMEOUT})
_SUPERSEDED: Final = Failure(Outcome.OTHER_ERROR, "revoked_meanwhile")


class Consent:
    """The ways in which one connection is authorized.

    `adopt` takes the renewal that an authorization brought, `drop` one that came after everything was given back;
    `expect` says for how long (seconds) one is under way.
    """

    def __init__(
        self,
        connection: str,
        issuer: Issuer,
        journal: Journal,
        *,
        adopt: Callable[[Renewal], None],
        drop: Callable[[Renewal], None],
        expect: Callable[[float], None],
    ) -> None:
        self._connection = connection
        self._issuer = issuer
        self._journal = journal
        self._adopt = adopt
        self._drop = drop
        self._expect = expect
        self._tasks: set[asyncio.Task[Failure | None] | asyncio.Task[Issued | Failure]] = set()
        self._device: asyncio.Task[None] | None = None
        self._closed = False

    def expected(self, seconds: float) -> None:
        """Somebody is about to authorize: for that long requests wait for the outcome."""
        self._expect(seconds)

    async def redeem(self, authorization: Authorization, callback: dict[str, str]) -> None:
        """Turn an authorization code into the connection's grant; raise `TokenUnavailable` where that fails.

        It is a task of its own: a browser that leaves does not lose the grant, since the code is good only once.
        """
        if self._closed:
            raise closing().refusal()
        loop = asyncio.get_running_loop()
        task = loop.create_task(self._redeem(authorization, callback), name=f"authorization:{self._connection}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        failure = await asyncio.shield(task)
        if failure is not None:
            detail = f"The authorization code was not accepted: {failure.code}."
            raise TokenUnavailable(PROBLEMS["authorization_failed"], detail)

    async def device(self) -> Device:
        """Ask for a user code and wait in the background until somebody has entered it; raise `TokenUnavailable`."""
        outcome = await self._issuer.device()
        if isinstance(outcome, Failure):
            detail = f"The authorization server gave no user code: {outcome.code}."
            raise TokenUnavailable(PROBLEMS["authorization_failed"], detail)
        while self._device is not None:  # another may begin while one is being ended
            await self._end_device()  # its code is void for the human, who looks at the new one
        if self._closed:  # meanwhile, by a reload: nobody would ever end what began now
            raise closing().refusal()
        self._expect(outcome.expires_in)
        loop = asyncio.get_running_loop()
        self._device = loop.create_task(self._await_consent(outcome), name=f"device:{self._connection}")
        return outcome

    async def settled(self) -> None:
        """Wait for codes that are on their way; no device is waited for any more."""
        await self._end_device()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def close(self) -> None:
        """Wait for nobody any more."""
        self._closed = True
        await self._end_device()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _end_device(self) -> None:
        device, self._device = self._device, None
        if device is not None:
            device.cancel()
            await asyncio.gather(device, return_exceptions=True)

    async def _redeem(self, authorization: Authorization, callback: dict[str, str]) -> Failure | None:
        try:
            return self._took(await self._issuer.redeem(authorization, callback))
        finally:
            self._expect(0.0)  # also where a store fails: nobody waits for what has ended

    async def _await_consent(self, device: Device) -> None:
        """Poll until the human has decided, or the code has expired (RFC 8628 §3.5)."""
        loop = asyncio.get_running_loop()
        end = loop.time() + device.expires_in
        interval = device.interval
        try:
            while (left := end - loop.time()) > 0:
                await asyncio.sleep(min(interval, left))
                if interval >= left:
                    break
                poll = loop.create_task(self._poll(device), name=f"poll:{self._connection}")
                self._tasks.add(poll)
                poll.add_done_callback(self._tasks.discard)
                result = await asyncio.shield(poll)
                if not _undecided(result):
                    return
                if result.code == "slow_down":
                    interval += INTERVAL
                elif result.outcome in _UNANSWERED:
                    interval = max(interval, min(2 * interval, _LONGEST_INTERVAL))
            self._journal.note("authorization_failed", "nobody entered the user code in time")
        finally:
            self._expect(0.0)

    async def _poll(self, device: Device) -> Issued | Failure:
        """Ask once, and take what comes: a task of its own, for what was granted is stored whatever ends meanwhile."""
        renewal = await self._issuer.poll(device.device_code)
        if not _undecided(renewal.result):
            self._took(renewal)
        return renewal.result

    def _took(self, renewal: Renewal) -> Failure | None:
        """Hand over what an authorization brought; one that brought nothing leaves everything as it is."""
        if isinstance(renewal.result, Failure):
            self._journal.failed(renewal, renewal.result, None)
            return renewal.result
        if renewal.stale:
            self._drop(renewal)
            return _SUPERSEDED
        self._adopt(renewal)
        self._journal.note("authorized", "someone authorized this connection")
        return None


def _undecided(result: Issued | Failure) -> TypeGuard[Failure]:
    """Tell whether the human may still agree."""
    return isinstance(result, Failure) and result.remedy is Remedy.WAIT
