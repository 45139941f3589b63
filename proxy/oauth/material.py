"""All that a request for a token endpoint is made of, and the scope its templates are rendered in. Pure.

One of the few places that reveal secrets: through `Material.reveal`, so that `explain` can mask them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from proxy.definitions.models import SecretFile
from proxy.definitions.templates.placeholders import Ambient, RenderError, render, render_tree
from proxy.definitions.templates.scope import connection_scope, iclient_scope
from proxy.definitions.templates.urls import render_url
from proxy.oauth.assertion import sign
from proxy.oauth.grant import NO_GRANT
from proxy.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from proxy.definitions.models import Connection, IClient, RotatedSecret
    from proxy.definitions.templates.placeholders import Template, Tree, UrlTemplate
    from proxy.oauth.grant import Authorization, Grant
    from proxy.oauth.metadata import Metadata

_JTI_BYTES: Final = 16  # 128 bits (RFC 7519 §4.1.7: no collision, however many are made)


@dataclass(frozen=True, slots=True)
class Material:
    """One connection now, for one request.

    `now` is wall time as the authorization server sees it. `rotated` has what the files hold that somebody else writes.
    `redirect_url` is None where no grant needs it, `metadata` where no `issuer` is named. `reveal` is what turns a
    secret into text: `explain` passes one that masks.
    """

    connection: Connection
    iclient: IClient
    now: float
    entropy: Callable[[int], bytes]
    redirect_url: str | None = None
    metadata: Metadata | None = None
    grant: Grant = NO_GRANT
    authorization: Authorization | None = None
    rotated: Mapping[SecretFile, Secret] = field(default_factory=dict)
    reveal: Callable[[Secret], str] = Secret.reveal

    def secret(self, written: RotatedSecret) -> Secret:
        """Return the secret, from what was read of its file where it has one."""
        return self.rotated[written] if isinstance(written, SecretFile) else written

    def client_id(self) -> str | None:
        """Return the client id. Raises `RenderError`."""
        template = self.iclient.client_id
        return None if template is None else Rendering(self, None).text(template)


class Rendering:
    """Renders the templates of one request; `audience` is the URL it goes to, None where that is not known.

    `iclient.jwt.token` is signed when it is asked for, once for a request. `client`: by it the client says who it is.
    """

    def __init__(self, material: Material, audience: str | None, *, client: bool = False) -> None:
        self._material = material
        self._client = client
        self._assertion: Secret | None = None
        self.audience = audience
        self.assertion_used = False

    def text(self, template: Template) -> str:
        """Return the text. Raises `RenderError`."""
        material = self._material
        return render(template, self._scope(), self._ambient(), reveal=material.reveal)

    def tree(self, tree: Tree) -> Any:  # noqa: ANN401 a JSON value
        """Return the JSON value. Raises `RenderError`."""
        return render_tree(tree, self._scope(), self._ambient(), reveal=self._material.reveal)

    def url(self, template: UrlTemplate) -> str:
        """Return the URL, its values in their places. Raises `RenderError`."""
        return render_url(template, self._scope(), self._ambient(), reveal=self._material.reveal)

    def assertion(self, *, client: bool = False) -> Secret:
        """Return an assertion for this request (RFC 7523): a fresh one, or the ready-made one of `jwt.token`.

        `client`: it authenticates the client, who is then its issuer and subject unless the payload says otherwise
        (§3). Raises `RenderError`.
        """
        material = self._material
        jwt = material.iclient.jwt
        if jwt is None:
            raise RenderError("placeholder_unresolved", "the iClient has no jwt")
        if jwt.token is not None:
            return material.secret(jwt.token)
        payload = render_tree(jwt.payload, self._scope(jwt=False), self._ambient())
        header = render_tree(jwt.header, self._scope(jwt=False), self._ambient())
        if client and (client_id := material.client_id()) is not None:
            payload = {"iss": client_id, "sub": client_id} | payload
        return sign(
            jwt,
            header=header,
            payload=payload,
            audience=material.iclient.issuer or self.audience,
            now=material.now,
            jti=material.entropy(_JTI_BYTES).hex(),
        )

    def _scope(self, *, jwt: bool = True) -> dict[str, Any]:
        material = self._material
        connection, iclient, grant = material.connection, material.iclient, material.grant
        scope = {
            "connection": connection_scope(
                connection,
                access_token=grant.access_token,
                refresh_token=grant.refresh_token,
                fields=grant.fields,
                callback=grant.callback,
            ),
            "iclient": iclient_scope(
                iclient, connection, redirect_url=material.redirect_url, jwt=self._shared_assertion if jwt else None
            ),
        }
        if (authorization := material.authorization) is not None:
            scope["authorization"] = {
                "code": authorization.code,
                "redirect_url": authorization.redirect_url,
                "state": authorization.state,
            }
            if authorization.code_verifier is not None:
                scope["authorization"]["code_verifier"] = authorization.code_verifier
        return scope

    def _shared_assertion(self) -> Secret:
        self.assertion_used = True
        if self._assertion is None:
            self._assertion = self.assertion(client=self._client)
        return self._assertion

    def _ambient(self) -> Ambient:
        return Ambient(self._material.now, self._material.entropy)
