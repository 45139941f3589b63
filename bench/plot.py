"""A bar chart as SVG, by hand: one group of bars per row, logarithmic, since the peers lie a hundredfold apart."""

from __future__ import annotations

import math
from html import escape
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.figures import Figure

_LABELS: Final = 250  # pixels left of the axis
_WIDTH: Final = 560
_BAR: Final = 16
_GAP: Final = 26
_TOP: Final = 56
_OURS: Final = "#1f6feb"
_THEIRS: Final = "#9aa4b2"


def chart(title: str, unit: str, groups: Sequence[tuple[str, Sequence[tuple[str, Figure]]]]) -> str:
    """Return the chart of `groups`: (title, [(peer, figure)]); a thin line shows the spread of the rounds."""
    known = [(name, [each for each in bars if each[1].known and each[1].low > 0]) for name, bars in groups]
    known = [(name, bars) for name, bars in known if bars]
    values = [figure for _, bars in known for _, figure in bars]
    if not values:
        return ""
    low = 10 ** math.floor(math.log10(min(each.low for each in values)))
    high = 10 ** math.ceil(math.log10(max(each.high for each in values)))

    def across(value: float) -> float:
        return _LABELS + _WIDTH * math.log(value / low) / math.log(high / low)

    height = _TOP + sum(_GAP + _BAR * len(bars) for _, bars in known) + 20
    box = f"0 0 {_LABELS + _WIDTH + 90} {height}"
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{box}" font-family="sans-serif" font-size="11">',
        '<rect width="100%" height="100%" fill="white"/>',
        f'<text x="10" y="20" font-size="14" font-weight="bold">{escape(title)}</text>',
    ]
    tick = float(low)
    while tick <= high * 1.001:
        x = across(tick)
        lines.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP - 8}" y2="{height - 14}" stroke="#e3e6ea"/>')
        lines.append(
            f'<text x="{x:.1f}" y="{_TOP - 12}" text-anchor="middle" fill="#667">{tick:g} {escape(unit)}</text>'
        )
        tick *= 10
    y = _TOP
    for name, bars in known:
        lines.append(f'<text x="10" y="{y + 13}" font-weight="bold">{escape(name)}</text>')
        y += _GAP - 8
        for peer, figure in bars:
            colour = _OURS if peer.startswith("proxy") else _THEIRS
            middle = y + _BAR / 2
            lines.append(f'<text x="{_LABELS - 6}" y="{middle + 4}" text-anchor="end">{escape(peer)}</text>')
            lines.append(
                f'<rect x="{_LABELS}" y="{y + 2}" width="{max(1.0, across(figure.median) - _LABELS):.1f}" '
                f'height="{_BAR - 4}" fill="{colour}"/>'
            )
            spread = f'x1="{across(figure.low):.1f}" x2="{across(figure.high):.1f}"'
            lines.append(f'<line {spread} y1="{middle}" y2="{middle}" stroke="#222"/>')
            lines.append(f'<text x="{across(figure.high) + 6:.1f}" y="{middle + 4}">{figure.median:.3g}</text>')
            y += _BAR
        y += 8
    return "\n".join([*lines, "</svg>", ""])
