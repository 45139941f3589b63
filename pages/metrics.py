"""The page of the metrics, from a scrape of a proxy that runs: in the demo's world, with a store and a certificate."""

from __future__ import annotations

import os
import re
import tempfile
import urllib.request
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from pages.text import begun, code, table
from proxy.demo.definition import SECRET_VARIABLE, Ports, text
from proxy.demo.process import ProxyProcess
from proxy.demo.world import World

if TYPE_CHECKING:
    from collections.abc import Mapping

_ABOUT: Final = """\
What `/metrics` of the admin listener says, in the text format of Prometheus or in OpenMetrics, as the scraper likes.
`connection` is the name of a connection, `-` where there is none; labels never come from requests, so their number is
bounded by the definitions. A series that is known begins at 0. A histogram has `_bucket` (with `le`), `_count`, `_sum`.

Metrics of tokens, of stores, of certificates and of [workers](../workers.md) are there when such things are."""
_OWN: Final = "iclient_proxy_"
# Values of these labels are a closed set that is worth reading; those of others come from definitions or are many.
_LISTED: Final = {"state", "outcome", "operation", "peer"}
# Beside the demo's connection: one that shows a certificate to both, a store that nobody answers for, workers.
_MORE: Final = """\
  certified:
    base_url: https://127.0.0.1:9
    tls: {{client_cert: {certificate}, client_key: {key}}}
    prefetch: false
    iclient:
      grant_type: client_credentials
      token_url: https://127.0.0.1:9/token
      client_id: certified
      client_auth: tls_client_auth
      tls: {{client_cert: {certificate}, client_key: {key}}}
store:
  kind: redis
  url: redis://127.0.0.1:9
  key: {{env: STORE_KEY}}
workers: 2
"""
_STORE_KEY: Final = "A" * 43 + "="
_NO_PROXY: Final = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def page() -> str:
    """Return the page."""
    return made(scraped())


def made(scrape: str) -> str:
    """Return the page of one scrape."""
    abouts = dict(re.findall(r"^# HELP (\S+) (.*)$", scrape, re.MULTILINE))
    kinds = dict(re.findall(r"^# TYPE (\S+) (\S+)$", scrape, re.MULTILINE))
    labels = _labels(scrape)
    rows = {name: (code(name), kinds[name], _of(labels, name), abouts[name]) for name in abouts}
    heads = ("name", "type", "labels", "")
    lines = begun("Metrics", _ABOUT)
    lines += ["## The proxy's own", "", *table(heads, (row for name, row in rows.items() if name.startswith(_OWN)))]
    lines += ["## Of the process and its interpreter", ""]
    lines += table(heads, (row for name, row in sorted(rows.items()) if not name.startswith(_OWN)))
    return "\n".join(lines).rstrip() + "\n"


def scraped() -> str:
    """Return what a proxy says that got a token and relayed a request."""
    with World() as world, tempfile.TemporaryDirectory(prefix="iclient-proxy-pages-") as folder:
        certificate, key = _certificate(Path(folder))
        definition = Path(folder) / "iclient-proxy.yaml"
        ports = Ports(world.api_port, world.authorization_server_port, reverse=0, admin=0)
        definition.write_text(text(ports) + _MORE.format(certificate=certificate, key=key), encoding="utf-8")
        environment = {"PATH": os.environ.get("PATH", os.defpath), "STORE_KEY": _STORE_KEY}
        with ProxyProcess(definition, environment | {SECRET_VARIABLE: world.client_secret}) as proxy:
            with _NO_PROXY.open(f"{proxy.reverse}/crm/contacts/1", timeout=30) as response:
                response.read()
            with _NO_PROXY.open(f"{proxy.admin}/metrics", timeout=30) as response:
                scrape: bytes = response.read()
    return scrape.decode()


def _labels(scrape: str) -> Mapping[str, dict[str, dict[str, None]]]:
    found: Mapping[str, dict[str, dict[str, None]]] = defaultdict(dict)
    for name, inner in re.findall(r"^([a-z_]+)\{(.*)\} ", scrape, re.MULTILINE):
        for label, value in re.findall(r'(\w+)="([^"]*)"', inner):
            found[name].setdefault(label, {})[value] = None
    return found


def _of(labels: Mapping[str, dict[str, dict[str, None]]], name: str) -> str:
    own = labels.get(name) or labels.get(f"{name}_bucket") or {}
    return ", ".join(
        f"{code(label)} ({', '.join(values)})" if label in _LISTED else code(label)
        for label, values in own.items()
        if label != "le"
    )


def _certificate(folder: Path) -> tuple[Path, Path]:
    key = generate_private_key(SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "metrics")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, now + timedelta(days=1))
    ).sign(key, SHA256())
    places = folder / "client.pem", folder / "client.key"
    places[0].write_bytes(certificate.public_bytes(Encoding.PEM))
    places[1].write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    places[1].chmod(0o600)
    return places
