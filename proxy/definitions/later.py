"""What the format of definitions names and this version does not do yet: refused by name, never silently accepted.

One table for keys (by the block they stand in) and one for choices (by key). A capability that arrives takes its
row out of here and puts a field into `table`.
"""

from __future__ import annotations

from typing import Final

LATER_KEYS: Final[dict[str, frozenset[str]]] = {
    "top": frozenset({"state_dir", "egress_proxy"}),
    "store": frozenset({"path", "key", "url", "namespace", "tls", "on_failure", "required"}),
    "shutdown": frozenset({"revoke"}),
    "limits": frozenset({"inspect_raw", "inspect_decoded", "inspect_hold"}),
    "iclient": frozenset(
        {
            "provider", "api", "params", "pkce", "issuer", "authorization_url", "revocation_url",
            "device_authorization_url", "redirect_url", "authorization_params", "jwt", "settings", "secrets",
            "access_token_request", "refresh_token_request", "revocation_request", "token_exchange",
        }
    ),
    "connection": frozenset({"params", "settings", "secrets", "refresh_token", "ping"}),
    "rule": frozenset({"path", "values"}),
    "value": frozenset({"sealed"}),
}  # fmt: skip

LATER_CHOICES: Final[dict[str, frozenset[str]]] = {
    "grant_type": frozenset(
        {"authorization_code", "jwt_bearer", "self_signed_jwt", "refresh_token", "device_code", "token_exchange"}
    ),
    "client_auth": frozenset({"client_secret_jwt", "private_key_jwt", "tls_client_auth"}),
    "store.kind": frozenset({"file", "redis"}),
}

# Written with this value they mean what happens anyway.
HARMLESS: Final[dict[str, frozenset[str]]] = {
    "state_dir": frozenset({"null", "~", ""}),
    "egress_proxy": frozenset({"null", "~", ""}),
    "revoke": frozenset({"false"}),
}


def not_yet(what: str) -> str:
    """Return the message for something that this version does not do."""
    return f"{what} is not supported yet; remove it"
