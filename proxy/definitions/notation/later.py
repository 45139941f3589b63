"""What the format of definitions names and this version does not do yet: refused by name, never silently accepted.

One table for keys (by the block they stand in) and one for choices (by key). A capability that arrives takes its
row out of here and puts a field into `table`.
"""

from __future__ import annotations

from typing import Final

LATER_KEYS: Final[dict[str, frozenset[str]]] = {}

LATER_CHOICES: Final[dict[str, frozenset[str]]] = {}

# Written with this value they mean what happens anyway.
HARMLESS: Final[dict[str, frozenset[str]]] = {}


def not_yet(what: str) -> str:
    """Return the message for something that this version does not do."""
    return f"{what} is not supported yet; remove it"
