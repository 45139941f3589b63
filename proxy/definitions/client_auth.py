"""How an iClient says who it is: what is taken by default, what each way needs, and what it makes no use of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from proxy.definitions.grants import named
from proxy.definitions.jwt import signs_with_secret, uses_client_secret

if TYPE_CHECKING:
    from collections.abc import Collection

    from proxy.definitions.models import ClientAuth, Jwt
    from proxy.definitions.notation.reading import Reading
    from proxy.definitions.notation.shapes import Fields

CHOICES: Final = (
    "client_secret_basic", "client_secret_post", "client_secret_jwt", "private_key_jwt", "tls_client_auth", "none",
)  # fmt: skip
ASSERTED: Final = frozenset({"client_secret_jwt", "private_key_jwt"})
_BY_SECRET: Final = frozenset({"client_secret_basic", "client_secret_post"})
_ASSERTING_GRANTS: Final = frozenset({"jwt_bearer", "self_signed_jwt"})


def client_auth_of(
    fields: Fields, grant: str | None, jwt: Jwt | None, paths: Collection[str], reading: Reading
) -> ClientAuth:
    """Check the keys about client authentication and return the one way that is used.

    `jwt` is None where none is written or it has a fault; `paths` are those that the templates name.
    """
    written: ClientAuth | None = fields.values.get("client_auth")
    if grant == "self_signed_jwt":
        if written not in {None, "none"} and fields.own("client_auth"):
            message = (
                "client_auth has no effect with grant_type self_signed_jwt, which asks nobody for a token; remove it"
            )
            reading.fault(fields.nodes["client_auth"], "no_effect", message)
        _check_encoding(fields, "none", reading)
        return "none"
    default = _default(fields, grant)
    if "client_auth" in fields and written is None:
        return default
    client_auth = written or default
    _check_needs(fields, client_auth, jwt, reading)
    _check_unused(fields, client_auth, grant, paths, reading)
    _check_encoding(fields, client_auth, reading)
    return client_auth


def _default(fields: Fields, grant: str | None) -> ClientAuth:
    if "jwt" in fields and grant == "client_credentials":
        return "client_secret_jwt" if signs_with_secret(fields) else "private_key_jwt"
    return "client_secret_basic" if "client_secret" in fields else "none"


def _check_needs(fields: Fields, client_auth: ClientAuth, jwt: Jwt | None, reading: Reading) -> None:
    needed: tuple[str, ...] = ()
    if client_auth in _BY_SECRET:
        needed = ("client_id", "client_secret")
    elif client_auth in ASSERTED:
        claims = {name for name, leaf in jwt.payload.entries if leaf is not None} if jwt is not None else set()
        # They name the client (RFC 7523 §3); a ready-made assertion does so itself.
        broken = jwt is None and "jwt" in fields
        says_who = broken or (jwt is not None and (jwt.token is not None or claims >= {"iss", "sub"}))
        needed = ("jwt",) if says_who else ("jwt", "client_id")
    elif client_auth == "tls_client_auth":
        needed = ("client_id",)
    for key in needed:
        if key not in fields:
            reading.fault(fields.node, "missing_key", f"client_auth {client_auth} needs {key}", fields.path(key))
    if client_auth in ASSERTED and jwt is not None and jwt.key is not None:
        by_secret = jwt.key.private is None
        if by_secret != (client_auth == "client_secret_jwt"):
            other = "client_secret_jwt" if by_secret else "private_key_jwt"
            message = f"client_auth {client_auth} does not fit algorithm {jwt.algorithm}; write {other}"
            reading.fault(fields.nodes.get("client_auth", fields.node), "key_alg_mismatch", message)
    if client_auth == "tls_client_auth" and "client_cert" not in _tls(fields):
        reading.fault(
            fields.nodes.get("tls", fields.node),
            "client_certificate_missing",
            "client_auth tls_client_auth needs tls.client_cert and tls.client_key",
            f"{fields.path('tls')}.client_cert",
        )


def _check_unused(
    fields: Fields, client_auth: ClientAuth, grant: str | None, paths: Collection[str], reading: Reading
) -> None:
    signs = uses_client_secret(fields)
    if (
        client_auth not in _BY_SECRET
        and not signs
        and fields.own("client_secret")
        and not named("client_secret", paths)
    ):
        reading.fault(
            fields.nodes["client_secret"],
            "no_effect",
            f"client_secret has no effect with client_auth {client_auth}; remove one of them",
        )
    used = client_auth in ASSERTED or grant in _ASSERTING_GRANTS or named("jwt", paths)
    if fields.own("jwt") and not used and grant is not None:
        reading.fault(
            fields.nodes["jwt"],
            "no_effect",
            f"jwt has no effect with client_auth {client_auth}; write private_key_jwt or client_secret_jwt there, "
            "name iclient.jwt.token in a request, or remove it",
        )


def _check_encoding(fields: Fields, client_auth: ClientAuth, reading: Reading) -> None:
    if client_auth != "client_secret_basic" and fields.own("basic_encoding"):
        reading.fault(
            fields.nodes["basic_encoding"],
            "no_effect",
            f"basic_encoding has no effect with client_auth {client_auth}; remove it",
        )


def _tls(fields: Fields) -> Collection[str]:
    block: Fields | None = fields.values.get("tls")
    return block.nodes if block is not None else ("client_cert",) if "tls" in fields else ()
