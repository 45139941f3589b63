"""The `jwt` of an iClient: how its assertions are signed, and what may stand in their header and payload."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, get_args

from proxy.definitions import domains
from proxy.definitions.keys.pem import Certificates, check_belongs
from proxy.definitions.keys.rotated import KeyBytes, KeyFile, Rotated
from proxy.definitions.models import Algorithm, Jwt
from proxy.definitions.notation.kinds import Choice, Duration, Flag
from proxy.definitions.notation.nodes import Mapping, Scalar
from proxy.definitions.notation.reading import UnreadableError
from proxy.definitions.notation.shapes import Block, Fields, Key
from proxy.definitions.notation.values import SecretValue, Value
from proxy.definitions.templates.placeholders import EMPTY, Template, TemplateMap, Tree
from proxy.definitions.templates.templated import child
from proxy.definitions.templates.trees import Object, tree

if TYPE_CHECKING:
    from proxy.definitions.keys.signing_keys import SigningKey
    from proxy.definitions.notation.nodes import Node
    from proxy.definitions.notation.reading import Reading
    from proxy.secret import Secret

ALGORITHMS: Final[tuple[str, ...]] = get_args(Algorithm)
HEADER: Final = "jwt_header_forbidden"
CLAIM: Final = "jwt_claim_invalid"
SOURCES: Final = ("secret", "private_key", "token")
# They would have the server take the key from the token itself, or change what is signed (RFC 7515 §4.1, RFC 7797).
_FORBIDDEN: Final = frozenset({"crit", "jwk", "jku", "x5u", "b64"})
_TIMES: Final = ("exp", "iat", "nbf")


@dataclass(frozen=True)
class _AlgorithmChoice(Choice):
    """One of the algorithms; `none` gets a fault of its own."""

    def read(self, node: Node, reading: Reading) -> str:
        if isinstance(node, Scalar) and node.text.lower() == "none":
            raise reading.refused(node, HEADER, f"none signs nothing; use one of {', '.join(self.choices)}")
        return super().read(node, reading)


JWT: Final = Block(
    {
        "algorithm": Key(_AlgorithmChoice(ALGORITHMS), "Signature algorithm."),
        "secret": Key(SecretValue(), "Shared secret of HS256, HS384 and HS512."),
        "secret_base64": Key(Flag(), "The secret is base64 and is decoded first.", default=False),
        "private_key": Key(KeyFile(), "Private key of the other algorithms: PEM, PKCS#12 or PuTTY."),
        "passphrase": Key(SecretValue(), "Passphrase of the private key."),
        "key_id": Key(Value(), "Id of the key: the header kid."),
        "certificate": Key(Certificates(), "Certificate of the key: the headers x5t and x5t#S256."),
        "payload": Key(Object("payload", CLAIM), "Claims: a mapping, or a JSON text."),
        "header": Key(Object("header", HEADER), "Extra header fields: a mapping, or a JSON text."),
        "lifetime": Key(Duration("1s", "24h"), "Time from iat to exp.", default="5m"),
        "token": Key(Rotated(), "A ready-made assertion instead; a file is read again for each request."),
    },
)


def jwt_of(fields: Fields, reading: Reading) -> Jwt | None:
    """Check the `jwt` of an iClient and return it, None where there is none or it has a fault."""
    block: Fields | None = fields.values.get("jwt")
    if block is None:
        return None
    before = reading.refusals
    shared = _shared_by_client(fields, block)
    sources = [key for key in SOURCES if key in block]
    if len(sources) > 1 or not (sources or shared):
        reading.fault(block.node, "exactly_one", "write exactly one of secret, private_key and token")
        return None
    if "token" in block:
        return _ready_made(block, reading)
    if "algorithm" not in block:
        reading.fault(
            block.node, "missing_key", f"algorithm is missing; write one of {', '.join(ALGORITHMS)}",
            block.path("algorithm"),
        )  # fmt: skip
    trees = {key: _tree(block, key, reading) for key in ("payload", "header")}
    key = _key(block, fields.values.get("client_secret") if shared else None, reading)
    _check_header(block, trees["header"], reading)
    _check_payload(block, trees["payload"], reading)
    thumbprints = _thumbprints(block, key, reading)
    if key is None or block.broken or reading.refusals > before or "algorithm" not in block.values:
        return None
    return Jwt(
        algorithm=block.values["algorithm"],
        key=key,
        key_id=block.values.get("key_id"),
        x5t=thumbprints[0],
        x5t_s256=thumbprints[1],
        payload=trees["payload"],
        header=trees["header"],
        lifetime=block.values.get("lifetime", 300.0),
    )


def signs_with_secret(fields: Fields) -> bool:
    """Tell whether the `jwt` of an iClient is signed by a shared secret, so far as that is written."""
    block: Fields | None = fields.values.get("jwt")
    return block is not None and ("secret" in block or _shared_by_client(fields, block))


def uses_client_secret(fields: Fields) -> bool:
    """Tell whether the client secret is what signs (OpenID Connect Core §9, client_secret_jwt)."""
    block: Fields | None = fields.values.get("jwt")
    return block is not None and _shared_by_client(fields, block)


def check_audience(fields: Fields, jwt: Jwt, valid_domains: tuple[str, ...], reading: Reading) -> None:
    """Warn where a written audience lies outside of `valid_domains`: the assertion may be meant for somebody else."""
    audience = dict(jwt.payload.entries).get("aud")
    block: Fields | None = fields.values.get("jwt")
    if block is None or not isinstance(audience, Template) or not audience.plain or not valid_domains:
        return
    try:
        host = domains.parse_url(audience.text if "://" in audience.text else f"https://{audience.text}").host
    except domains.DomainError:
        host = ""
    if not any(domains.parse_valid_domain(entry).covers(host) for entry in valid_domains):
        reading.warn(
            child(block.nodes["payload"], "aud"),
            "audience_outside_valid_domains",
            "aud names something outside of valid_domains; it is sent as it is",
        )


def _shared_by_client(fields: Fields, block: Fields) -> bool:
    written = any(key in block for key in SOURCES)
    algorithm: Any = block.values.get("algorithm", "")
    return not written and algorithm.startswith("HS") and "client_secret" in fields


def _ready_made(block: Fields, reading: Reading) -> Jwt | None:
    for key, node in block.nodes.items():
        if key != "token" and block.own(key):
            reading.fault(node, "no_effect", f"{key} has no effect beside token, which is ready-made; remove it")
    token = block.values.get("token")
    return Jwt(token=token) if token is not None and not block.broken else None


def _tree(block: Fields, key: str, reading: Reading) -> TemplateMap:
    node = block.values.get(key)
    try:
        return tree(node, reading, typed=True) if isinstance(node, Mapping) else EMPTY
    except UnreadableError:
        return EMPTY


def _key(block: Fields, client_secret: Secret | None, reading: Reading) -> SigningKey | None:
    """Return the key, if it can be read and fits the algorithm."""
    from proxy.definitions.keys import signing_keys

    values = block.values
    private: KeyBytes | None = values.get("private_key")
    node = block.nodes.get("private_key") or block.nodes.get("secret") or block.node
    unused = ("secret_base64",) if "private_key" in block else ("passphrase", "certificate")
    for key in unused:
        if block.own(key):
            source = "private_key" if "private_key" in block else "secret"
            reading.fault(block.nodes[key], "no_effect", f"{key} has no effect beside {source}; remove it")
    shared: Secret | None = values.get("secret", client_secret)
    algorithm: str | None = values.get("algorithm")
    if "passphrase" in block and "passphrase" not in values:
        return None
    try:
        # One that stands under `defaults` is read once for all: PuTTY's format takes its time.
        made_of = (node.path, *(block.nodes[part].path for part in ("passphrase",) if part in block))
        if private is not None and made_of in reading.keys:
            signing = reading.keys[made_of]
        elif private is not None:
            signing = reading.keys[made_of] = signing_keys.private_key(private.data, values.get("passphrase"))
        elif shared is not None:
            signing = signing_keys.shared_key(shared, base64=values.get("secret_base64", False))
        else:
            return None
        for warning in signing_keys.check_algorithm(signing, algorithm) if algorithm is not None else ():
            reading.warn(node, "key_too_short", warning)
    except signing_keys.KeyFault as fault:
        at = block.nodes.get("passphrase", node) if fault.code in {"key_bad_passphrase", "key_not_encrypted"} else node
        reading.fault(at, fault.code, fault.message)
        return None
    return signing


def _check_header(block: Fields, header: TemplateMap, reading: Reading) -> None:
    """Fault where the header would change how the assertion is verified."""
    for name, leaf in header.entries:
        node = child(block.values["header"], name)
        if name in _FORBIDDEN:
            reading.fault(node, HEADER, f"{name} would have the server verify by other means; remove it")
        elif name == "alg" and _constant(leaf) != block.values.get("algorithm"):
            reading.fault(node, HEADER, "alg is what algorithm says; remove it")
        elif name == "kid" and "key_id" in block:
            reading.fault(node, HEADER, "kid is what key_id says; remove one of them")


def _check_payload(block: Fields, payload: TemplateMap, reading: Reading) -> None:
    for name, leaf in payload.entries:
        node = child(block.values["payload"], name)
        if name == "aud" and isinstance(leaf, tuple):
            reading.fault(node, CLAIM, "aud is one audience, no list: whoever gets it could use it at the others")
        elif name in _TIMES and leaf is not None and not (isinstance(leaf, Template) and not leaf.plain):
            reading.fault(
                node, CLAIM, f"{name} would be the same in every assertion; remove it, lifetime says how long one lives"
            )


def _constant(leaf: Tree) -> str | None:
    return leaf.text if isinstance(leaf, Template) and leaf.plain else None


def _thumbprints(block: Fields, key: SigningKey | None, reading: Reading) -> tuple[str | None, str | None]:
    """Return x5t and x5t#S256 of the certificate, which has to be that of the key."""
    pem: str | None = block.values.get("certificate")
    if pem is None or key is None or key.private is None:
        return None, None
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    from proxy.definitions.keys.signing_keys import thumbprints

    before = reading.refusals
    public = key.private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    check_belongs(block.nodes["certificate"], pem, public, reading)
    return thumbprints(pem) if reading.refusals == before else (None, None)
