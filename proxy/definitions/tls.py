"""The `tls` of an iClient and of a connection: its keys, and what has to fit together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from proxy.definitions.keys.pem import Certificates, KeyText, PrivateKey, check_pair, check_roots
from proxy.definitions.models import Tls
from proxy.definitions.notation.kinds import Flag, Text
from proxy.definitions.notation.shapes import Block, Fields, Key

if TYPE_CHECKING:
    from proxy.definitions.notation.reading import Reading

TLS: Final = Block(
    {
        "ca": Key(
            Certificates(),
            "Authorities trusted beside those of the system: PEM, or the path of a PEM file.",
            nullable=True,
        ),
        "client_cert": Key(Certificates(), "Client certificate: PEM, or the path of a PEM file.", nullable=True),
        "client_key": Key(
            PrivateKey(), "Private key of the client certificate: PEM, or the path of a PEM file.", nullable=True
        ),
        "server_name": Key(
            Text("a host name"), "Name that the server's certificate is checked against.", nullable=True
        ),
        "verify": Key(Flag(), "false switches verification off; needs allow_insecure.", default=True),
    },
)


def tls_of(fields: Fields, reading: Reading) -> Tls:
    """Check and return the `tls` of an iClient or a connection."""
    block: Fields | None = fields.values.get("tls")
    if block is None:
        return Tls()
    values = block.values
    if values.get("verify") is False and not may_be_insecure(fields):
        reading.fault(block.nodes["verify"], "insecure_tls", "verify: false needs allow_insecure: true beside tls")
    elif values.get("verify") is False:
        reading.warn(block.nodes["verify"], "insecure_tls", "the server's certificate is not verified")
    if "ca" in values:
        check_roots(block.nodes["ca"], values["ca"], reading)
    for one, other in (("client_cert", "client_key"), ("client_key", "client_cert")):
        if one in block and other not in block:
            reading.fault(block.nodes[one], "missing_key", f"{one} needs {other} beside it", block.path(other))
    ends: float | None = None
    if "client_cert" in values and "client_key" in values:
        ends = check_pair(
            block.nodes["client_cert"],
            values["client_cert"],
            block.nodes["client_key"],
            values["client_key"].public,
            reading,
            prefix="client_certificate",
        )
    key: KeyText | None = values.get("client_key")
    return Tls(**{**values, "client_key": key.pem if key else None, "client_cert_ends": ends})


def may_be_insecure(fields: Fields) -> bool:
    """Tell whether `allow_insecure` is true, or so written that its own fault comes first."""
    return fields.values.get("allow_insecure", "allow_insecure" in fields) is True
