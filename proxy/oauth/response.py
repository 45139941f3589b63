"""Reads what a token endpoint answered: a token, or why there is none. Judged by content, tolerant of habits. Pure."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from proxy.oauth.content import ContentError, decoded, document, text
from proxy.oauth.expiry import http_date, lifetime, retry_after
from proxy.oauth.failure import Failure, Outcome, Remedy
from proxy.oauth.path import MISSING, compile_path
from proxy.secret import Secret

if TYPE_CHECKING:
    from proxy.definitions.models import IClient

# It has to fit a header line of the strictest servers in use.
LONGEST_TOKEN: Final = 16 * 1024
# RFC 6749 appendix A.12 allows these; a space at either end would be lost on the way.
_TOKEN: Final = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?")
# They need proof of possession with each request, which a header alone does not give.
_UNSUPPORTED_TYPES: Final = frozenset({"mac", "dpop", "pop"})

# Error codes of RFC 6749 §5.2 (and RFC 9449) and what may help; a code that is not here is known only by its text.
_ERRORS: Final[Mapping[str, tuple[Outcome, str, Remedy]]] = {
    "invalid_grant": (Outcome.INVALID_GRANT, "invalid_grant", Remedy.ANOTHER_GRANT),
    "invalid_client": (Outcome.INVALID_CLIENT, "invalid_client", Remedy.OPERATOR),
    "invalid_request": (Outcome.OTHER_ERROR, "invalid_request", Remedy.OPERATOR),
    "invalid_scope": (Outcome.OTHER_ERROR, "invalid_scope", Remedy.OPERATOR),
    "unauthorized_client": (Outcome.OTHER_ERROR, "unauthorized_client", Remedy.OPERATOR),
    "unsupported_grant_type": (Outcome.OTHER_ERROR, "unsupported_grant_type", Remedy.OPERATOR),
    "use_dpop_nonce": (Outcome.OTHER_ERROR, "dpop_unsupported", Remedy.OPERATOR),
}


@dataclass(frozen=True, slots=True)
class EndpointAnswer:
    """A complete HTTP response, as it came: names of headers in lower case, the body still encoded and not shown."""

    status: int
    headers: tuple[tuple[str, str], ...] = field(repr=False)
    body: bytes = field(repr=False)

    def header(self, name: str) -> str:
        """Return the values of one header joined by commas, "" when there is none."""
        return ", ".join(value for key, value in self.headers if key == name)


@dataclass(frozen=True, slots=True)
class Issued:
    """A token that was issued. `lifetime` is in seconds from the answer, None when the server does not say.

    `anomalies` are codes of what was odd but usable: `expires_in_unreadable`, `refresh_token_unusable`,
    `token_type_odd`, `content_type_odd`.
    """

    access_token: Secret
    lifetime: float | None
    refresh_token: Secret | None
    anomalies: tuple[str, ...] = ()


def read(answer: EndpointAnswer, iclient: IClient, *, limit: int, now: float) -> Issued | Failure:
    """Return the token in `answer`, or the failure it is.

    `limit` is the most bytes a decoded body may have, `now` is wall time. Never raises on any answer.
    """
    verdict = _judge(answer, iclient, limit, now)
    if isinstance(verdict, Issued):
        return verdict
    return replace(
        verdict,
        retry_after=retry_after(answer.header("retry-after"), now),
        status=answer.status,
        content_type=_printable(answer.header("content-type"), 80),
        length=len(answer.body),
        digest=hashlib.sha256(answer.body).hexdigest()[:12],
    )


def _judge(answer: EndpointAnswer, iclient: IClient, limit: int, now: float) -> Issued | Failure:
    if 300 <= answer.status < 400:
        said = _origin(answer.header("location"))
        return Failure(Outcome.OTHER_ERROR, "token_endpoint_redirect", Remedy.OPERATOR, said=said)
    if answer.status == 429:
        return Failure(Outcome.RATE_LIMITED, "token_rate_limited")
    if answer.status >= 500:
        return Failure(Outcome.OTHER_ERROR, "token_server_error")
    media_type = answer.header("content-type").partition(";")[0].strip().lower()
    at_root = not compile_path(iclient.access_token_path).steps
    try:
        content = text(decoded(answer.body, answer.header("content-encoding"), limit))
        found = _bare(content, media_type) if at_root else document(content, media_type)
    except ContentError as error:
        return Failure(Outcome.MALFORMED, error.code) if answer.status < 400 else _refused(answer.status, {})
    members = found if isinstance(found, Mapping) else {}
    if answer.status >= 400 or members.get("error"):
        return _refused(answer.status, members)
    if not isinstance(found, Mapping) and compile_path(iclient.access_token_path).find(found) is MISSING:
        return Failure(Outcome.MALFORMED, "token_response_malformed")
    return _issued(found, members, iclient, media_type, _date(answer, now))


def _bare(content: str, media_type: str) -> object:
    """Return the document where the body itself is the token: JSON when it looks so, else the text as it is."""
    if content.lstrip()[0] in '{["':
        return document(content, "application/json")
    if media_type == "text/html" or content.lstrip().startswith("<"):
        raise ContentError("token_response_not_json")
    return content.removesuffix("\n").removesuffix("\r")


def _refused(status: int, members: Mapping[str, object]) -> Failure:
    error = members.get("error")
    if isinstance(error, str) and error in _ERRORS:
        outcome, code, remedy = _ERRORS[error]
        return Failure(outcome, code, remedy, said=_printable(members.get("error_description"), 120))
    if status == 401:
        # RFC 6749 §5.2 has one meaning for it, also where the body does not repeat it: asking on may lock us out.
        return Failure(Outcome.INVALID_CLIENT, "invalid_client", Remedy.OPERATOR)
    parts = [_printable(part, 120) for part in (error, members.get("error_description"))]
    return Failure(Outcome.OTHER_ERROR, "token_error_other", said=": ".join(filter(None, parts))[:120])


def _issued(
    found: object, members: Mapping[str, object], iclient: IClient, media_type: str, now: float
) -> Issued | Failure:
    token = compile_path(iclient.access_token_path).find(found)
    if not isinstance(token, str) or not token:
        return Failure(Outcome.MALFORMED, "token_missing", said=_printable(iclient.access_token_path, 120))
    if len(token) > LONGEST_TOKEN:
        return Failure(Outcome.MALFORMED, "token_too_large")
    if not _TOKEN.fullmatch(token):
        return Failure(Outcome.MALFORMED, "token_malformed")
    anomalies = []
    kind = members.get("token_type", "bearer")
    if isinstance(kind, str) and kind.lower() in _UNSUPPORTED_TYPES:
        return Failure(Outcome.MALFORMED, "token_type_unsupported", Remedy.OPERATOR, said=_printable(kind, 20))
    if kind is not None and not (isinstance(kind, str) and kind.lower() == "bearer"):
        anomalies.append("token_type_odd")
    if media_type == "text/html" or not media_type:
        anomalies.append("content_type_odd")

    refresh_token = compile_path(iclient.refresh_token_path).find(found)
    usable = isinstance(refresh_token, str) and 0 < len(refresh_token) <= LONGEST_TOKEN
    if refresh_token is not MISSING and not usable:
        anomalies.append("refresh_token_unusable")

    written = compile_path(iclient.expires_in_path).find(found)
    seconds = None if written is MISSING else lifetime(written, iclient.expires_in_unit, now)
    if seconds is None:
        if written is not MISSING:
            anomalies.append("expires_in_unreadable")
        seconds = iclient.default_token_ttl
    return Issued(
        access_token=Secret(token),
        lifetime=seconds,
        refresh_token=Secret(str(refresh_token)) if usable else None,
        anomalies=tuple(anomalies),
    )


def _date(answer: EndpointAnswer, now: float) -> float:
    """Return the time by the server's own clock: a moment it names means that clock, however wrong ours is."""
    date = http_date(answer.header("date"))
    return now if date is None else date


def _origin(location: str) -> str:
    """Return scheme and host of a redirect; the rest of it may hold anything."""
    try:
        parts = urlsplit(location)
        return _printable(f"{parts.scheme}://{parts.hostname}", 120) if parts.hostname else ""
    except ValueError:
        return ""


def _printable(value: object, longest: int) -> str:
    """Return a peer's text for the log: printable ASCII only, cut; "" for what is no text."""
    if not isinstance(value, str):
        return ""
    return "".join(character for character in value[: 4 * longest] if " " <= character <= "~")[:longest]
