"""A million mutants of requests and responses, as `make fuzz` sends them, and some of them over sockets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tests.fuzz import forms
from tests.fuzz.forms import Bounds

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.figures import Figure

_REQUESTS: Final = 850_000
_RESPONSES: Final = 150_000
_OVER_SOCKETS: Final = 50_000


async def measure(folder: Path, scale: float, seed: int) -> list[Figure]:
    """Return what came of them; what breaks a rule is kept in the folder of `make fuzz`."""
    found = []
    for part, number in (
        (forms.requests, _REQUESTS),
        (forms.responses, _RESPONSES),
        (forms.over_sockets, _OVER_SOCKETS),
    ):
        place = folder / part.__name__
        place.mkdir()
        found += await part(place, Bounds(max(1, round(number * scale)), 0.0, seed), forms.FOUND)
    return found
