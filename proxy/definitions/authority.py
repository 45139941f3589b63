"""Where the local certificate authority lies, whether interception can use it, and which claims it does not cover.

Definitions without interception never look at it.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from proxy.definitions.coverage import coverage_of
from proxy.definitions.keys.pem import MAX_BYTES
from proxy.definitions.notation.kinds import Flag, Text
from proxy.definitions.notation.reading import UnreadableError
from proxy.definitions.notation.sealed import keys
from proxy.definitions.notation.secretfile import FileRefusedError, mounted, read_text
from proxy.definitions.notation.shapes import Block, Fields, Key
from proxy.definitions.notation.values import file_text
from proxy.definitions.settings import AuthorityFiles
from proxy.definitions.state_dir import state_dir, written_path
from proxy.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cryptography.x509 import Certificate

    from proxy.definitions.models import Connection
    from proxy.definitions.notation.nodes import Node
    from proxy.definitions.notation.reading import Reading

FOLDER: Final = "ca"
CERT, KEY = "cert.pem", "key.pem"
# What the private key is sealed for: it opens nowhere else, and no other sealed text opens here.
PURPOSE: Final = "local authority"
_SEALED: Final = "sealed-v1."
_OTHERS: Final = 0o077  # permissions of group and of everyone
_SOON: Final = 30 * 86400.0  # every client has to be told to trust the next one
_INIT: Final = "`iclient-proxy ca init` makes one"

INTERCEPT: Final = Block(
    "intercept",
    {
        "enabled": Key(Flag(), "Terminate TLS to claimed hosts, so that they get their token.", default=False),
        "ca": Key(
            Block(
                "intercept.ca",
                {
                    "cert": Key(
                        Text("the path of a PEM file"),
                        "Path of the certificate (PEM); null: ca/cert.pem below state_dir.",
                        nullable=True,
                    ),
                    "key": Key(
                        Text("the path of a PEM file"),
                        "Path of the private key (PEM, or sealed); null: ca/key.pem below state_dir.",
                        nullable=True,
                    ),
                },
            ),
            "The local certificate authority that `iclient-proxy ca init` makes.",
        ),
    },
)


class KeyRefusedError(Exception):
    """The private key can't be used: a code of ours, and a message that never quotes it."""

    def __init__(self, code: str, message: str) -> None:
        self.code = code
        self.message = message
        super().__init__(message)


def authority_files(top: Fields, reading: Reading) -> AuthorityFiles | None:
    """Return where the authority lies: as written, else below `state_dir`; None where nothing says where.

    Whether it is there, and whether it is used, is another question.
    """
    written = _written(top)
    if written is not None and ("cert" in written or "key" in written):
        for one, other in (("cert", "key"), ("key", "cert")):
            if other not in written:
                reading.fault(written.nodes[one], "missing_key", f"{one} needs {other} beside it", written.path(other))
                return None
        cert, key = (written_path(written.nodes[each], written.values.get(each), reading) for each in ("cert", "key"))
        return AuthorityFiles(cert=cert, key=key) if cert is not None and key is not None else None
    return below(state_dir(top, reading))


def below(folder: Path | None) -> AuthorityFiles | None:
    """Return where the authority lies below this `state_dir`."""
    return AuthorityFiles(cert=folder / FOLDER / CERT, key=folder / FOLDER / KEY) if folder is not None else None


def interception(top: Fields) -> Fields | None:
    """Return the block `intercept` where it is written and enabled."""
    block = _block(top)
    return block if block is not None and block.values.get("enabled") is True else None


def check_authority(
    intercept: Fields, files: AuthorityFiles | None, claims: Iterable[tuple[Connection, Node]], reading: Reading
) -> AuthorityFiles | None:
    """Fault what keeps the authority from being used (codes `ca_*`); return its files with the keys that open them.

    Each host that one of `claims` has and the authority does not cover is a warning, since it will be tunnelled.
    """
    block: Fields | None = intercept.values.get("ca")
    node = (block.node if block is not None else None) or intercept.nodes["enabled"]
    at = block.nodes if block is not None else {}
    cert, key = at.get("cert", node), at.get("key", node)
    if files is None:
        if not at and ("ca" not in intercept or block is not None):  # else what is written has a fault already
            reading.fault(node, "ca_missing", "no folder is known for the authority: write ca: {cert, key}")
        return None
    try:
        certificate = _certificate(cert, files.cert, reading)
        public, ring = _key(key, files.key, reading)
    except UnreadableError:
        return None
    _check(cert, key, certificate, public, reading)
    coverage = coverage_of(certificate)
    if not coverage.is_bound:
        reading.warn(cert, "ca_unbound", f"the authority may sign for every site in the world; {_INIT} that may not")
    for connection, where in claims:
        for host in connection.hosts:
            if not coverage.covers(host):
                reading.warn(
                    where,
                    "ca_does_not_cover",
                    f"the local authority may not sign for {host}, so it is tunnelled and gets no token; "
                    "`iclient-proxy ca init --force` makes one for the hosts claimed now",
                )
    return replace(files, keys=ring)


def opened_key(text: str, ring: Secret | None) -> Secret:
    """Return the private key (PEM) as it stands in its file, or opened with the keys; raises `KeyRefusedError`."""
    if not text.startswith(_SEALED):
        return Secret(text)
    from proxy.sealing import Keyring, SealError

    if ring is None:
        raise KeyRefusedError("ca_key_sealed", "the private key is sealed: set ICLIENT_PROXY_KEY, which has sealed it")
    try:
        return Secret(Keyring.of(ring).open(text.strip(), PURPOSE))
    except SealError as error:
        raise KeyRefusedError("ca_key_sealed", f"the private key does not open: {error.message}") from None


def _block(top: Fields) -> Fields | None:
    listeners: Fields | None = top.values.get("listeners")
    forward: Fields | None = listeners.values.get("forward") if listeners is not None else None
    return forward.values.get("intercept") if forward is not None else None


def _written(top: Fields) -> Fields | None:
    block = _block(top)
    return block.values.get("ca") if block is not None else None


def _text(node: Node, path: Path, what: str, reading: Reading) -> str:
    try:
        return read_text(path, limit=MAX_BYTES).text
    except FileRefusedError as refused:
        if refused.code == "secret_file_missing":
            message = f"there is no {what} of a local authority at {path}; {_INIT}"
            raise reading.refused(node, "ca_missing", message) from None
        raise reading.refused(node, "ca_unreadable", refused.message) from None


def _certificate(node: Node, path: Path, reading: Reading) -> Certificate:
    from cryptography.x509 import load_pem_x509_certificates

    try:
        return load_pem_x509_certificates(_text(node, path, "certificate", reading).encode())[0]
    except ValueError:
        raise reading.refused(node, "ca_invalid", f"{path} is not a certificate in PEM") from None


def _key(node: Node, path: Path, reading: Reading) -> tuple[bytes, Secret | None]:
    """Return the public half (SubjectPublicKeyInfo, DER) and the keys that opened the file, if it is sealed."""
    text = _text(node, path, "private key", reading)
    sealed = text.startswith(_SEALED)
    if not sealed and path.stat().st_mode & _OTHERS and not mounted(path):
        raise reading.refused(
            node, "ca_key_exposed", f"others than its owner have access to the private key {path}; run chmod 600 on it"
        )
    try:
        ring = _ring(node, reading) if sealed else None
        return public_half(opened_key(text, ring)), ring
    except KeyRefusedError as refused:
        raise reading.refused(node, refused.code, refused.message) from None


def _ring(node: Node, reading: Reading) -> Secret | None:
    from proxy.sealing import SealError

    try:
        return keys(reading.environ, lambda path: file_text(node, str(Path(path).absolute()), reading).text)
    except SealError as error:
        if error.code == "sealed_key_missing":
            return None
        raise KeyRefusedError("ca_key_sealed", error.message) from None


def public_half(pem: Secret) -> bytes:
    """Return the public half of a private key (SubjectPublicKeyInfo, DER); raises `KeyRefusedError`."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

    try:
        private = load_pem_private_key(pem.reveal().encode(), password=None)
    except TypeError:
        message = "the private key has a passphrase; write it without one, or have `iclient-proxy ca init` seal its own"
        raise KeyRefusedError("ca_invalid", message) from None
    except (ValueError, UnsupportedAlgorithm):
        raise KeyRefusedError("ca_invalid", "this is not a private key in PEM") from None
    if not isinstance(private, EllipticCurvePrivateKey | RSAPrivateKey):
        raise KeyRefusedError("ca_invalid", "the private key is neither of an elliptic curve nor RSA")
    return private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _check(cert: Node, key: Node, certificate: Certificate, public: bytes, reading: Reading) -> None:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    if certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) != public:
        reading.fault(key, "ca_mismatch", "the private key does not belong to the certificate of the authority")
    if not may_sign(certificate):
        reading.fault(cert, "ca_not_an_authority", f"this certificate may not sign others; {_INIT} that may")
    end = certificate.not_valid_after_utc
    if end.timestamp() <= reading.now:
        message = f"the authority expired on {end:%Y-%m-%d}; `iclient-proxy ca init --force` makes a new one"
        reading.fault(cert, "ca_expired", message)
    elif certificate.not_valid_before_utc.timestamp() > reading.now:
        message = f"the authority begins on {certificate.not_valid_before_utc:%Y-%m-%d}; is the clock right?"
        reading.fault(cert, "ca_not_yet_valid", message)
    elif end.timestamp() <= reading.now + _SOON:
        message = f"the authority expires on {end:%Y-%m-%d}; clients will have to trust its successor"
        reading.warn(cert, "ca_expires_soon", message)


def may_sign(certificate: Certificate) -> bool:
    """Whether the certificate is one of an authority (RFC 5280 §4.2.1.9 and §4.2.1.3)."""
    from cryptography import x509

    extensions = certificate.extensions
    try:
        constraints = extensions.get_extension_for_class(x509.BasicConstraints).value
    except x509.ExtensionNotFound:
        return False
    try:
        usage = extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        return constraints.ca
    return constraints.ca and usage.key_cert_sign
