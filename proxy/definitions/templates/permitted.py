"""Which paths may stand in which template: a secret goes to the token endpoint or to its own upstream alone. Pure.

The table is the one of the reference page, section "Placeholders".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import Enum
from typing import TYPE_CHECKING, Final

from proxy.definitions.notation.spelling import hint
from proxy.definitions.templates.calls import takes_collections, varies
from proxy.definitions.templates.placeholders import Call, Reference, UrlTemplate, expressions

if TYPE_CHECKING:
    from proxy.definitions.templates.placeholders import Expression, Scope, Template, TemplateMap, Tree

Complaint = tuple[str, str]  # code and message


class Place(Enum):
    """Where a template stands, by the key of the definitions; the value is how messages call it."""

    TOKEN_REQUEST = "access_token_request"
    REFRESH_REQUEST = "refresh_token_request"
    REVOCATION_REQUEST = "revocation_request"
    TOKEN_URL = "token_url"
    TOKEN_URL_HOST = "the host of a URL"
    REVOCATION_URL = "revocation_url"
    DEVICE_AUTHORIZATION_URL = "device_authorization_url"
    AUTHORIZATION_URL = "authorization_url"
    AUTHORIZATION_PARAMS = "authorization_params"
    REDIRECT_URL = "redirect_url"
    CLIENT_ID = "client_id"
    JWT = "jwt"
    CONNECTION_HEADERS = "headers"
    BASE_URL = "base_url"


_GROUPS: Final[dict[tuple[str, ...], tuple[str, ...]]] = {
    (): ("connection", "iclient", "authorization"),
    ("connection",): (
        "name", "base_url", "username", "password", "settings", "secrets", "params", "token", "callback",
    ),
    ("connection", "token"): ("access_token", "refresh_token", "fields"),
    ("iclient",): (
        "name", "client_id", "client_secret", "scopes", "scope", "redirect_url", "settings", "secrets", "jwt",
    ),
    ("iclient", "jwt"): ("token",),
    ("authorization",): ("code", "code_verifier", "redirect_url", "state"),
}  # fmt: skip
# Their fields are the operator's or the authorization server's; a helper may take one of them whole.
_OPEN: Final = frozenset(
    {
        ("connection", "settings"), ("connection", "secrets"), ("connection", "params"), ("connection", "callback"),
        ("connection", "token", "fields"), ("iclient", "settings"), ("iclient", "secrets"),
    }
)  # fmt: skip
_CLIENT_SECRETS: Final = (
    ("iclient", "client_secret"),
    ("iclient", "secrets"),
    ("iclient", "jwt"),
    ("authorization",),
    ("connection", "token", "refresh_token"),
)
_CONNECTION_SECRETS: Final = (
    ("connection", "secrets"),
    ("connection", "password"),
    ("connection", "token", "access_token"),
)
_REQUESTS: Final = frozenset(
    {Place.TOKEN_REQUEST, Place.REFRESH_REQUEST, Place.REVOCATION_REQUEST, Place.TOKEN_URL, Place.REVOCATION_URL}
)
# Known by the first token answer, or by the redirect before it.
_ANSWERED: Final = (("connection", "token"), ("connection", "callback"))
_BEFORE_ANSWER: Final = frozenset(
    {
        Place.CLIENT_ID, Place.REDIRECT_URL, Place.AUTHORIZATION_URL, Place.AUTHORIZATION_PARAMS,
        Place.DEVICE_AUTHORIZATION_URL,
    }
)  # fmt: skip
_REDEEMING: Final = frozenset({Place.TOKEN_REQUEST, Place.TOKEN_URL})
# What a template would stand for itself, or needs to be known before.
_ITSELF: Final[dict[Place, tuple[tuple[str, ...], ...]]] = {
    Place.CLIENT_ID: (("iclient", "client_id"), ("iclient", "redirect_url")),
    Place.REDIRECT_URL: (("iclient", "redirect_url"),),
    Place.BASE_URL: (("connection", "base_url"),),
    Place.JWT: (("iclient", "jwt"),),
}
_CONSTANT: Final = frozenset({Place.CLIENT_ID, Place.REDIRECT_URL, Place.BASE_URL})
# Not in a scope that is made when definitions are loaded.
_LATER: Final = (*_ANSWERED, ("authorization",), ("iclient", "redirect_url"))
_LATER_BASE_URL: Final = ("connection", "base_url")


def check_place(
    template: Template | TemplateMap | tuple[Tree, ...] | UrlTemplate, place: Place, scope: Scope | None = None
) -> list[Complaint]:
    """Return what is wrong with the paths of a template in this place, each as code and message.

    `scope` has what is known when definitions are loaded (`scope.connection_scope`, `scope.iclient_scope`; any callable
    as `jwt` where one is written); without it only the names of the format are checked. The host of a URL is checked
    as such. Codes: `placeholder_unresolved`, `wrong_type`, `secret_in_untrusted_template`, `template_invalid`.
    """
    complaints = []
    if isinstance(template, UrlTemplate):
        if template.origin is not None and place is not Place.BASE_URL:
            message = "only base_url may begin with a placeholder; write https:// and a host"
            complaints.append(("template_invalid", message))
        for part in (template.host, template.origin):
            if part is not None:
                complaints += _in_host(part, place, scope)
        for part in (template.path, template.query):
            if part is not None:
                complaints += check_place(part, place, scope)
        return list(dict.fromkeys(complaints))
    for expression in expressions(template):
        complaints += _checked(expression, place, scope, argument_of=None)
    return list(dict.fromkeys(complaints))


def _in_host(template: Template, place: Place, scope: Scope | None) -> Iterator[Complaint]:
    for code, message in check_place(template, Place.TOKEN_URL_HOST, scope):
        yield code, message
    # What is wrong in any part of such a URL, beside its secrets.
    for code, message in check_place(template, place, scope):
        if code != "secret_in_untrusted_template":
            yield code, message


def _checked(
    expression: Expression, place: Place, scope: Scope | None, *, argument_of: str | None
) -> Iterator[Complaint]:
    if isinstance(expression, Call):
        if varies(expression.helper) and place in _CONSTANT:
            yield (
                "template_invalid",
                f"{place.value} is the same in every request: {expression.helper} has no place here",
            )
        for argument in expression.arguments:
            if not isinstance(argument, str):
                yield from _checked(argument, place, scope, argument_of=expression.helper)
        return
    if (complaint := _name(expression)) is not None or (complaint := _permission(expression, place)) is not None:
        yield complaint
        return
    whole = argument_of is not None and takes_collections(argument_of)
    if expression.steps in _OPEN and not whole:
        yield "wrong_type", f"{expression.path} is a map; name a field of it"
    elif expression.steps == ("iclient", "scopes") and not whole:
        yield "wrong_type", 'iclient.scopes is a list; write iclient.scope, or {{{join "," iclient.scopes}}}'
    elif scope is not None and (complaint := _value(expression, scope)) is not None:
        yield complaint


def _name(reference: Reference) -> Complaint | None:
    """Check a path against the names of the format."""
    for depth, step in enumerate(reference.steps):
        group = reference.steps[:depth]
        if group in _OPEN:
            return None
        known = _GROUPS.get(group)
        if known is None:
            if group == ("iclient", "scopes"):
                return None
            return "placeholder_unresolved", f"{'.'.join(group)} has no fields, so {reference.path} stands for nothing"
        if step not in known:
            where = f"{'.'.join(group)} has {', '.join(known)}" if group else "a path begins with " + ", ".join(known)
            return "placeholder_unresolved", f"{reference.path} stands for nothing{hint(step, known)}: {where}"
    if reference.steps in _GROUPS:
        fields = ", ".join(_GROUPS[reference.steps])
        return "wrong_type", f"{reference.path} is a map; name one of its fields: {fields}"
    return None


def _permission(reference: Reference, place: Place) -> Complaint | None:
    """Check where a path may stand."""
    steps = reference.steps
    if _below(steps, _CLIENT_SECRETS) and place not in _REQUESTS:
        message = "may stand only in the token, refresh and revocation requests, and not in their host"
        return "secret_in_untrusted_template", f"{reference.path} {message}: not in {place.value}"
    if _below(steps, _CONNECTION_SECRETS) and place not in _REQUESTS and place is not Place.CONNECTION_HEADERS:
        message = "may stand only in the token, refresh and revocation requests, not in their host, and in headers"
        return "secret_in_untrusted_template", f"{reference.path} {message} of the connection: not in {place.value}"
    if steps[0] == "authorization" and place not in _REDEEMING:
        return "placeholder_unresolved", f"{reference.path} is known only while an authorization code is redeemed"
    if _below(steps, _ANSWERED) and place in _BEFORE_ANSWER:
        return "placeholder_unresolved", f"{reference.path} is not known yet where {place.value} is used"
    if _below(steps, _ITSELF.get(place, ())):
        return "placeholder_unresolved", f"{reference.path} can't stand in {place.value}, which it depends on"
    return None


def _value(reference: Reference, scope: Scope) -> Complaint | None:
    """Check a path against what is known already."""
    steps = reference.steps
    if steps[0] not in scope or _below(steps, _LATER) or steps == _LATER_BASE_URL:
        return None
    value: object = scope
    for depth, step in enumerate(steps):
        if isinstance(value, list | tuple):
            value = dict(enumerate(value)).get(int(step)) if step.isdecimal() else None
        elif isinstance(value, Mapping) and step in value:
            value = value[step]
        else:
            return "placeholder_unresolved", _missing(reference, depth, value)
    return None


def _missing(reference: Reference, depth: int, value: object) -> str:
    group = ".".join(reference.steps[:depth])
    if reference.steps[:depth] in _OPEN and isinstance(value, Mapping):
        step = reference.steps[depth]
        names = f"{group} has {', '.join(sorted(value)[:12])}" if value else f"there are no {group}"
        return f"{reference.path} stands for nothing{hint(step, value)}: {names}"
    return f"{reference.path} stands for nothing here: {reference.steps[-1]} is not written"


def _below(steps: tuple[str, ...], prefixes: tuple[tuple[str, ...], ...]) -> bool:
    return any(steps[: len(prefix)] == prefix for prefix in prefixes)
