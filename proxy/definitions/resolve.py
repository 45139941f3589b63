"""What templates come to in one connection, as far as it is known when definitions are loaded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

from proxy.definitions import domains
from proxy.definitions.endpoints import known_host
from proxy.definitions.notation.shapes import INHERITED
from proxy.definitions.templates.calls import varies
from proxy.definitions.templates.permitted import Place, check_place
from proxy.definitions.templates.placeholders import (
    Ambient,
    Call,
    Expression,
    RenderError,
    Template,
    UrlTemplate,
    expressions,
    literal,
    references,
    render,
)
from proxy.definitions.templates.scope import connection_scope, iclient_scope
from proxy.definitions.templates.urls import in_header, placeholder_in_host, render_url
from proxy.secret import Secret

if TYPE_CHECKING:
    from proxy.definitions.iclients import Registration
    from proxy.definitions.models import Connection
    from proxy.definitions.notation.nodes import Node
    from proxy.definitions.notation.reading import Reading
    from proxy.definitions.templates.placeholders import Scope

# Known by the token answer, the redirect or the request alone.
_LATER: Final = (
    ("connection", "token"),
    ("connection", "callback"),
    ("connection", "base_url"),  # itself a template, which is looked at after the others
    ("authorization",),
    ("iclient", "jwt"),
    ("iclient", "redirect_url"),
)
_SECRET: Final = (
    ("connection", "secrets"),
    ("connection", "password"),
    ("iclient", "secrets"),
    ("iclient", "client_secret"),
)
_CALLBACK: Final = ("connection", "callback")
# Stands for each secret while the shape of a URL is checked: a segment of a path like any other.
_MASK: Final = "secret"
_NOW: Final = Ambient(0.0, bytes)
Known: TypeAlias = "dict[str, object]"


@dataclass(frozen=True, slots=True)
class Bearings:
    """What a connection brings to its templates; `at` is named for those that stand under `defaults`."""

    scope: Scope
    grant: str | None
    at: Node


def scope_of(connection: Connection, registration: Registration | None) -> Known:
    """Return what the templates of a connection, and of its iClient, may name when definitions are loaded."""
    scope: Known = {"connection": connection_scope(connection)}
    if registration is not None:
        jwt = None if registration.iclient.jwt is None else lambda: Secret(_MASK)
        scope["iclient"] = iclient_scope(registration.iclient, connection, redirect_url=None, jwt=jwt)
    return scope


def check_registration(registration: Registration, at: Node, scope: Scope, reading: Reading) -> None:
    """Check the templates of an iClient with what one connection brings.

    `at` is where the connection names its iClient or has it; a template that stands there is named in its own place.
    """
    for placed in registration.templates:
        general = set(check_place(placed.template, placed.place))
        for code, message in check_place(placed.template, placed.place, scope):
            if (code, message) not in general:
                _fault(placed.node, at, code, message, reading)
    iclient = registration.iclient
    for endpoint in registration.endpoints:
        if endpoint.url.plain:
            continue
        try:
            if placeholder_in_host(endpoint.url) and known(_host(endpoint.url)):
                url = render_url(known_host(endpoint.url), scope, _NOW)
                domains.check_url(url, iclient.valid_domains, iclient.allow_insecure, host_from_placeholder=True)
            if known(endpoint.url):
                render_url(endpoint.url, scope, _NOW, reveal=_masked)
        except (domains.DomainError, RenderError) as error:
            if not isinstance(error, RenderError) or error.code != "placeholder_unresolved":
                _fault(endpoint.node, at, error.code, error.message, reading)


def known(template: Template | UrlTemplate) -> bool:
    """Tell whether all that a template names is known when definitions are loaded, and the same in every request."""
    return not any(_below(reference.steps, _LATER) for reference in references(template)) and not any(
        _varies(expression) for expression in expressions(template)
    )


def resolved_header(node: Node, template: Template, bearings: Bearings, reading: Reading) -> Template:
    """Check a header of a connection and put in what is known; a secret is put in when the request is sent."""
    if template.plain:
        return template
    before = reading.refusals
    for code, message in [
        *check_place(template, Place.CONNECTION_HEADERS, bearings.scope),
        *_never_known(template, bearings.grant),
    ]:
        _fault(node, bearings.at, code, message, reading)
    secret = any(_below(reference.steps, _SECRET) for reference in references(template))
    if reading.refusals > before or secret or not known(template):
        return template
    try:
        return literal(render(template, bearings.scope, _NOW, escape=in_header))
    except RenderError as error:
        _fault(node, bearings.at, error.code, error.message, reading)
        return template


def resolved_base_url(node: Node, url: UrlTemplate, bearings: Bearings, reading: Reading) -> UrlTemplate | str | None:
    """Check the placeholders of `base_url` and return its text if they are known, None where it has a fault."""
    if url.plain:
        return url.text
    before = reading.refusals
    for code, message in [*check_place(url, Place.BASE_URL, bearings.scope), *_never_known(url, bearings.grant)]:
        _fault(node, bearings.at, code, message, reading)
    if reading.refusals > before:
        return None
    if not known(url):
        return url
    try:
        return render_url(url, bearings.scope, _NOW)
    except RenderError as error:
        _fault(node, bearings.at, error.code, error.message, reading)
        return None


def _never_known(template: Template | UrlTemplate, grant: str | None) -> list[tuple[str, str]]:
    """Return the complaints about what only a connection with an iClient, or with a redirect, has."""
    complaints = []
    for reference in references(template):
        if grant is None and _below(reference.steps, (("iclient",), ("connection", "token"), _CALLBACK)):
            message = f"{reference.path} stands for nothing: this connection has no iclient"
            complaints.append(("placeholder_unresolved", message))
        elif grant != "authorization_code" and _below(reference.steps, (_CALLBACK,)):
            message = f"{reference.path} is known only with grant_type authorization_code"
            complaints.append(("placeholder_unresolved", message))
    return complaints


def _host(url: UrlTemplate) -> Template:
    return url.host if url.origin is None else url.origin


def _fault(node: Node, at: Node, code: str, message: str, reading: Reading) -> None:
    if not node.path.startswith((*INHERITED, "iclients.")):
        reading.fault(node, code, message)
    else:
        reading.fault(at, code, f"{node.path}: {message}")


def _masked(_: Secret) -> str:
    return _MASK


def _varies(expression: Expression) -> bool:
    return isinstance(expression, Call) and (
        varies(expression.helper)
        or any(not isinstance(argument, str) and _varies(argument) for argument in expression.arguments)
    )


def _below(steps: tuple[str, ...], prefixes: tuple[tuple[str, ...], ...]) -> bool:
    return any(steps[: len(prefix)] == prefix for prefix in prefixes)
