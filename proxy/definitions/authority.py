"""Where the local certificate authority lies, whether interception can use it, and which claims it does not cover.

Definitions without interception never look at it.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from proxy.definitions.keys.pem import MAX_BYTES
from proxy.definitions.keys.signer import SEALED, KeyRefusedError, may_sign, opened, signer_of
from proxy.definitions.notation.kinds import Flag, Text
from proxy.definitions.notation.reading import UnreadableError
from proxy.definitions.notation.sealed import keys
from proxy.definitions.notation.secretfile import FileRefusedError, FileText, mounted, read_text
from proxy.definitions.notation.shapes import Block, Fields, Key
from proxy.definitions.notation.values import file_text
from proxy.definitions.settings import AuthorityFiles
from proxy.definitions.state_dir import state_dir, written_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from cryptography.x509 import Certificate

    from proxy.definitions.keys.signer import Signer
    from proxy.definitions.models import Connection
    from proxy.definitions.notation.nodes import Node
    from proxy.definitions.notation.reading import Reading
    from proxy.secret import Secret

FOLDER: Final = "ca"
CERT, KEY = "cert.pem", "key.pem"
_OTHERS: Final = 0o077  # permissions of group and of everyone
_SOON: Final = 30 * 86400.0  # every client has to be told to trust the next one
_INIT: Final = "`iclient-proxy ca init` makes one"

INTERCEPT: Final = Block(
    {
        "enabled": Key(Flag(), "Terminate TLS to claimed hosts, so that they get their token.", default=False),
        "ca": Key(
            Block(
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
        trusted = _certificate(cert, files.cert, reading)
        signer, ring = _signer(key, files.key, trusted, reading)
    except UnreadableError:
        return None
    for each in signer.chain:
        _check(cert if each is trusted else key, each, reading)
    if not signer.is_bound:
        reading.warn(cert, "ca_unbound", f"the authority may sign for every site in the world; {_INIT} that may not")
    for connection, where in claims:
        for host in connection.hosts:
            if not signer.covers(host):
                reading.warn(
                    where,
                    "ca_does_not_cover",
                    f"the local authority may not sign for {host}, so it is tunnelled and gets no token; "
                    "`iclient-proxy ca init --force` makes one for the hosts claimed now",
                )
    return replace(files, keys=ring)


def _block(top: Fields) -> Fields | None:
    listeners: Fields | None = top.values.get("listeners")
    forward: Fields | None = listeners.values.get("forward") if listeners is not None else None
    return forward.values.get("intercept") if forward is not None else None


def _written(top: Fields) -> Fields | None:
    block = _block(top)
    return block.values.get("ca") if block is not None else None


def _text(
    node: Node, path: Path, what: str, reading: Reading, content: Callable[[FileText], bytes] = FileText.content
) -> str:
    try:
        return reading.footprint.read(path, partial(read_text, path, limit=MAX_BYTES), content).text
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


def _signer(node: Node, path: Path, trusted: Certificate, reading: Reading) -> tuple[Signer, Secret | None]:
    """Return what signs, and the keys that opened its file, if it is sealed."""
    text = _text(node, path, "private key", reading, partial(_guarded, path))
    sealed = text.startswith(SEALED)
    if not sealed and _exposed(path):
        raise reading.refused(
            node, "ca_key_exposed", f"others than its owner have access to the private key {path}; run chmod 600 on it"
        )
    try:
        ring = _ring(node, reading) if sealed else None
        return signer_of(opened(text, ring), trusted), ring
    except KeyRefusedError as refused:
        raise reading.refused(node, refused.code, refused.message) from None


def _exposed(path: Path) -> bool:
    return bool(path.stat().st_mode & _OTHERS) and not mounted(path)


def _guarded(path: Path, text: FileText) -> bytes:
    """Return the content and whether it is exposed: a remedy for that is a reason to read the key again."""
    try:
        return text.content() + bytes([_exposed(path)])
    except OSError:
        return b""


def _ring(node: Node, reading: Reading) -> Secret | None:
    from proxy.sealing import SealError

    try:
        return keys(reading.environ, lambda path: file_text(node, str(Path(path).absolute()), reading).text)
    except SealError as error:
        if error.code == "sealed_key_missing":
            return None
        raise KeyRefusedError("ca_key_sealed", error.message) from None


def _check(node: Node, certificate: Certificate, reading: Reading) -> None:
    if not may_sign(certificate):
        reading.fault(node, "ca_not_an_authority", f"this certificate may not sign others; {_INIT} that may")
    end = certificate.not_valid_after_utc
    if end.timestamp() <= reading.now:
        message = f"the authority expired on {end:%Y-%m-%d}; `iclient-proxy ca init --force` makes a new one"
        reading.fault(node, "ca_expired", message)
    elif certificate.not_valid_before_utc.timestamp() > reading.now:
        message = f"the authority begins on {certificate.not_valid_before_utc:%Y-%m-%d}; is the clock right?"
        reading.fault(node, "ca_not_yet_valid", message)
    elif end.timestamp() <= reading.now + _SOON:
        message = f"the authority expires on {end:%Y-%m-%d}; clients will have to trust its successor"
        reading.warn(node, "ca_expires_soon", message)
