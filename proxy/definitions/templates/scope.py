"""What paths such as `connection.settings.tenant` stand for: the scopes that templates are rendered in. Pure.

What is not there is left out, so that naming it is an error instead of empty text.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from proxy.definitions.templates.placeholders import Ambient, render

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from proxy.access_token import AccessToken
    from proxy.definitions.models import Connection, IClient
    from proxy.definitions.templates.placeholders import Template
    from proxy.secret import Secret


def connection_scope(
    connection: Connection,
    *,
    token: AccessToken | None = None,
    access_token: Secret | None = None,
    refresh_token: Secret | None = None,
    fields: Mapping[str, object] | None = None,
    callback: Mapping[str, str] | None = None,
    base_url: str | None = None,
) -> dict[str, Any]:
    """Return the root `connection`.

    `token` brings its own fields and callback; `access_token`, `fields` and `callback` are for a caller that has no
    `AccessToken`. `base_url` is the rendered one where the definitions hold a template.
    """
    if token is not None:
        access_token = token.value if access_token is None else access_token
        fields = token.fields if fields is None else fields
        callback = token.callback if callback is None else callback
    written = connection.base_url if isinstance(connection.base_url, str) else None
    answer = {"access_token": access_token, "refresh_token": refresh_token, "fields": fields}
    return _without_none(
        name=connection.name,
        base_url=written if base_url is None else base_url,
        username=connection.username,
        password=connection.password,
        settings=dict(connection.settings),
        secrets=dict(connection.secrets),
        params=dict(connection.params),
        token=_without_none(**answer),
        callback=callback,
    )


def iclient_scope(
    iclient: IClient, connection: Connection, *, redirect_url: str | None, jwt: Callable[[], Secret] | None
) -> dict[str, Any]:
    """Return the root `iclient` as this connection sees it: with its scopes, and a client id made of its settings.

    `jwt` signs an assertion when one is asked for. Rendering `iclient.client_id` may raise `RenderError`.
    """
    own = _without_none(
        name=iclient.name,
        client_secret=iclient.client_secret,
        redirect_url=redirect_url,
        settings=dict(iclient.settings),
        secrets=dict(iclient.secrets),
        scopes=list(connection.scopes) or None,
        scope=iclient.scope_delimiter.join(connection.scopes) or None,
        jwt=None if jwt is None else {"token": jwt},
    )
    if iclient.client_id is None:
        return own
    template = iclient.client_id
    known = {"connection": connection_scope(connection), "iclient": dict(own)}
    return own | {"client_id": lambda: _constant(template, known)}


def _constant(template: Template, scope: Mapping[str, object]) -> str:
    # `timestamp` and `uuid` are refused where a client id is written: it is the same in every request.
    return render(template, scope, Ambient(0.0, bytes))


def _without_none(**entries: object) -> dict[str, Any]:
    return {name: value for name, value in entries.items() if value is not None}
