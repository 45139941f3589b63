"""What a connection lets through at all, before a token is spent on it. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.errors import Refusal
from proxy.exchange.inject import HeaderInjector, QueryInjector
from proxy.problem import PROBLEMS

if TYPE_CHECKING:
    from proxy.exchange.plan import Plan
    from proxy.exchange.surroundings import Surroundings
    from proxy.wire.request import RequestHead


def admit(plan: Plan, head: RequestHead, surroundings: Surroundings, *, strip_authorization: bool) -> bool:
    """Whether the application's own credential stays and no token is added; False where `plan.admits_all`.

    Raises `Refusal`: 403 for a method or path that the definitions do not allow, 400 for a credential that they reject,
    503 for one tunnel too many. `strip_authorization`: the request's `Authorization` was for the listener.
    """
    if head.upgrade and surroundings.counters.tunnels_open >= surroundings.tunnels_max:
        raise Refusal(PROBLEMS["tunnel_limit"], "limits.tunnels are open", retry_after=1)
    connection = plan.connection
    if connection.allowed_methods and head.method.decode() not in connection.allowed_methods:
        raise Refusal(PROBLEMS["not_allowed"], "the connection's allowed_methods do not name this method")
    if connection.allowed_paths and not _is_below(head.target[plan.strip :], connection.allowed_paths):
        raise Refusal(PROBLEMS["not_allowed"], "the path lies outside the connection's allowed_paths")
    return plan.tokens is not None and not strip_authorization and keeps_own_credential(plan, head)


def keeps_own_credential(plan: Plan, head: RequestHead) -> bool:
    """Whether the application's own credential stays and no token is added (`on_client_credential: passthrough`).

    Raises `Refusal` (400) where the definitions reject such a request.
    """
    policy = plan.connection.on_client_credential
    if policy == "replace" or not brings_credential(plan, head):
        return False
    if policy == "reject":
        raise Refusal(
            PROBLEMS["client_credential_present"], "the request brings a credential where the proxy puts the token"
        )
    return True


def brings_credential(plan: Plan, head: RequestHead) -> bool:
    """Whether the application put a credential where the token goes."""
    injector = plan.injector
    if isinstance(injector, HeaderInjector):
        if injector.name == b"authorization":
            return bool(head.fields.authorization)
        return plan.credential_lines is not None and plan.credential_lines.search(head.lines) is not None
    return isinstance(injector, QueryInjector) and injector.occurs(head.target)


def _is_below(target: bytes, allowed: tuple[str, ...]) -> bool:
    path = target.partition(b"?")[0] or b"/"
    for entry in allowed:
        prefix = entry.rstrip("/").encode()
        if path.startswith(prefix) and path[len(prefix) : len(prefix) + 1] in (b"", b"/"):
            return True
    return False
