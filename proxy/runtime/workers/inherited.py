"""What a worker has from the environment of the main process. Pure.

Its own environment holds what the interpreter, the C library and OpenSSL look for, and nothing of the operator's: a
reload may find that some variable is a secret. What else it needs to know comes through the socket pair.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from proxy.runtime.run import API_SERVER, HEADERS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proxy.runtime.workers.frames import Message

_PASSED: Final = re.compile(
    r"PATH|HOME|LANG|LANGUAGE|LC_[A-Z]+|TZ|TZDIR|TMPDIR|NO_COLOR|TERM|PYTHON[A-Z]*|LD_LIBRARY_PATH|LD_PRELOAD|MALLOC_\w+|"
    r"GLIBC_TUNABLES|ICLIENT_PROXY_PURE|SSL_CERT_FILE|SSL_CERT_DIR|OPENSSL_CONF|OPENSSL_MODULES|RES_OPTIONS|LOCALDOMAIN"
)
_TRACING: Final = "OTEL_"


def environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a worker."""
    return {name: value for name, value in environ.items() if _PASSED.fullmatch(name)}


def begun_with(environ: Mapping[str, str]) -> Message:
    """Return what a worker is told of the environment: of spans, and where the API server of Kubernetes is.

    The credential of the collector is among it.
    """
    tracing = {name: environ[name] for name in environ if name.startswith(_TRACING)}
    return {"tracing": tracing, "api_server": environ.get(API_SERVER), "headers": list(HEADERS)}
