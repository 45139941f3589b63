"""What is stored of a connection as text that only the store's keys open. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from proxy.oauth.grant import Grant
from proxy.sealing import SealError
from proxy.secret import Secret, Unprinted
from proxy.tokens.stored import SharedToken, Stored

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.sealing import Keyring

SCHEMA: Final = 2
# What was before versions, access tokens and intents: grants in files.
_FIRST: Final = 1

# Where a record lies, from the kind of the store to the name of the connection: it opens nowhere else.
Place: TypeAlias = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Record:
    """What is stored for a fingerprint; a grant without anything in it is lost, and its seed is of no use."""

    fingerprint: str
    stored: Stored


def sealed(record: Record, place: Place, keys: Keyring, entropy: Callable[[int], bytes]) -> bytes:
    """Return the record as the bytes that are kept at `place`."""
    stored = record.stored
    content = {
        "fingerprint": record.fingerprint,
        "version": stored.version,
        "grant": _written_grant(stored.grant) if stored.grant is not None else None,
        "token": _written_token(stored.token) if stored.token is not None else None,
        "intent": stored.intent,
        "revoked": stored.revoked,
    }
    text = keys.seal(json.dumps(content), _purpose(SCHEMA, place), entropy)
    return json.dumps({"schema": SCHEMA, "grant": text}).encode() + b"\n"


def opened(data: bytes, place: Place, keys: Keyring) -> Record:
    """Return the record that was kept at `place`. Raises `SealError`."""
    try:
        outside: Any = json.loads(data)
        schema = outside["schema"]
        if schema not in {_FIRST, SCHEMA}:
            raise SealError("sealed_broken", "another version of the proxy wrote it")
        content = json.loads(keys.open(outside["grant"], _purpose(schema, place)))
        if schema == _FIRST:
            return Record(content["fingerprint"], Stored(1, _read_grant(content)))
        grant, token = content["grant"], content["token"]
        return Record(
            content["fingerprint"],
            Stored(
                content["version"],
                _read_grant(grant) if grant is not None else None,
                _read_token(token) if token is not None else None,
                content["intent"],
                content["revoked"],
            ),
        )
    except (ValueError, KeyError, TypeError, RecursionError):
        raise SealError("sealed_broken", "it is not the record of a grant, or a part of it is missing") from None


def _written_grant(grant: Grant) -> dict[str, object]:
    refresh_token = grant.refresh_token.reveal() if grant.refresh_token is not None else None
    return {"refresh_token": refresh_token, "fields": dict(grant.fields), "callback": dict(grant.callback)}


def _read_grant(content: Any) -> Grant:  # noqa: ANN401 what JSON holds
    token = content["refresh_token"]
    refresh_token = Secret(token) if token is not None else None
    return Grant(refresh_token, None, Unprinted(content["fields"]), Unprinted(content["callback"]))


def _written_token(token: SharedToken) -> dict[str, object]:
    return {
        "value": token.value.reveal(),
        "asked_at": token.asked_at,
        "lifetime": token.lifetime,
        "fields": dict(token.fields),
    }


def _read_token(content: Any) -> SharedToken:  # noqa: ANN401 what JSON holds
    return SharedToken(Secret(content["value"]), content["asked_at"], content["lifetime"], Unprinted(content["fields"]))


def _purpose(schema: int, place: Place) -> str:
    # Each part behind its length: no two places have the same.
    return "store" + "".join(f"\0{len(part)}:{part}" for part in (str(schema), *place, "grant"))
