"""Which key goes with which grant: the matrix of the reference page, and what has no effect."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Collection

    from proxy.definitions.notation.reading import Reading
    from proxy.definitions.notation.shapes import Fields


@dataclass(frozen=True)
class Grant:
    """The keys that go with a grant; any other key of the matrix has no effect with it."""

    required: frozenset[str]
    optional: frozenset[str]


def _grant(required: str, optional: str = "") -> Grant:
    return Grant(frozenset(required.split()), frozenset(optional.split()) | (_REQUESTING if required else frozenset()))


# What every grant makes use of that sends a token request.
_REQUESTING: Final = frozenset(
    {
        "client_secret", "jwt", "scopes", "client_id", "revocation_url", "access_token_request",
        "refresh_token_request", "revocation_request", "access_token_path", "refresh_token_path", "expires_in_path",
        "expires_in_unit", "default_token_ttl",
    }
)  # fmt: skip
_ONLY_SOME: Final = frozenset(
    {
        "token_url", "authorization_url", "device_authorization_url", "pkce", "redirect_url", "authorization_params",
        "token_exchange",
    }
)  # fmt: skip
CONNECTION_KEYS: Final = ("username", "password", "refresh_token")
ICLIENT_KEYS: Final = tuple(sorted(_REQUESTING | _ONLY_SOME))
GRANTS: Final[dict[str, Grant]] = {
    "authorization_code": _grant(
        "token_url authorization_url client_id", "pkce redirect_url authorization_params refresh_token"
    ),
    "client_credentials": _grant("token_url"),
    "password": _grant("token_url username password"),
    "jwt_bearer": _grant("token_url jwt"),
    "self_signed_jwt": Grant(frozenset({"jwt"}), frozenset({"client_id"})),
    "refresh_token": _grant("token_url refresh_token"),
    "device_code": _grant("token_url device_authorization_url client_id", "refresh_token"),
    "token_exchange": _grant("token_url token_exchange"),
}
# The metadata of an issuer names them (RFC 8414 §2).
DISCOVERED: Final = frozenset({"token_url", "authorization_url", "device_authorization_url"})
# What a template names counts as used: the paths that stand for a key.
NAMED_BY: Final[dict[str, tuple[str, ...]]] = {
    "client_id": ("iclient.client_id",),
    "client_secret": ("iclient.client_secret",),
    "jwt": ("iclient.jwt.token",),
    "scopes": ("iclient.scope", "iclient.scopes"),
    "redirect_url": ("iclient.redirect_url",),
    "username": ("connection.username",),
    "password": ("connection.password",),
    "refresh_token": ("connection.token.refresh_token",),
}


def named(key: str, paths: Collection[str]) -> bool:
    """Tell whether one of `paths`, those of the templates, stands for `key`."""
    return any(path == known or path.startswith(known + ".") for path in paths for known in NAMED_BY.get(key, ()))


def goes_with(key: str, grant: str) -> bool:
    """Tell whether a grant makes use of a key by itself."""
    row = GRANTS[grant]
    return key in row.required | row.optional


def check_grant(
    fields: Fields, keys: Collection[str], grant: str, paths: Collection[str], reading: Reading, *, issuer: bool = False
) -> None:
    """Fault where a key that the grant needs is missing or one is written that nothing makes use of.

    `paths` are those that the templates name. With an `issuer` its metadata name the URLs.
    """
    row = GRANTS[grant]
    for key in keys:
        if key in row.required and key not in fields:
            if key in DISCOVERED and issuer:
                continue
            instead = ", or issuer, whose metadata name it" if key in DISCOVERED else ""
            reading.fault(fields.node, "missing_key", f"grant_type {grant} needs {key}{instead}", fields.path(key))
        elif not goes_with(key, grant) and fields.own(key) and not named(key, paths):
            reading.fault(fields.nodes[key], "no_effect", f"{key} has no effect with grant_type {grant}; remove it")
