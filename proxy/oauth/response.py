"""Reads what a token endpoint answered: a token, or why there is none. Judged by content, tolerant of habits. Pure."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from proxy.definitions.json_path import MISSING, Path, compile_path
from proxy.oauth.content import ContentError, decoded, document, text
from proxy.oauth.expiry import http_date, lifetime, retry_after
from proxy.oauth.failure import Failure, Outcome, Remedy
from proxy.secret import Secret, Unprinted

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
    "invalid_dpop_proof": (Outcome.OTHER_ERROR, "dpop_unsupported", Remedy.OPERATOR),
    # RFC 8628 §3.5: the human has not decided yet, or has.
    "authorization_pending": (Outcome.OTHER_ERROR, "authorization_pending", Remedy.WAIT),
    "slow_down": (Outcome.OTHER_ERROR, "slow_down", Remedy.WAIT),
    "expired_token": (Outcome.INVALID_GRANT, "expired_token", Remedy.ANOTHER_GRANT),
    "access_denied": (Outcome.INVALID_GRANT, "access_denied", Remedy.ANOTHER_GRANT),
    # RFC 7009 §2.2.1
    "unsupported_token_type": (Outcome.OTHER_ERROR, "unsupported_token_type", Remedy.OPERATOR),
    # RFC 8693 §2.2.2
    "invalid_target": (Outcome.OTHER_ERROR, "invalid_target", Remedy.OPERATOR),
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

    `fields` are the other members of the answer, which may hold secrets. `scope` is what was granted, None where the
    answer does not say. `server_time` is the wall clock of the server (its `Date`), None where it has none.
    `anomalies` are codes of what was odd but usable: `expires_in_unreadable`, `refresh_token_unusable`,
    `token_type_odd`, `content_type_odd`.
    """

    access_token: Secret
    lifetime: float | None
    refresh_token: Secret | None
    anomalies: tuple[str, ...] = ()
    fields: Mapping[str, object] = field(default_factory=dict, repr=False)
    scope: str | None = None
    server_time: float | None = None


def read(answer: EndpointAnswer, iclient: IClient, *, limit: int, now: float) -> Issued | Failure:
    """Return the token in `answer`, or the failure it is.

    `limit` is the most bytes a decoded body may have, `now` is wall time. Never raises on any answer.
    """
    verdict = _judge(answer, iclient, limit, now)
    if isinstance(verdict, Issued):
        return verdict
    return _described(verdict, answer, now)


def sendable(token: str) -> bool:
    """Tell whether a token may go into a request: printable ASCII, at most 16 KiB."""
    return len(token) <= LONGEST_TOKEN and _TOKEN.fullmatch(token) is not None


def error_of(answer: EndpointAnswer, *, limit: int, now: float) -> Failure:
    """Return the failure that an answer is, of an endpoint that gives no tokens; never raises."""
    if answer.status == 429:
        return _described(Failure(Outcome.RATE_LIMITED, "token_rate_limited"), answer, now)
    if answer.status >= 500:
        return _described(Failure(Outcome.OTHER_ERROR, "token_server_error"), answer, now)
    try:
        media_type = answer.header("content-type").partition(";")[0].strip().lower()
        found = document(text(decoded(answer.body, answer.header("content-encoding"), limit)), media_type)
    except ContentError:
        found = {}
    return _described(_refused(answer, found if isinstance(found, Mapping) else {}), answer, now)


def _described(failure: Failure, answer: EndpointAnswer, now: float) -> Failure:
    server_time = http_date(answer.header("date"))
    return replace(
        failure,
        server_time=server_time,
        # A moment is meant by the server's own clock.
        retry_after=retry_after(answer.header("retry-after"), now if server_time is None else server_time),
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
        return Failure(Outcome.MALFORMED, error.code) if answer.status < 400 else _refused(answer, {})
    members = found if isinstance(found, Mapping) else {}
    if answer.status >= 400 or members.get("error"):
        return _refused(answer, members)
    if not isinstance(found, Mapping) and compile_path(iclient.access_token_path).find(found) is MISSING:
        return Failure(Outcome.MALFORMED, "token_response_malformed")
    return _issued(found, members, iclient, media_type, http_date(answer.header("date")), now)


def _bare(content: str, media_type: str) -> object:
    """Return the document where the body itself is the token: JSON when it looks so, else the text as it is."""
    if content.lstrip()[0] in '{["':
        return document(content, "application/json")
    if media_type == "text/html" or content.lstrip().startswith("<"):
        raise ContentError("token_response_not_json")
    return content.removesuffix("\n").removesuffix("\r")


def _refused(answer: EndpointAnswer, members: Mapping[str, object]) -> Failure:
    error = members.get("error")
    if isinstance(error, str) and error in _ERRORS:
        outcome, code, remedy = _ERRORS[error]
        return Failure(outcome, code, remedy, said=_printable(members.get("error_description"), 120))
    challenged = answer.header("www-authenticate").lstrip().lower().startswith("dpop")
    if answer.header("dpop-nonce") or challenged:
        return Failure(Outcome.OTHER_ERROR, "dpop_unsupported", Remedy.OPERATOR)
    if answer.status == 401:
        # RFC 6749 §5.2 has one meaning for it, also where the body does not repeat it: asking on may lock us out.
        return Failure(Outcome.INVALID_CLIENT, "invalid_client", Remedy.OPERATOR)
    parts = [_printable(part, 120) for part in (error, members.get("error_description"))]
    return Failure(Outcome.OTHER_ERROR, "token_error_other", said=": ".join(filter(None, parts))[:120])


def _issued(
    found: object,
    members: Mapping[str, object],
    iclient: IClient,
    media_type: str,
    server_time: float | None,
    now: float,
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
    # A moment that the server names means its own clock, however wrong ours is.
    server_now = now if server_time is None else server_time
    seconds = None if written is MISSING else lifetime(written, iclient.expires_in_unit, server_now)
    if seconds is None:
        if written is not MISSING:
            anomalies.append("expires_in_unreadable")
        seconds = iclient.default_token_ttl
    return Issued(
        access_token=Secret(token),
        lifetime=seconds,
        refresh_token=Secret(str(refresh_token)) if usable else None,
        anomalies=tuple(anomalies),
        fields=_others(members, iclient),
        scope=scope if isinstance(scope := members.get("scope"), str) and scope.isprintable() else None,
        server_time=server_time,
    )


def _others(members: Mapping[str, object], iclient: IClient) -> Mapping[str, object]:
    """Return the members that are not the tokens themselves; what these are nested in stays, without them."""
    others: object = members
    for path in (iclient.access_token_path, iclient.refresh_token_path):
        others = _without(others, compile_path(path))
    return Unprinted(others if isinstance(others, Mapping) else {})


def _without(document: object, path: Path) -> object:
    """Return a document without what lies at the end of a path. A list keeps its length: other paths count in it."""
    if not path.steps or path.find(document) is MISSING:
        return document
    step, rest = path.steps[0], Path(path.text, path.steps[1:])
    if isinstance(document, Mapping):
        inner = {str(step): _without(document[str(step)], rest)} if rest.steps else {}
        return {name: inner.get(name, value) for name, value in document.items() if inner or name != str(step)}
    items = list(document) if isinstance(document, Sequence) else []
    items[int(step)] = _without(items[int(step)], rest) if rest.steps else None
    return items


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
