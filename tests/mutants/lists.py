"""The two lists beside this file: mutants that change nothing anybody could see, and survivors with their reason."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Final

EQUIVALENT: Final = Path(__file__).with_name("equivalent.toml")
SURVIVORS: Final = Path(__file__).with_name("survivors.toml")


def reasons(path: Path) -> dict[str, str]:
    """Return why each mutant of a list stands there, by its name."""
    entries = tomllib.loads(path.read_text(encoding="utf-8")).get("mutant", [])
    return {entry["name"]: " ".join(entry["reason"].split()) for entry in entries}
