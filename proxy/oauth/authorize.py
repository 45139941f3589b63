"""Asking a human for a grant, and reading what the browser brings back (RFC 6749 §4.1.1, §4.1.2, RFC 9207). Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl

from proxy.definitions.domains import DomainError, check_url
from proxy.definitions.endpoints import CALLBACK_CODE
from proxy.definitions.templates.placeholders import RenderError
from proxy.definitions.templates.urls import placeholder_in_host
from proxy.errors import ProxyError
from proxy.oauth.compose import with_query
from proxy.oauth.material import Rendering
from proxy.secret import Secret

if TYPE_CHECKING:
    from proxy.definitions.models import IClient
    from proxy.oauth.material import Material
    from proxy.oauth.metadata import Metadata

_QUERY_MAX: Final = 16 * 1024
_FIELDS_MAX: Final = 64
_CODE_MAX: Final = 8 * 1024
_VISIBLE: Final = re.compile(r"[\x20-\x7e]+")  # RFC 6749 appendix A.11, A.5


class CallbackError(ProxyError):
    """The redirect brings no code: `code` is ours, `said` the server's own error code where it is a known word."""

    def __init__(self, code: str, said: str = "") -> None:
        self.code = code
        self.said = said
        super().__init__(code)


# RFC 6749 §4.1.2.1, OpenID Connect Core §3.1.2.6: words that may be shown as they are.
_ERRORS: Final = frozenset(
    {
        "access_denied", "invalid_request", "invalid_scope", "server_error", "temporarily_unavailable",
        "unauthorized_client", "unsupported_response_type", "interaction_required", "login_required",
        "account_selection_required", "consent_required",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Redirected:
    """What a redirect brought: the code, and everything else in its query but `state` and `iss`."""

    code: Secret
    callback: dict[str, str]


def authorization_url(material: Material, *, state: str, challenge: str | None) -> str:
    """Return where the browser is sent. `challenge` is None where PKCE is off.

    The query that stands in the URL stays; `authorization_params` replace the defaults, and remove those that are None.
    Raises `RenderError`, also with the code `url_outside_valid_domains`: a URL that a value or the server's metadata
    made is checked like those that requests go to.
    """
    iclient, metadata = material.iclient, material.metadata
    written = iclient.authorization_url or (metadata.authorization_endpoint if metadata is not None else None)
    if written is None:
        raise RenderError("placeholder_unresolved", "the server's metadata name no authorization endpoint")
    rendering = Rendering(material, None)
    url = written if isinstance(written, str) else rendering.url(written)
    by_value = not isinstance(written, str) and placeholder_in_host(written)
    try:
        check_url(url, iclient.valid_domains, iclient.allow_insecure, host_from_placeholder=by_value)
    except DomainError as error:
        raise RenderError("url_outside_valid_domains", error.message) from error
    parameters: dict[str, str] = {"response_type": "code"}
    if (client_id := material.client_id()) is not None:
        parameters["client_id"] = client_id
    if material.redirect_url is not None:
        parameters["redirect_uri"] = material.redirect_url
    if material.connection.scopes:
        parameters["scope"] = iclient.scope_delimiter.join(material.connection.scopes)
    parameters["state"] = state
    if challenge is not None:
        parameters |= {"code_challenge": challenge, "code_challenge_method": iclient.pkce}
    for name, template in iclient.authorization_params:
        if name == CALLBACK_CODE:
            continue
        if template is None:
            parameters.pop(name, None)
        else:
            parameters[name] = rendering.text(template)
    return with_query(url, tuple(parameters.items()))


def state_of(query: str) -> str:
    """Return the one `state` of a callback's query. Raises `CallbackError` (`invalid_state`, `invalid_callback`)."""
    fields = _fields(query)
    state = fields.get("state", "")
    if not state:
        raise CallbackError("invalid_state")
    return state


def read_callback(query: str, iclient: IClient, metadata: Metadata | None) -> Redirected:
    """Return what the redirect brought. Raises `CallbackError`.

    `invalid_callback`: a parameter twice, a code and an error, something unprintable. `issuer_mismatch`: it comes from
    another server (compared character by character, RFC 9207 §2.4), or lacks the `iss` that the server promises.
    `authorization_denied`: the server says no.
    """
    fields = _fields(query)
    issuer = fields.get("iss")
    expected = iclient.issuer
    if issuer is not None and expected is not None and issuer != expected:
        raise CallbackError("issuer_mismatch")
    if issuer is None and metadata is not None and metadata.iss_in_response:
        raise CallbackError("issuer_mismatch")
    name = _code_name(iclient)
    code, error = fields.get(name), fields.get("error")
    if error is not None:
        if code is not None:
            raise CallbackError("invalid_callback")
        raise CallbackError("authorization_denied", error if error in _ERRORS else "")
    if code is None or len(code) > _CODE_MAX or not _VISIBLE.fullmatch(code):
        raise CallbackError("invalid_callback")
    callback = {key: value for key, value in fields.items() if key not in (name, "state", "iss")}
    return Redirected(Secret(code), callback)


def _fields(query: str) -> dict[str, str]:
    if len(query) > _QUERY_MAX:
        raise CallbackError("invalid_callback")
    try:
        pairs = parse_qsl(query, keep_blank_values=True, errors="strict", max_num_fields=_FIELDS_MAX)
    except ValueError as error:
        raise CallbackError("invalid_callback") from error
    fields = dict(pairs)
    if len(fields) != len(pairs):  # RFC 6749 §3.1: parameters are not repeated
        raise CallbackError("invalid_callback")
    return fields


def _code_name(iclient: IClient) -> str:
    """Return what the server calls `code`: text without placeholders, as the loader has seen to."""
    template = dict(iclient.authorization_params).get(CALLBACK_CODE)
    return "code" if template is None else "".join(piece for piece in template.pieces if isinstance(piece, str))
