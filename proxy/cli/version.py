"""`iclient-proxy version`."""

from __future__ import annotations

import json
import platform
import sys
from argparse import ArgumentParser
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from proxy.form import form

if TYPE_CHECKING:
    from collections.abc import Sequence


def installed() -> str:
    """Return the version of the installed package; `0+unknown` when it runs from a folder that nobody installed."""
    try:
        return version("iclient-proxy")
    except PackageNotFoundError:
        return "0+unknown"


def main(argv: Sequence[str]) -> int:
    """Print the version."""
    parser = ArgumentParser(
        "iclient-proxy version",
        description="Print the version of the proxy and of its interpreter, and whether its data path is compiled.",
        epilog="Example: iclient-proxy version --format json",
    )
    parser.add_argument("--format", choices=("text", "json"), default="text", help="how it is printed")
    options = parser.parse_args(argv)
    python = f"{platform.python_implementation()} {platform.python_version()}"
    if options.format == "json":
        text = json.dumps({"version": installed(), "python": python, "form": form()})
    else:
        text = f"iclient-proxy {installed()} ({python}, data path {form()})"
    sys.stdout.write(f"{text}\n")
    return 0
