"""`iclient-proxy health`: for HEALTHCHECK and exec probes, so it costs as little as Python can."""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from typing import TYPE_CHECKING

from proxy.cli.admin_client import DEFAULT, VARIABLE, AdminClient, NotRunningError

if TYPE_CHECKING:
    from collections.abc import Sequence

# Dockerfile's HEALTHCHECK gives up after 3 s.
_SECONDS = 2.0


def main(argv: Sequence[str]) -> int:
    """Ask the running proxy whether it is alive (or ready); 0 when it is, 69 when not."""
    parser = ArgumentParser(
        "iclient-proxy health",
        description="Ask the proxy on this machine whether it is alive; exit status 69 when it is not.",
        epilog="Example: iclient-proxy health --ready",
        formatter_class=RawDescriptionHelpFormatter,
    )
    parser.add_argument("--ready", action="store_true", help="ask whether it is ready to serve")
    parser.add_argument("--admin", metavar="URL", help=f"its admin listener; default ${VARIABLE}, else {DEFAULT}")
    options = parser.parse_args(argv)
    url = options.admin or os.environ.get(VARIABLE) or DEFAULT
    try:
        status, text = AdminClient(url, {}, timeout=_SECONDS).probe("/readyz" if options.ready else "/livez")
    except NotRunningError as error:
        sys.stderr.write(f"iclient-proxy: {error}\n")
        return os.EX_UNAVAILABLE
    if status == 200:
        sys.stdout.write(f"{text}\n")
        return 0
    sys.stderr.write(f"iclient-proxy: {text if status == 503 else f'{url} answers {status}'}\n")
    return os.EX_UNAVAILABLE
