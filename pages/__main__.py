"""`python -m pages`: write the reference pages anew."""

from __future__ import annotations

import sys
from pathlib import Path

from pages import REFERENCE

ROOT = Path(__file__).parents[1]


def main() -> int:
    """Write each page and say which of them changed."""
    for place, make in REFERENCE.items():
        page = ROOT / place
        text = make()
        if not page.exists() or page.read_text(encoding="utf-8") != text:
            page.write_text(text, encoding="utf-8")
            sys.stdout.write(f"{place} is new\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
