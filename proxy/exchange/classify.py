"""Does this response say that the token is no good? The rules of one connection, compiled once. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from proxy.definitions.models import AuthErrorRule, AuthErrors
    from proxy.wire.response import ResponseHead

# name = token or quoted string, anywhere in a challenge list (RFC 9110 §11.2); tolerant by design.
_PARAMETER: Final = re.compile(rb'([!#$%&\'*+\-.^_`|~0-9A-Za-z]+)[ \t]*=[ \t]*("(?:[^"\\]|\\.)*"|[^\s,"]+)')
_QUOTED: Final = re.compile(rb'"(?:[^"\\]|\\.)*"')
_CHALLENGES_MAX: Final = 4096  # a longer field tells nothing; it is still relayed as it came


class Classifier:
    """The auth-error rules of one connection. `suspects[status]` is true where a head needs a closer look."""

    __slots__ = ("_any", "_never", "suspects")

    def __init__(self, errors: AuthErrors) -> None:
        self._any = errors.any
        self._never = errors.never
        self.suspects = bytearray(1000)
        for rule in errors.any:
            for first, last in rule.status if rule.status is not None else ((100, 999),):
                for status in range(max(first, 100), min(last, 999) + 1):
                    self.suspects[status] = 1

    def judge(self, response: ResponseHead) -> str | None:
        """Return the name of the rule by which the response is an auth error, or None."""
        if not self.suspects[response.status]:
            return None
        errors = challenge_errors(response.fields.www_authenticate)
        # Built in: more rights are asked for, not another token (RFC 6750 §3.1).
        if b"insufficient_scope" in errors or any(_matches(rule, response.status, errors) for rule in self._never):
            return None
        return next((rule.name for rule in self._any if _matches(rule, response.status, errors)), None)


def challenge_errors(values: tuple[bytes, ...]) -> frozenset[bytes]:
    """Return every `error` parameter of the challenges in these `WWW-Authenticate` values (RFC 6750 §3)."""
    found: set[bytes] = set()
    for value in values:
        if len(value) > _CHALLENGES_MAX:
            continue
        for match in _PARAMETER.finditer(_with_quotes_kept(value)):
            if match[1].lower() == b"error":
                found.add(match[2].strip(b'"'))
    return frozenset(found)


def _with_quotes_kept(value: bytes) -> bytes:
    """Blank `=` within quoted strings, so that a parameter named in a text is not taken for one."""
    return _QUOTED.sub(lambda match: match[0].replace(b"=", b" "), value)


def _matches(rule: AuthErrorRule, status: int, errors: frozenset[bytes]) -> bool:
    if rule.status is not None and not any(first <= status <= last for first, last in rule.status):
        return False
    return rule.www_authenticate is None or rule.www_authenticate.encode() in errors
