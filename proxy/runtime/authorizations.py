"""Grants that a human gives: a browser sets out, comes back with a code, and the keeper redeems it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from proxy.admin.ports import AuthorizationError, DeviceStarted, Finished, Started
from proxy.errors import Refusal, TokenUnavailable
from proxy.oauth.authorize import CallbackError, read_callback, state_of
from proxy.oauth.failure import Failure
from proxy.oauth.grant import Authorization
from proxy.oauth.pkce import challenge, verifier
from proxy.oauth.redirect import callback_name
from proxy.problem import PROBLEMS
from proxy.tokens.authorizations import LIFETIME, FlowError, Flows

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from proxy.definitions.models import IClient
    from proxy.runtime.parts import Part
    from proxy.tokens.keeper import Keeper

_MESSAGES: Final = {
    "invalid_state": "It has ended, it was used, or it never began here. Begin again.",
    "session_mismatch": "Finish it in the browser in which it began, or begin again.",
    "issuer_mismatch": "The answer does not come from the authorization server that was asked.",
    "invalid_callback": "What the browser brought back can't be read. Begin again.",
    "authorization_denied": "The authorization server says no",
}
# What the pages call it.
_CODES: Final = {"authorization_denied": "access_denied"}


class BrowserAuthorizations:
    """Fills the port `Authorizations` of `admin`; `parts` returns those there are now, by connection."""

    def __init__(
        self,
        parts: Callable[[], Mapping[str, Part]],
        entropy: Callable[[int], bytes],
        monotonic: Callable[[], float],
    ) -> None:
        self._parts = parts
        self._entropy = entropy
        self._flows = Flows(entropy, monotonic)

    async def start(self, name: str) -> Started:
        """Begin an authorization of that connection."""
        iclient, keeper = self._interactive(name, "authorization_code")
        redirect = keeper.issuer.redirect_url
        if redirect is None:
            detail = "there is no redirect URL; bind the admin listener to a port, or write redirect_url"
            raise Refusal(PROBLEMS["authorization_failed"], detail)
        proof = verifier(self._entropy) if iclient.pkce != "off" else None
        state, flow = self._flows.begin(name, callback_name(redirect, iclient.name), redirect, proof, iclient)
        url = await keeper.issuer.authorization_url(
            state, None if proof is None or iclient.pkce == "off" else challenge(proof, iclient.pkce)
        )
        if isinstance(url, Failure):
            raise Refusal(PROBLEMS["authorization_failed"], f"the authorization URL can't be made: {url.code}")
        keeper.consent.expected(LIFETIME)
        parts = urlsplit(redirect)
        return Started(url, flow.session, f"{parts.scheme}://{parts.netloc}")

    async def finish(self, path_name: str, query: str, sessions: tuple[str, ...]) -> Finished:
        """Take a callback's query and redeem its code."""
        try:
            state = state_of(query)
            flow = self._flows.take(state, path_name, sessions)
            part = self._parts().get(flow.connection)
            # It may have left with a reload, or have another iClient now, whose server must not see this one's code.
            if part is None or part.keeper is None or part.connection.iclient != flow.iclient:
                raise FlowError("invalid_state")
            keeper = part.keeper
            try:
                redirected = read_callback(query, flow.iclient, keeper.issuer.metadata)
            except CallbackError:
                keeper.consent.expected(0.0)
                raise
        except (FlowError, CallbackError) as error:
            said = f": {error.said}." if isinstance(error, CallbackError) and error.said else "."
            message = _MESSAGES[error.code]
            raise AuthorizationError(
                _CODES.get(error.code, error.code), 400, message if message.endswith(".") else message + said
            ) from error
        authorization = Authorization(redirected.code, flow.code_verifier, flow.redirect_url, state)
        try:
            await keeper.consent.redeem(authorization, redirected.callback)
        except TokenUnavailable as error:
            raise AuthorizationError("exchange_failed", 502, error.detail) from error
        return Finished(flow.connection)

    async def device(self, name: str) -> DeviceStarted:
        """Begin a device authorization; the keeper polls for its end."""
        _, keeper = self._interactive(name, "device_code")
        device = await keeper.consent.device()
        return DeviceStarted(
            device.user_code, device.verification_uri, device.verification_uri_complete, device.expires_in
        )

    def _interactive(self, name: str, grant: str) -> tuple[IClient, Keeper]:
        part = self._parts()[name]
        iclient = part.connection.iclient
        if iclient is None or part.keeper is None or iclient.grant_type != grant:
            what = "a browser" if grant == "authorization_code" else "a device"
            raise Refusal(PROBLEMS["no_route"], f"the grant of this connection is not one that {what} brings")
        return iclient, part.keeper
