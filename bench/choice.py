"""Words of a command line that choose among what there is."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence


def chosen(
    parser: argparse.ArgumentParser, text: str | None, known: Sequence[str], default: Sequence[str]
) -> list[str]:
    """Return the names in `text`, between commas, and `default` without any; ends with an error for unknown ones."""
    names = text.split(",") if text else list(default)
    unknown = [name for name in names if name not in known]
    if unknown:
        parser.error(f"unknown: {', '.join(unknown)} (known: {', '.join(known)})")
    return names
