"""What a preset holds, as plain values that can be printed. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from proxy.definitions.notation.nodes import Mapping, Sequence

if TYPE_CHECKING:
    from proxy.definitions.notation.nodes import Node


def plain(node: Node) -> Any:  # noqa: ANN401  # JSON
    """Return a node as JSON has it."""
    if isinstance(node, Mapping):
        return {name: plain(child) for name, child in node.entries.items()}
    if isinstance(node, Sequence):
        return [plain(item) for item in node.items]
    if node.is_null:
        return None
    return int(node.text) if node.plain and node.text.isdecimal() else node.text
