"""Carries token requests to the authorization server: one stream for each, every step bounded in time and size.

HTTP/1.1 is spoken here rather than by aiohttp's client, because that one can't be bounded in what matters for a
credential. Measured with 3.14.5: a body that ends by a reset counts as complete, a complete response is lost when
garbage follows in the same segment, a broken chunk hangs until the total timeout, 20,000 interim responses are read
without a word. It would also cost 190 ms at start and 15 MiB. Redirects, cookies, proxies and retries are not switched
off here: there is nothing that could do them.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import ssl
from functools import lru_cache
from typing import TYPE_CHECKING, Final, Protocol

from proxy.definitions.domains import DomainError, check_url, is_metadata
from proxy.errors import Refusal
from proxy.oauth.failure import EndpointFault, Outcome
from proxy.outbound.answer_stream import AnswerStream
from proxy.outbound.resolve import ResolveError
from proxy.outbound.tls import client_context
from proxy.patience import LAST_LOOK, Patience, PatientTimer

if TYPE_CHECKING:
    import socket

    from proxy.definitions.domains import OAuthUrl
    from proxy.definitions.models import IClient, Tls
    from proxy.definitions.settings import Limits
    from proxy.oauth.compose import TokenRequest
    from proxy.oauth.response import EndpointAnswer
    from proxy.outbound.egress import Gate

# What OpenSSL says of a peer whose version or whose certificate's strength we do not accept. These are its own codes,
# not texts; everything else that fails in a handshake is the protocol.
_TRUST_REASONS: Final = frozenset(
    {
        "CERTIFICATE_VERIFY_FAILED",
        "CA_MD_TOO_WEAK",
        "EE_KEY_TOO_SMALL",
        "TLSV1_ALERT_PROTOCOL_VERSION",
        "UNSUPPORTED_PROTOCOL",
        "WRONG_SSL_VERSION",
    }
)


class Resolver(Protocol):
    """Turns a name into addresses."""

    async def resolve(self, host: str, port: int) -> tuple[str, ...]:
        """Return IP literals, at least one; raise `ResolveError`."""
        ...


class TokenEndpoint:
    """The way to one iClient's authorization server, through the egress proxy where there is a `gate`.

    Each request has a stream of its own, so none is ever sent twice because a pooled stream had died.
    """

    def __init__(self, iclient: IClient, limits: Limits, resolver: Resolver, gate: Gate | None = None) -> None:
        self._iclient = iclient
        self._limits = limits
        self._resolver = resolver
        self._gate = gate

    async def send(self, request: TokenRequest) -> EndpointAnswer:
        """Send `request` and return the complete answer, whatever its status; raise `EndpointFault`.

        The URL is checked against `valid_domains` first, before any name is looked up.
        """
        try:
            url = check_url(
                request.url,
                self._iclient.valid_domains,
                self._iclient.allow_insecure,
                host_from_placeholder=request.host_from_placeholder,
            )
        except DomainError as error:
            raise EndpointFault(
                Outcome.OTHER_ERROR, "url_outside_valid_domains", attempted=False, reason=error.code
            ) from error
        step, sent = "dns_timeout", False
        try:
            async with Patience(self._limits.token_total) as patience:
                addresses = await self._addresses(url, listed=not request.host_from_placeholder)
                step = "token_connect_timeout"
                transport, stream = await self._connect(url, addresses)
                step, sent = "token_endpoint_timeout", True
                try:
                    transport.write(_bytes(request, url))
                    return await _answer(stream.answer, patience)
                finally:
                    stream.answer.cancel()
                    # No lingering and no goodbye: the stream is not used again, whatever the server still says.
                    transport.abort()
        except TimeoutError as error:
            fault = EndpointFault(Outcome.TIMEOUT, step)
            fault.sent = sent
            raise fault from error
        except EndpointFault as fault:
            fault.sent = sent
            raise

    async def _addresses(self, url: OAuthUrl, *, listed: bool) -> tuple[str, ...]:
        try:
            if self._gate is not None:  # the proxy looks the name up: no address of it is known here
                return await self._gate.addresses()
            found = await self._resolver.resolve(url.host, url.port)
        except ResolveError as error:
            outcome = Outcome.TIMEOUT if error.code == "dns_timeout" else Outcome.TRANSPORT
            raise EndpointFault(outcome, error.code) from error
        except Refusal as refusal:
            raise _failed_egress(refusal) from refusal
        # A name that leads to a cloud's metadata service would hand it the client's secret.
        allowed = tuple(address for address in found if not is_metadata(_unmapped(address)))
        if not allowed:
            raise EndpointFault(Outcome.OTHER_ERROR, "metadata_address")
        if not listed:
            # Nobody wrote this host out: a value chose it, and it may not choose a machine inside.
            allowed = tuple(address for address in allowed if ipaddress.ip_address(_unmapped(address)).is_global)
            if not allowed:
                raise EndpointFault(Outcome.OTHER_ERROR, "private_address")
        return allowed

    async def _connect(self, url: OAuthUrl, addresses: tuple[str, ...]) -> tuple[asyncio.Transport, AnswerStream]:
        """Return a stream to the first address that answers, all of them within `token_connect`."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._limits.token_connect
        fault = EndpointFault(Outcome.TIMEOUT, "token_connect_timeout")
        for left, address in zip(range(len(addresses), 0, -1), addresses, strict=True):
            try:
                # An address that swallows packets may not use up the time of the others.
                async with Patience((deadline - loop.time()) / left):
                    return await self._connect_to(url, address)
            except TimeoutError as error:
                fault = EndpointFault(Outcome.TIMEOUT, "token_connect_timeout")
                fault.__cause__ = error
            except EndpointFault as error:
                fault = error
        raise fault

    async def _connect_to(self, url: OAuthUrl, address: str) -> tuple[asyncio.Transport, AnswerStream]:
        loop = asyncio.get_running_loop()
        tls = self._iclient.tls
        secure = url.scheme == "https"
        context = _context(tls) if secure else None
        name = (tls.server_name or url.host) if secure else None

        def answer() -> AnswerStream:
            return AnswerStream(self._limits.token_answer)

        try:
            if self._gate is None:
                return await loop.create_connection(answer, address, url.port, ssl=context, server_hostname=name)
            sock = await _through(self._gate, address, url)
            return await loop.create_connection(answer, sock=sock, ssl=context, server_hostname=name)
        except ssl.SSLError as error:
            untrusted = isinstance(error, ssl.SSLCertVerificationError) or error.reason in _TRUST_REASONS
            code = "tls_certificate_error" if untrusted else "tls_protocol_error"
            raise EndpointFault(Outcome.TRANSPORT, code, reason=error.reason or "") from error
        except ssl.CertificateError as error:
            raise EndpointFault(Outcome.TRANSPORT, "tls_certificate_error") from error
        except OSError as error:
            reason = "" if error.errno is None else errno.errorcode.get(error.errno, str(error.errno))
            raise EndpointFault(Outcome.TRANSPORT, "token_connect_failed", reason=reason) from error


async def _through(gate: Gate, address: str, url: OAuthUrl) -> socket.socket:
    try:
        return await gate.open(address, url.host, url.port)
    except OSError as error:
        raise EndpointFault(Outcome.TRANSPORT, "egress_proxy_failed", reason=str(error.errno or "")) from error
    except Refusal as refusal:
        raise _failed_egress(refusal) from refusal


def _failed_egress(refusal: Refusal) -> EndpointFault:
    return EndpointFault(Outcome.TRANSPORT, "egress_proxy_failed", reason=refusal.detail)


async def _answer(answer: asyncio.Future[EndpointAnswer], patience: Patience) -> EndpointAnswer:
    """Return the answer, if it comes within what is left of `patience`; raise `TimeoutError`.

    What lies there unread at the end is read in any case: to throw it away would cost a refresh token that rotates.
    """
    patience.lift()
    loop = asyncio.get_running_loop()
    over: asyncio.Future[None] = loop.create_future()
    timer = PatientTimer(loop, max(patience.left() - LAST_LOOK, 0.0), lambda: over.set_result(None))
    try:
        await asyncio.wait((answer, over), return_when=asyncio.FIRST_COMPLETED)
    finally:
        timer.cancel()
    if not answer.done():
        await asyncio.wait((answer,), timeout=LAST_LOOK)
    if not answer.done():
        raise TimeoutError
    return answer.result()


@lru_cache(maxsize=32)
def _context(tls: Tls) -> ssl.SSLContext:
    """Return one context for all iClients that trust alike: reading the system's roots takes 20 ms and 1 MiB."""
    return client_context(tls)


def _bytes(request: TokenRequest, url: OAuthUrl) -> bytes:
    lines = [
        f"{request.method} {url.path_and_query} HTTP/1.1",
        f"Host: {url.authority}",
        *(f"{name}: {value}" for name, value in request.headers),
        *([f"Content-Length: {len(request.body)}"] if request.body or request.method in ("POST", "PUT") else []),
        "Connection: close",
    ]
    return "\r\n".join([*lines, "", ""]).encode("ascii") + request.body


def _unmapped(address: str) -> str:
    """Return the IPv4 address inside an IPv6 one, where there is one."""
    parsed = ipaddress.ip_address(address.partition("%")[0])
    inner = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
    return str(inner or parsed)
