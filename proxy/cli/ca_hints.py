"""How systems and runtimes come to trust a certificate of this machine, and how they forget it. Words, no deeds."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

# {cert} is the certificate; BUNDLE and STORE are what `ca export` has written. Facts on runtimes: a variable that names
# one file replaces all other roots, NODE_EXTRA_CA_CERTS alone adds to them.
_BUNDLE: Final = "iclient-proxy ca export --format bundle -o bundle.pem"
_STORE: Final = "iclient-proxy ca export --format p12 -o truststore.p12"

HINTS: Final[dict[str, tuple[str, str]]] = {
    "debian": (
        "Debian, Ubuntu: everything that reads the system's roots",
        """\
sudo cp {cert} /usr/local/share/ca-certificates/iclient-proxy.crt && sudo update-ca-certificates
# undo: sudo rm /usr/local/share/ca-certificates/iclient-proxy.crt && sudo update-ca-certificates --fresh""",
    ),
    "rhel": (
        "RHEL, Fedora: everything that reads the system's roots",
        """\
sudo cp {cert} /etc/pki/ca-trust/source/anchors/iclient-proxy.pem && sudo update-ca-trust
# undo: sudo rm /etc/pki/ca-trust/source/anchors/iclient-proxy.pem && sudo update-ca-trust""",
    ),
    "alpine": (
        "Alpine (package ca-certificates): everything that reads the system's roots",
        """\
cp {cert} /usr/local/share/ca-certificates/iclient-proxy.crt && update-ca-certificates
# undo: rm /usr/local/share/ca-certificates/iclient-proxy.crt && update-ca-certificates""",
    ),
    "docker": (
        "An image based on Debian or Alpine; the certificate lies beside the Dockerfile",
        """\
# iclient-proxy ca export -o iclient-proxy.crt
COPY iclient-proxy.crt /usr/local/share/ca-certificates/
RUN update-ca-certificates""",
    ),
    "macos": (
        "macOS: Safari, Chrome, curl",
        """\
sudo security add-trusted-cert -d -r trustRoot -k /Library/Keychains/System.keychain {cert}
# undo: sudo security remove-trusted-cert -d {cert}""",
    ),
    "windows": (
        "Windows: Edge, Chrome, .NET; in a console of an administrator",
        """\
certutil -addstore Root {cert}
rem undo: certutil -delstore Root "iclient-proxy local CA" """.rstrip(),
    ),
    "firefox": (
        "Firefox: a list of its own",
        """\
# Settings > Privacy & Security > Certificates > View Certificates > Authorities > Import: {cert}
# undo: the same list, iclient-proxy local CA > Delete or Distrust""",
    ),
    "curl": (
        "curl; wget wants the same file as ca_certificate= in its wgetrc",
        f"""\
{_BUNDLE}
export CURL_CA_BUNDLE=$PWD/bundle.pem
# undo: unset CURL_CA_BUNDLE""",
    ),
    "git": (
        "git",
        f"""\
{_BUNDLE}
export GIT_SSL_CAINFO=$PWD/bundle.pem
# undo: unset GIT_SSL_CAINFO""",
    ),
    "python": (
        "Python: requests reads the first variable; httpx, aiohttp and urllib the second",
        f"""\
{_BUNDLE}
export REQUESTS_CA_BUNDLE=$PWD/bundle.pem SSL_CERT_FILE=$PWD/bundle.pem
# undo: unset REQUESTS_CA_BUNDLE SSL_CERT_FILE""",
    ),
    "node": (
        "Node.js: adds to its own roots",
        """\
export NODE_EXTRA_CA_CERTS={cert}
# undo: unset NODE_EXTRA_CA_CERTS""",
    ),
    "java": (
        "Java: takes the place of its own roots, which are in it",
        f"""\
{_STORE}
export JAVA_TOOL_OPTIONS="-Djavax.net.ssl.trustStore=$PWD/truststore.p12 -Djavax.net.ssl.trustStorePassword=changeit"
# undo: unset JAVA_TOOL_OPTIONS""",
    ),
    "go": (
        "Go, Ruby, PHP, OpenSSL: what reads the system's roots, without changing them",
        f"""\
{_BUNDLE}
export SSL_CERT_FILE=$PWD/bundle.pem
# undo: unset SSL_CERT_FILE""",
    ),
}


def hint(where: str, cert: Path) -> str:
    """Return what to do, as lines of a shell with a heading, for one of `HINTS`."""
    title, lines = HINTS[where]
    return f"# {where}: {title}\n{lines.replace('{cert}', shlex.quote(str(cert)))}"
