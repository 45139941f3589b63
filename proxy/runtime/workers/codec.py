"""Values as text that goes from the main process to its workers and nowhere else: definitions, lives of tokens. Pure.

A closed set of classes, named here: what comes in can't ask for any other. Secrets are text on the way, which is a
socket pair that only the two have. Workers sign no assertion and open no store: private keys of assertions, keys of
stores and what opens sealed values stay where they are. The key of the local authority goes along, since they sign
with that.
"""

from __future__ import annotations

import hashlib
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from enum import Enum
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from proxy import access_token
from proxy.definitions import models, settings
from proxy.definitions.keys.signing_keys import SigningKey
from proxy.definitions.templates import expressions, placeholders
from proxy.oauth import failure
from proxy.secret import Secret, Unprinted
from proxy.tokens import lease, pace, states

if TYPE_CHECKING:
    from proxy.definitions.models import Definitions
    from proxy.tokens.states import Life

_MODULES: Final = (models, settings, placeholders, expressions, access_token, failure, lease, pace, states)
_CLASSES: Final[dict[str, type[Any]]] = {
    name: found
    for module in _MODULES
    for name, found in vars(module).items()
    if isinstance(found, type)
    and found.__module__ == module.__name__
    and (is_dataclass(found) or issubclass(found, Enum))
} | {"SigningKey": SigningKey}


def packed_definitions(definitions: Definitions) -> object:
    """Return definitions as JSON; `unpacked_definitions` makes of it what a worker needs of them."""
    listeners, files = definitions.listeners, definitions.authority
    forward = listeners.forward
    if forward is not None and forward.intercept is not None:
        # What has opened its key opens the store, too; `packed_authority` has the key.
        forward = replace(forward, intercept=replace(forward.intercept, keys=None))
        listeners = replace(listeners, forward=forward)
    if files is not None:
        files = replace(files, keys=None)
    return _packed(replace(definitions, store=None, listeners=listeners, authority=files))


def unpacked_definitions(packed: object) -> Definitions:
    """Return the definitions in a message: without a store, and with keys that only tell whether they are the same."""
    return cast("Definitions", _unpacked(packed))


def packed_authority(parts: tuple[str, Secret] | None) -> object:
    """Return the local authority as JSON: what clients trust, and what signs (PEM); None without interception."""
    return _packed(parts)


def unpacked_authority(packed: object) -> tuple[str, Secret] | None:
    """Return the local authority in a message."""
    return cast("tuple[str, Secret] | None", _unpacked(packed))


def packed_life(life: Life) -> object:
    """Return a life with its token as JSON."""
    return _packed(life)


def unpacked_life(packed: object) -> Life:
    """Return the life in a message; its token is a new object."""
    return cast("Life", _unpacked(packed))


def _packed(value: object) -> object:
    match value:
        case Enum():
            return {"enum": type(value).__name__, "is": value.value}
        case None | bool() | int() | float() | str():
            return value
        case tuple():
            return [_packed(each) for each in value]
        case Secret():
            return {"secret": value.reveal()}
        case SigningKey():
            # Enough to see that a reload has changed it.
            return {"key": hashlib.sha256(_identity(value)).hexdigest()}
        case list():
            return {"list": [_packed(each) for each in value]}
        case Unprinted():
            return {"unprinted": [[name, _packed(each)] for name, each in value.items()]}
        case Mapping():
            return {"map": [[name, _packed(each)] for name, each in value.items()]}
        case bytes():
            return {"bytes": b64encode(value).decode("ascii")}
        case Path():
            return {"path": str(value)}
        case IPv4Network() | IPv6Network():
            return {"network": str(value)}
        case _ if type(value) is _CLASSES.get(type(value).__name__):
            return {
                "class": type(value).__name__,
                "is": [_packed(getattr(value, name)) for name in _names(type(value))],
            }
        case _:
            raise TypeError(f"a {type(value).__name__} does not go to a worker")


def _unpacked(packed: object) -> object:
    match packed:
        case list():
            return tuple(_unpacked(each) for each in packed)
        case {"class": str(name), "is": list(values)}:
            kind = _CLASSES[name]
            return kind(**dict(zip(_names(kind), (_unpacked(each) for each in values), strict=True)))
        case {"enum": str(name), "is": value}:
            return _CLASSES[name](value)
        case {"secret": str(text)}:
            return Secret(text)
        case {"key": str(digest)}:
            return SigningKey(digest.encode())
        case {"list": list(values)}:
            return [_unpacked(each) for each in values]
        case {"unprinted": list(pairs)}:
            return Unprinted((name, _unpacked(each)) for name, each in pairs)
        case {"map": list(pairs)}:
            return {name: _unpacked(each) for name, each in pairs}
        case {"bytes": str(text)}:
            return b64decode(text)
        case {"path": str(text)}:
            return Path(text)
        case {"network": str(text)}:
            return ip_network(text)
        case _:
            return packed


def _identity(key: SigningKey) -> bytes:
    return key.identity.reveal().encode() if isinstance(key.identity, Secret) else key.identity


def _names(kind: type[Any]) -> tuple[str, ...]:
    return tuple(each.name for each in fields(kind))
