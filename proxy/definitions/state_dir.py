"""The folder of what outlives the process: `state_dir`, and where it lies when the definitions do not say."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from proxy.definitions.notation.shapes import Fields, Key
from proxy.definitions.notation.values import Value, file_path

if TYPE_CHECKING:
    from collections.abc import Mapping as MappingOf

    from proxy.definitions.notation.nodes import Node
    from proxy.definitions.notation.reading import Reading

STATE: Final = "ICLIENT_PROXY_STATE"
STATE_DIR: Final = Key(
    Value(),
    "Folder of what outlives the process; null: $ICLIENT_PROXY_STATE, else $XDG_STATE_HOME/iclient-proxy, "
    "else ~/.local/state/iclient-proxy.",
    nullable=True,
)


def state_dir(top: Fields, reading: Reading) -> Path | None:
    """Return the folder, as written or as the environment says; None where neither names one."""
    if "state_dir" in top:
        return written_path(top.nodes["state_dir"], top.values.get("state_dir"), reading)
    return usual_state_dir(reading.environ)


def usual_state_dir(environ: MappingOf[str, str]) -> Path | None:
    """Return the folder that the environment names; None where it names none."""
    # A relative path in these is to be ignored (XDG Base Directory Specification).
    for name, rest in ((STATE, ""), ("XDG_STATE_HOME", "iclient-proxy"), ("HOME", ".local/state/iclient-proxy")):
        folder = Path(environ.get(name) or "")
        if folder.is_absolute():
            return folder / rest
    return None


def written_path(node: Node, text: str | None, reading: Reading) -> Path | None:
    """Return a path that stands in the definitions; None where what stands there has a fault already."""
    return file_path(node, text, reading).absolute() if text is not None else None
