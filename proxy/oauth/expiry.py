"""Makes sense of lifetimes as authorization servers write them: numbers, texts, moments. Pure."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final, Literal, assert_never

# A timer for a longer time would only hide a mistake: nobody issues access tokens for more than a month.
LONGEST: Final = 30 * 86400.0
# Unix time in seconds reaches this in the year 5138; a larger number counts milliseconds.
_MILLISECONDS_FROM: Final = 1e11
_DECIMAL: Final = re.compile(r"[+-]?\d{1,30}(\.\d{0,30})?", re.ASCII)

# `Retry-After` beyond this is not obeyed: one wrong answer must not silence a connection for a day.
LONGEST_RETRY_AFTER: Final = 300.0


def lifetime(value: object, unit: Literal["s", "ms", "at"], now: float) -> float | None:
    """Return for how many seconds a token lives, at most 30 days; None when `value` does not say.

    A duration of zero or less says nothing; a moment (`at`: unix time or ISO 8601) at or before `now` gives 0 or
    less: such a token has expired on arrival. `now` is wall time as the authorization server sees it.
    """
    match unit:
        case "s":
            seconds = _number(value)
            duration = None if seconds is None else float(math.floor(min(seconds, LONGEST)))
        case "ms":
            milliseconds = _number(value)
            duration = None if milliseconds is None else milliseconds / 1000
        case "at":
            moment = _moment(value)
            return None if moment is None else min(moment - now, LONGEST)
        case _:
            assert_never(unit)
    return min(duration, LONGEST) if duration is not None and duration > 0 else None


def http_date(value: str) -> float | None:
    """Return the unix time that an HTTP date (RFC 9110 §5.6.7) names, None when it is none."""
    try:
        moment = parsedate_to_datetime(value)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError, TypeError):
        return None


def retry_after(value: str, now: float) -> float | None:
    """Return the seconds that `Retry-After` (RFC 9110 §10.2.3) asks for, at most 5 minutes; None for nothing."""
    text = value.strip()
    if re.fullmatch(r"\d{1,30}", text, re.ASCII):
        seconds: float = int(text)
    else:
        moment = http_date(text)
        if moment is None:
            return None
        seconds = moment - now
    return min(float(seconds), LONGEST_RETRY_AFTER) if seconds > 0 else None


def _number(value: object) -> float | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        # A JSON integer may have more digits than a float can hold.
        return float(max(min(value, 10**18), -(10**18)))
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, str) and _DECIMAL.fullmatch(text := value.strip()):
        return float(text)
    return None


def _moment(value: object) -> float | None:
    number = _number(value)
    if number is not None:
        return number / 1000 if number >= _MILLISECONDS_FROM else number
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value.strip())
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None
