"""Where grants are kept: the block `store`, with the keys that grants are encrypted with."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final

from proxy.definitions.domains import is_loopback
from proxy.definitions.notation.kinds import Choice, Flag
from proxy.definitions.notation.reading import UnreadableError
from proxy.definitions.notation.sealed import keys
from proxy.definitions.notation.shapes import Block, Fields, Key
from proxy.definitions.notation.values import SecretValue, Value, file_text
from proxy.definitions.redis_url import RedisUrl
from proxy.definitions.settings import FileStore, RedisStore
from proxy.definitions.state_dir import STATE, state_dir, written_path
from proxy.definitions.tls import TLS, tls_of

if TYPE_CHECKING:
    from proxy.definitions.notation.reading import Reading
    from proxy.definitions.redis_url import Server
    from proxy.secret import Secret

_GRANTS: Final = "grants"
# Which kinds each key of the block but `kind` is for.
_KINDS: Final = {
    "path": ("file",),
    "key": ("file", "redis"),
    **dict.fromkeys(("url", "namespace", "tls", "on_failure", "required"), ("redis",)),
}
_REMEDY: Final = (
    "a store on disk or in Redis is encrypted: write key: {env: NAME}, or set ICLIENT_PROXY_KEY; "
    "`iclient-proxy seal --new-key` makes a key"
)
_TLS: Final = Block({name: key for name, key in TLS.keys.items() if name != "verify"})
STORE: Final = Block(
    {
        "kind": Key(Choice(("memory", "file", "redis")), "Where grants are kept.", default="memory"),
        "path": Key(Value(), "file: folder of the grants; null: grants below state_dir.", nullable=True),
        "key": Key(
            SecretValue(),
            "32 bytes in base64, several separated by commas: the first encrypts, each decrypts. "
            "Left out: those of $ICLIENT_PROXY_KEY.",
        ),
        "url": Key(RedisUrl(), "redis: the server, as redis://, rediss:// (TLS) or unix://."),
        "namespace": Key(
            Value(), "redis: only proxies with the same one share their grants.", nullable=True, default="default"
        ),
        "tls": Key(_TLS, "redis: how the server is trusted and the proxy makes itself known; needs rediss://."),
        "on_failure": Key(
            Choice(("hold", "refresh")),
            "redis: while the server is away, hold: no refresh token is used; refresh: it is, and saved later.",
            default="hold",
        ),
        "required": Key(Flag(), "redis: not ready before the server has answered.", default=False),
    },
)


def store(top: Fields, reading: Reading) -> FileStore | RedisStore | None:
    """Return the store that is asked for, None where grants are kept in memory. Faults are noted."""
    fields: Fields | None = top.values.get("store")
    if fields is None or ("kind" not in fields.values and "kind" in fields):
        return None  # what it should have been has a fault already
    kind: str = fields.values.get("kind", "memory")
    for key, kinds in _KINDS.items():
        if key in fields and kind not in kinds:
            message = f"{key} is for kind: {' or '.join(kinds)}; write that, or remove it"
            reading.fault(fields.nodes[key], "not_applicable", message)
    if kind == "memory":
        return None
    secret = _keys(fields, reading)
    if kind == "redis":
        return _redis(fields, secret, reading)
    path = _folder(top, fields, reading)
    return FileStore(path, secret) if secret is not None and path is not None else None


def _redis(fields: Fields, secret: Secret | None, reading: Reading) -> RedisStore | None:
    if find_spec("redis") is None:
        message = "kind: redis needs a package that is not installed here: pip install 'iclient-proxy[redis]'"
        reading.fault(fields.nodes["kind"], "missing_extra", message)
    tls = tls_of(fields, reading)
    if "url" not in fields:
        message = "url is missing; write where the server is, as in url: {env: REDIS_URL} or redis://127.0.0.1:6379/0"
        reading.fault(fields.node, "missing_key", message, fields.path("url"))
        return None
    server: Server | None = fields.values.get("url")
    if server is None or secret is None:
        return None
    if "tls" in fields and not server.secured:
        message = "tls is for a url that begins with rediss://; write that, or remove it"
        reading.fault(fields.nodes["tls"], "not_applicable", message)
    address = server.address
    if address.password is not None and not server.secured and not address.path and not is_loopback(address.host):
        message = f"the password goes to {address.host} in clear; rediss:// encrypts it"
        reading.warn(fields.nodes["url"], "insecure_url", message)
    written = {key: fields.values[key] for key in ("namespace", "on_failure", "required") if key in fields.values}
    return RedisStore(address=address, keys=secret, tls=tls if server.secured else None, **written)


def _keys(fields: Fields, reading: Reading) -> Secret | None:
    # It loads cryptography, which definitions without such a store do without.
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
