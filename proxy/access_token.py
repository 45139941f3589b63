"""An access token as the data path sees it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from proxy.secret import Secret


@dataclass(frozen=True, slots=True, eq=False)
class AccessToken:
    """One access token and its generation (1, 2, 3 …) on its connection; compared by identity."""

    value: Secret
    generation: int
