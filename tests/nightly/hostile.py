"""Peers that mean harm, clients and upstreams, many at once: what they cost, and what good requests feel of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.nightly.bombs import bombs
from tests.nightly.floods import header_floods, interim_floods, one_byte_chunks
from tests.nightly.slow_peers import slow_clients, slow_reads, unread_upload

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.figures import Figure


async def measure(folder: Path, scale: float, seed: int) -> list[Figure]:
    """Let them come, one kind after the other, each at a process of its own."""
    found: list[Figure] = []
    for part in (slow_clients, slow_reads, unread_upload, header_floods, interim_floods, one_byte_chunks, bombs):
        (place := folder / part.__name__).mkdir()
        found += await part(place, scale)
    return found
