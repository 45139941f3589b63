"""Where things are: the definitions of a verb, and the admin listener of the proxy that runs on them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.cli.admin_client import DEFAULT, VARIABLE
from proxy.definitions.places import USUAL, config_paths
from proxy.definitions.places import VARIABLE as CONFIG_VARIABLE
from proxy.errors import DefinitionsError, Fault

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


def definitions_at(named: Sequence[Path] | None, environ: Mapping[str, str]) -> tuple[Path, ...]:
    """Return the paths of the definitions; raises `DefinitionsError` when none are named and there are none."""
    paths = config_paths(named, environ)
    if not paths:
        message = (
            f"there are no definitions: no --config, no ${CONFIG_VARIABLE}, none of {', '.join(USUAL)}; "
            "`iclient-proxy init -o iclient-proxy.yaml` writes a first one, `iclient-proxy demo` shows one at work"
        )
        raise DefinitionsError([Fault("", 0, 0, "", "config_missing", message)])
    return paths


def admin_url(named: str | None, config: Sequence[Path] | None, environ: Mapping[str, str]) -> str:
    """Return the URL of the admin listener: named, else from the environment, else from the definitions.

    Definitions that can't be read here (their secrets may be the proxy's only) leave the default.
    """
    written = named or environ.get(VARIABLE)
    if written:
        return written
    paths = config_paths(config, environ)
    if not paths:
        return DEFAULT
    from proxy.definitions.load import load
    from proxy.definitions.settings import TcpBind, seen_from_here

    try:
        admin = load(paths, environ).definitions.listeners.admin
    except DefinitionsError:
        if config:
            raise
        return DEFAULT
    if admin is None:
        return DEFAULT
    if not isinstance(admin.bind, TcpBind):
        return f"unix:{admin.bind.path}"
    host = seen_from_here(admin.bind.host)
    return f"http://[{host}]:{admin.bind.port}" if ":" in host else f"http://{host}:{admin.bind.port}"
