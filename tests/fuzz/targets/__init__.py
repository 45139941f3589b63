"""What is fuzzed by coverage: each target takes bytes, and raises where a rule is broken.

A target says more than "it does not crash": only the exceptions that are declared, bounds, the same outcome however the
bytes come, and the agreement of a second opinion. The same functions run under atheris, under hypothesis and on seeds.
"""

from __future__ import annotations

import importlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

_SEEDS: Final = Path(__file__).parents[1] / "seeds"


@dataclass(frozen=True, slots=True)
class Target:
    """One target: `rule` is what it holds the product to, `check` raises where that is broken."""

    rule: str
    check: Callable[[bytes], None]
    seeds: tuple[bytes, ...]


# Each is the variable TARGET of a module of this folder, imported when it is asked for.
NAMES: Final = (
    "request_head",
    "response_head",
    "framing",
    "template",
    "url_template",
    "loader",
    "token_answer",
    "url_policy",
    "classifier",
    "codings",
    "pem",
)


def target(name: str) -> Target:
    """Return one target, with the seeds that runs before have found worth keeping."""
    made: Target = importlib.import_module(f"{__name__}.{name}").TARGET
    file = _SEEDS / f"{name}.json"
    kept = json.loads(file.read_text(encoding="utf-8")) if file.exists() else []
    return Target(made.rule, made.check, (*made.seeds, *(text.encode("latin-1") for text in kept)))
