"""Where grants are kept: the block `store`, with the keys that a store on disk is encrypted with."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from proxy.definitions.notation.kinds import Choice
from proxy.definitions.notation.reading import UnreadableError
from proxy.definitions.notation.sealed import keys
from proxy.definitions.notation.shapes import Block, Fields, Key
from proxy.definitions.notation.values import SecretValue, Value, file_text
from proxy.definitions.settings import FileStore
from proxy.definitions.state_dir import STATE, state_dir, written_path

if TYPE_CHECKING:
    from proxy.definitions.notation.reading import Reading
    from proxy.secret import Secret

_GRANTS: Final = "grants"
_OF_FILE: Final = ("path", "key")
_REMEDY: Final = (
    "a store on disk is encrypted: write key: {env: NAME}, or set ICLIENT_PROXY_KEY; "
    "`iclient-proxy seal --new-key` makes a key"
)

STORE: Final = Block(
    "store",
    {
        "kind": Key(Choice(("memory", "file"), "store.kind"), "Where grants are kept.", default="memory"),
        "path": Key(Value(), "Folder of the grants; null: grants below state_dir.", nullable=True),
        "key": Key(
            SecretValue(),
            "32 bytes in base64, several separated by commas: the first encrypts, each decrypts. "
            "Left out: those of $ICLIENT_PROXY_KEY.",
        ),
    },
)


def store(top: Fields, reading: Reading) -> FileStore | None:
    """Return the store on disk that is asked for, None where grants are kept in memory. Faults are noted."""
    fields: Fields | None = top.values.get("store")
    if fields is None or fields.values.get("kind", "memory") != "file":
        if fields is not None and "kind" not in fields.values and "kind" in fields:
            return None  # what it should have been has a fault already
        for key in _OF_FILE:
            if fields is not None and key in fields:
                reading.fault(fields.nodes[key], "not_applicable", f"{key} is for kind: file; write that, or remove it")
        return None
    secret = _keys(fields, reading)
    path = _folder(top, fields, reading)
    return FileStore(path, secret) if secret is not None and path is not None else None


def _keys(fields: Fields, reading: Reading) -> Secret | None:
    # It loads cryptography, which definitions without a store on disk do without.
    from proxy.sealing import Keyring, SealError

    node = fields.nodes.get("key", fields.nodes["kind"])
    if "key" in fields:
        written: Secret | None = fields.values.get("key")
        if written is None:
            return None
    else:
        try:
            written = keys(reading.environ, lambda path: file_text(node, str(Path(path).absolute()), reading).text)
        except SealError as error:
            missing = error.code == "sealed_key_missing"
            reading.fault(node, error.code, _REMEDY if missing else error.message, fields.path("key"))
            return None
        except UnreadableError:
            return None
    try:
        Keyring.of(written)
    except SealError as error:
        reading.fault(node, error.code, error.message, fields.path("key"))
        return None
    return written


def _folder(top: Fields, fields: Fields, reading: Reading) -> Path | None:
    if "path" in fields:
        return written_path(fields.nodes["path"], fields.values.get("path"), reading)
    below = state_dir(top, reading)
    if below is None and "state_dir" not in top:
        reading.fault(
            fields.nodes["kind"], "missing_key", f"no folder is known: write path, or set {STATE}", "store.path"
        )
    return below / _GRANTS if below is not None else None
