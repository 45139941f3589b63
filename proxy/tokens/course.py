"""The course of a renewal: adopt what another replica has brought, else refresh, else run the connection's own grant.

A refresh token may be good only once. So its use is announced in the store before it is made, its successor is stored
before it is used, and whoever finds in the store that somebody was faster goes on with what that one got.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from proxy.oauth import request as requests
from proxy.oauth.failure import Failure, Outcome, Remedy
from proxy.oauth.grant import NO_GRANT
from proxy.oauth.response import Issued
from proxy.tokens.ledger import SAVES, NoTurnError
from proxy.tokens.renewal import STORE_UNAVAILABLE, Attempt, Renewal, asked, digest, granted, shared
from proxy.tokens.stored import Stored, StoreUnavailable
from proxy.tokens.unavailable import UNAUTHORIZED

if TYPE_CHECKING:
    from proxy.definitions.models import IClient
    from proxy.tokens.correspondence import Correspondent
    from proxy.tokens.ledger import Ledger
    from proxy.tokens.tries import Tries

# These say that refreshing will not work again, however long one waits; the connection's own grant still may.
_INVALID: Final = frozenset({"invalid_grant"})
_REFRESH_IS_OVER: Final = _INVALID | {"unauthorized_client", "unsupported_grant_type"}
_OUTRUN: Final = Failure(Outcome.OTHER_ERROR, "renewed_elsewhere")


class Course:
    """Renews one connection, one renewal at a time. `brought`: only a human or the operator brings another grant."""

    def __init__(self, iclient: IClient, ledger: Ledger, tries: Tries, server: Correspondent, *, brought: bool) -> None:
        self._iclient = iclient
        self._ledger = ledger
        self._tries = tries
        self._server = server
        self._brought = brought
        # The refresh token (its digest) of which this process knows what became of each of its uses.
        self._accounted = ""
        # The one that was refused while nobody could tell whether another replica has its successor, and how.
        self._refused: tuple[str, Failure | None] = "", None

    async def run(self) -> Renewal:
        """Get a new access token. A rotated refresh token is stored before this returns, so before its use."""
        attempt = self.begun()
        if self._iclient.grant_type == "self_signed_jwt":
            attempt.held = self._ledger.granted
            attempt.result = await self._server.made(requests.self_signed, attempt.held, discover=False)
            return await self._ended(attempt)
        async with self._ledger.lock:
            for _ in range(SAVES):
                try:
                    renewal = await self._shared(attempt) or await self._in_turn(attempt)
                except StoreUnavailable:
                    return await self._alone(attempt)
                except NoTurnError:
                    break
                if renewal is not None:
                    return renewal
        return self.told(replace(attempt, result=_OUTRUN))

    def begun(self) -> Attempt:
        """Return an attempt that begins now; what others store from now on is news."""
        ledger = self._ledger
        return Attempt(
            self._tries.monotonic(), NO_GRANT, ledger.replaced, since=ledger.used, known=ledger.last.access_token
        )

    def adopted(self, attempt: Attempt) -> Renewal | None:
        """Return the token that another replica has brought since the attempt began, if there is one."""
        ledger, now = self._ledger, self._tries.now
        token = ledger.news(attempt.since, attempt.known, now)
        if token is None:
            return None
        held = replace(ledger.kept.grant or NO_GRANT, access_token=token.value, fields=token.fields)
        ledger.use(held, ledger.kept.version)
        result = Issued(token.value, token.lifetime, None, fields=token.fields)
        return self.told(replace(attempt, held=held, asked_at=asked(token, now), result=result), adopted=True)

    def told(self, attempt: Attempt, *, adopted: bool = False) -> Renewal:
        """Return how an attempt ended."""
        if attempt.result is None:
            raise ValueError("nothing was tried")
        return Renewal(
            result=attempt.result,
            grant=attempt.grant or self._iclient.grant_type,
            asked_at=attempt.asked_at or self._tries.now,
            refreshable=attempt.held.refresh_token is not None,
            seconds=self._tries.monotonic() - attempt.began,
            requests=attempt.sent,
            lost=attempt.lost,
            held=attempt.held,
            skew=self._server.skew,
            stale=self._ledger.stale(attempt),
            adopted=adopted,
        )

    # ------------------------------------------------------------------------------------------------- with the store

    async def _shared(self, attempt: Attempt) -> Renewal | None:
        if not self._ledger.shared:
            return None
        await self._ledger.load()
        return self.adopted(attempt)

    async def _in_turn(self, begun: Attempt) -> Renewal | None:
        """Renew while nobody else does; None: somebody did, so that it has to be begun anew."""
        renewal: Renewal | None = None
        done = False
        try:
            async with self._ledger.turn():
                await self._ledger.load()
                renewal = self.adopted(begun) or await self._renew(self._attempt(begun))
                done = True
        except StoreUnavailable:
            if not done:
                raise
        return renewal

    async def _alone(self, begun: Attempt) -> Renewal:
        """Renew although the store is away, if the definitions let it: what comes of it is stored when it is back."""
        attempt = self._attempt(begun)
        rotates = attempt.held.refresh_token is not None or self._brought
        if rotates and self._ledger.holds:
            attempt.result = STORE_UNAVAILABLE
            return self.told(attempt)
        renewal = await self._renew(attempt)
        return renewal if renewal is not None else self.told(replace(attempt, result=STORE_UNAVAILABLE))

    def _attempt(self, begun: Attempt) -> Attempt:
        kept, held = self._ledger.kept, self._ledger.granted
        mark = digest(held.refresh_token)
        intended = bool(mark) and kept.intent == mark
        doubtful = intended and mark != self._accounted
        return replace(begun, held=held, version=kept.version, intended=intended, doubtful=doubtful)

    async def _save(self, attempt: Attempt, stored: Stored) -> bool:
        """Save, as the version behind that of the attempt; False: somebody was faster.

        Raises `StoreUnavailable` where a grant has to wait for the store; else what it can't take it gets later.
        """
        saved = True
        try:
            saved = await self._ledger.save(stored, attempt.version)
        except StoreUnavailable:
            if stored.intent and self._ledger.holds:
                raise
        if saved:
            attempt.version += 1
        return saved

    async def _moved(self, attempt: Attempt) -> bool:
        """Tell whether the store has another refresh token now, or a newer access token. Raises `StoreUnavailable`."""
        ledger = self._ledger
        if not ledger.shared:
            return False
        kept = await ledger.load()
        return kept.version > attempt.version and (
            digest(ledger.granted.refresh_token) != digest(attempt.held.refresh_token)
            or ledger.news(attempt.since, attempt.known, self._tries.now) is not None
        )

    # ------------------------------------------------------------------------------------------------------ refreshing

    async def _renew(self, attempt: Attempt) -> Renewal | None:
        """Refresh, or run the connection's own grant; None: somebody was faster."""
        if self._ledger.stale(attempt):
            return self.told(replace(attempt, result=_OUTRUN))  # while it waited for its turn
        if attempt.held.refresh_token is not None:
            if not await self._refreshed(attempt):
                return None
        elif self._brought:
            attempt.result = UNAUTHORIZED
        if not self._brought and (attempt.result is None or attempt.lost):
            override = self._iclient.access_token_request
            await self._tries.make(attempt, self._iclient.grant_type, requests.own_grant, override)
        return await self._ended(attempt)

    async def _refreshed(self, attempt: Attempt) -> bool:
        """Use the refresh token; False: another replica has, and the store holds its successor."""
        mark = digest(attempt.held.refresh_token)
        refused, how = self._refused
        if mark == refused:
            attempt.result = how
        elif not (await self._announced(attempt, mark) and await self._asked(attempt)):
            return False
        over = (
            _INVALID if self._brought else _REFRESH_IS_OVER
        )  # what only a human can replace is kept while there is hope
        if isinstance(attempt.result, Failure) and attempt.result.code in over and not self._ledger.stale(attempt):
            return await self._lost(attempt, attempt.result, mark)
        return True

    async def _announced(self, attempt: Attempt, mark: str) -> bool:
        """Have the store know that the refresh token is about to be used; False: somebody was faster."""
        if attempt.intended:
            return True
        grant = replace(attempt.held, access_token=None)
        attempt.intended = await self._save(attempt, replace(self._ledger.kept, grant=grant, intent=mark))
        if attempt.intended:
            self._accounted = mark
        return attempt.intended

    async def _asked(self, attempt: Attempt) -> bool:
        """Ask with the refresh token; False: another replica was faster.

        Where the answer is lost, nobody knows whether the server has replaced the token. It is sent once more at once,
        while a server that forgives that still does; whatever that brings is believed.
        """
        for again in (not attempt.doubtful, False):
            await self._tries.make(attempt, requests.REFRESH, requests.refresh, self._iclient.refresh_token_request)
            if not (isinstance(attempt.result, Failure) and attempt.result.unanswered):
                break
            self._accounted = ""
            if not again or self._ledger.stale(attempt):
                break
            try:
                if await self._moved(attempt):
                    return False
            except StoreUnavailable:
                if self._ledger.holds:
                    break
        return True

    async def _lost(self, attempt: Attempt, refusal: Failure, mark: str) -> bool:
        """Give the refresh token up, unless another replica has its successor: then False."""
        try:
            if await self._moved(attempt):
                return False
        except StoreUnavailable:
            if self._brought:
                # Nobody can tell now: it is neither sent again nor given up.
                self._refused = mark, refusal
                attempt.result = STORE_UNAVAILABLE
                return True
        if not await self._save(attempt, replace(self._ledger.kept, grant=NO_GRANT, intent="")):
            return False
        attempt.lost = refusal.code
        attempt.held = replace(attempt.held, refresh_token=None)
        if self._brought:
            attempt.result = replace(refusal, remedy=Remedy.ANOTHER_GRANT)
        return True

    # --------------------------------------------------------------------------------------------------------- ending

    async def _ended(self, attempt: Attempt) -> Renewal:
        """Store what was granted, then report; another replica's token, if that one was faster."""
        ledger, result, before = self._ledger, attempt.result, attempt.held
        if isinstance(result, Issued):
            attempt.held = granted(before, result)
            if not ledger.stale(attempt):
                after = replace(attempt.held, access_token=None)
                worth = after.refresh_token is not None
                token = shared(result, attempt.asked_at or self._tries.now) if ledger.shared else None
                changed = worth and (attempt.intended or after != replace(before, access_token=None))
                stored = Stored(grant=after if worth else ledger.kept.grant, token=token)
                if changed or (token is not None and attempt.sent):
                    renewal = await self._settled(attempt, stored)
                    if renewal is not None:
                        return renewal
                if not ledger.stale(attempt):
                    ledger.use(attempt.held, attempt.version)
        return self.told(attempt)

    async def _settled(self, attempt: Attempt, stored: Stored) -> Renewal | None:
        """Save what a renewal brought; return the token of another replica that took the turn meanwhile and has one."""
        ledger = self._ledger
        for _ in range(SAVES):
            if await self._save(attempt, stored) or ledger.stale(attempt):
                break
            # Our turn was over before we were. If all that another one has saved is what he is about to do, or that his
            # attempt failed, we have what he lacks; what he has got is what everybody goes on with.
            try:
                kept = await ledger.load()
            except StoreUnavailable:
                attempt.version += 1  # nobody can tell what he has: this is kept until the store is back, behind his
                continue
            if (renewal := self.adopted(attempt)) is not None:
                return renewal
            if kept.revoked:
                attempt.epoch -= 1  # stale: it was given back while this was on its way
                break
            attempt.version = kept.version
        return None
