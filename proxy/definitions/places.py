"""Where the definitions are when nobody says so."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

VARIABLE: Final = "ICLIENT_PROXY_CONFIG"
USUAL: Final = ("iclient-proxy.yaml", "config", "/etc/iclient-proxy")


def config_paths(
    named: Sequence[Path] | None, environ: Mapping[str, str], exists: Callable[[Path], bool] = Path.exists
) -> tuple[Path, ...]:
    """Return the paths to load: those named, else `$ICLIENT_PROXY_CONFIG`, else the first usual place that is there.

    Empty where there is none; the caller says so, naming `USUAL`.
    """
    if named:
        return tuple(named)
    if written := environ.get(VARIABLE):
        return (Path(written),)
    return next(((Path(usual),) for usual in USUAL if exists(Path(usual))), ())
