"""The page of `http://iclient-proxy.internal/`, by which somebody sees that their requests reach the proxy. Pure.

Nothing of the request is in it, and nothing that anybody has to hide: it is made once, when the module is loaded.
"""

from __future__ import annotations

import base64
import hashlib
from typing import TYPE_CHECKING, Final

from proxy.problem import PROBLEMS, PROXY_NAME, answer

if TYPE_CHECKING:
    from proxy.wire.request import RequestHead

HOST: Final = b"iclient-proxy.internal"

_STYLE: Final = (
    ":root{color-scheme:light dark}"
    "body{font:16px/1.5 system-ui,sans-serif;max-width:46rem;margin:3rem auto;padding:0 1rem}"
    "h1{font-size:1.6rem}table{border-collapse:collapse;width:100%}"
    "th,td{text-align:left;vertical-align:top;padding:.35rem .8rem .35rem 0;border-top:1px solid #8884}"
    "code,pre{font:14px/1.5 ui-monospace,monospace}pre{overflow-x:auto;padding:.7rem;border:1px solid #8884}"
)
_COMMAND: Final = 'eval "$(iclient-proxy env --runtime curl)"'
# What each runtime reads, for those who look for the one line that is missing.
_TRUST: Final = (
    ("curl", "CURL_CA_BUNDLE"),
    ("wget", "ca_certificate in the file that WGETRC names"),
    ("git", "GIT_SSL_CAINFO"),
    ("Perl", "SSL_CERT_FILE, PERL_LWP_SSL_CA_FILE"),
    ("Python", "SSL_CERT_FILE, REQUESTS_CA_BUNDLE"),
    ("Node.js", "NODE_EXTRA_CA_CERTS"),
    ("Java", "javax.net.ssl.trustStore in JAVA_TOOL_OPTIONS (PKCS #12)"),
    ("Go, .NET on Linux", "SSL_CERT_FILE"),
    ("PHP", "curl.cainfo and openssl.cafile in php.ini"),
    ("a browser", "the authorities in its settings, or those of the system"),
)
_REACHED: Final = "You reached the proxy"
_PLAIN: Final = (
    "Requests to http://HOST/... go through it. Where a connection claims HOST they leave as https, with its access "
    "token, and nothing has to be trusted for that."
)
_SECURED: Final = (
    "Requests to https://HOST/... get a token only where interception is switched on. The application then has to "
    "trust the local authority. `iclient-proxy ca export` writes it to a file, which each runtime reads in its own way:"
)
_LINES: Final = "All the lines that an application needs, as its shell evaluates them:"


def welcome(head: RequestHead) -> bytes:
    """Return the whole response to a request for the magic host: as HTML for browsers, else as text; then close."""
    path = head.target.partition(b"://")[2].partition(b"/")[2].partition(b"?")[0]
    head_only = head.method == b"HEAD"
    if path:
        return answer(PROBLEMS["no_route"], "this host has one page, /", close=True, head_only=head_only)
    if head.method not in (b"GET", b"HEAD"):
        allow = (("Allow", "GET, HEAD"),)
        return answer(PROBLEMS["method_not_allowed"], "this page takes GET, HEAD", fields=allow, close=True)
    fields, body = _HTML if b"text/html" in head.lines else _TEXT
    return fields if head_only else fields + body


def _response(content_type: str, body: bytes) -> tuple[bytes, bytes]:
    own = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; style-src 'sha256-{own}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    lines = (
        "HTTP/1.1 200 OK",
        f"Content-Type: {content_type}; charset=utf-8",
        f"Content-Length: {len(body)}",
        "Cache-Control: no-store",
        f"Content-Security-Policy: {policy}",
        "X-Content-Type-Options: nosniff",
        "X-Frame-Options: DENY",
        "Referrer-Policy: no-referrer",
        "Cross-Origin-Resource-Policy: same-origin",
        f"Server: {PROXY_NAME}",
        "Connection: close",
    )
    return ("\r\n".join(lines) + "\r\n\r\n").encode(), body


def _html() -> bytes:
    rows = "".join(f"<tr><th scope=row>{runtime}<td>{reads}" for runtime, reads in _TRUST)
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{_REACHED}</title>"
        f"<meta name=viewport content='width=device-width'><style>{_STYLE}</style>"
        f"<h1>{_REACHED}.</h1><p>{_PLAIN}<p>{_SECURED}<table>{rows}</table>"
        f"<p>{_LINES}<pre>{_COMMAND}</pre></html>\n"
    ).encode()


def _text() -> bytes:
    rows = "".join(f"  {runtime:<18}{reads}\n" for runtime, reads in _TRUST)
    return f"{_REACHED}.\n\n{_PLAIN}\n\n{_SECURED}\n\n{rows}\n{_LINES}\n\n  {_COMMAND}\n".encode()


_HTML: Final = _response("text/html", _html())
_TEXT: Final = _response("text/plain", _text())
