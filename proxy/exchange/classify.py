"""Does this response say that the token is no good? The rules of one connection, compiled once. Pure."""

from __future__ import annotations

import re
from enum import Enum
from typing import TYPE_CHECKING, Final

from proxy.definitions.json_path import Path, compile_path
from proxy.exchange.document import Unread, UnreadableError

if TYPE_CHECKING:
    from proxy.definitions.models import AuthErrorRule, AuthErrors
    from proxy.definitions.xpath import XPath
    from proxy.exchange.document import Document, Found
    from proxy.wire.response import ResponseHead

# name = token or quoted string, anywhere in a challenge list (RFC 9110 §11.2); tolerant by design. Nothing is tried
# twice: a field that nearly matches everywhere would otherwise hold up the loop for a tenth of a second.
_TCHAR: Final = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]"
_PARAMETER: Final = re.compile(rb'(?<!%b)(%b++)[ \t]*+=[ \t]*+("(?:[^"\\]|\\.)*+"|[^\s,"]++)' % (_TCHAR, _TCHAR))
_QUOTED: Final = re.compile(rb'"(?:[^"\\]|\\.)*+"?')  # the last one may lack its end
_CHALLENGES_MAX: Final = 4096  # a longer field tells nothing; it is still relayed as it came


class Match(Enum):
    """What one rule says of one response."""

    YES = "it matches"
    OPEN = "all but its path matches, and the body has not been looked at"
    STATUS = "its status is another"
    CHALLENGE = "no challenge has its error"
    BODY = "the body was not read"
    PATH = "its path leads nowhere in this body"
    EMPTY = "what stands at its path says nothing"
    VALUE = "what stands at its path is none of its values"


class Open(Enum):
    """The head leaves the verdict open: the body decides."""

    OPEN = "open"


OPEN: Final = Open.OPEN


class Rule:
    """One rule, compiled."""

    __slots__ = ("_challenge", "_exact", "_prefixes", "_statuses", "_values", "name", "path")

    def __init__(self, rule: AuthErrorRule) -> None:
        self.name = rule.name
        self.path: Path | XPath | None = None
        if rule.path is not None:
            self.path = compile_path(rule.path) if not rule.path.startswith("/") else _xpath(rule.path)
        self._statuses = rule.status
        self._challenge = None if rule.www_authenticate is None else rule.www_authenticate.encode()
        self._values = bool(rule.values)
        self._exact = frozenset(value for value in rule.values if not value.endswith("*"))
        self._prefixes = tuple(value[:-1] for value in rule.values if value.endswith("*"))

    def covers(self, status: int) -> bool:
        """Tell whether the rule has this status."""
        return self._statuses is None or any(first <= status <= last for first, last in self._statuses)

    @property
    def statuses(self) -> tuple[tuple[int, int], ...]:
        """The ranges that it has."""
        return ((100, 999),) if self._statuses is None else self._statuses

    def match(self, status: int, errors: frozenset[bytes], body: Document | Unread | None) -> Match:
        """Hold the rule against a response. `body` None: not looked at yet. May raise `UnreadableError`."""
        if not self.covers(status):
            return Match.STATUS
        if self._challenge is not None and self._challenge not in errors:
            return Match.CHALLENGE
        if self.path is None:
            return Match.YES
        if body is None:
            return Match.OPEN
        if isinstance(body, Unread):
            return Match.BODY
        found = body.at(self.path)
        if not found:
            return Match.PATH
        if self._values:
            return Match.YES if any(self._is_value(one) for one in found) else Match.VALUE
        return Match.EMPTY if all(one.is_empty for one in found) else Match.YES

    def _is_value(self, found: Found) -> bool:
        text = found.text
        return text is not None and (text in self._exact or text.startswith(self._prefixes))


class Classifier:
    """The auth-error rules of one connection. `suspects[status]` is true where a head needs a closer look.

    `accusing` are the rules of `any`, `sparing` those of `never`. `json` and `xml`: some rule has a path into a body of
    that kind.
    """

    __slots__ = ("accusing", "json", "sparing", "suspects", "xml")

    def __init__(self, errors: AuthErrors) -> None:
        self.accusing = tuple(Rule(rule) for rule in errors.any)
        self.sparing = tuple(Rule(rule) for rule in errors.never)
        paths = [rule.path for rule in (*self.accusing, *self.sparing) if rule.path is not None]
        self.json = any(isinstance(path, Path) for path in paths)
        self.xml = any(not isinstance(path, Path) for path in paths)
        # Now, not within the first response.
        if self.json:
            import proxy.exchange.json_document
        if self.xml:
            import proxy.exchange.xml_document  # noqa: F401
        self.suspects = bytearray(1000)
        for rule in self.accusing:
            # By ranges: a thousand connections are made in one go, and each has nine hundred statuses.
            for written_first, written_last in rule.statuses:
                first, end = max(written_first, 100), min(written_last, 999) + 1
                self.suspects[first:end] = b"\1" * (end - first)

    def judge(self, response: ResponseHead, body: Document | Unread | None = None) -> str | Open | None:
        """Return the name of the rule by which the response is an auth error, None, or `OPEN`: look at the body.

        With a body it is never `OPEN`. Rules that name a path do not match an `Unread` one; the others decide.
        """
        status = response.status
        if not self.suspects[status]:
            return None
        errors = challenge_errors(response.fields.www_authenticate)
        if is_built_in_never(errors):
            return None
        try:
            return self._judge(status, errors, body)
        except UnreadableError as error:
            return self._judge(status, errors, error.reason)

    def _judge(self, status: int, errors: frozenset[bytes], body: Document | Unread | None) -> str | Open | None:
        spared = open_ = False
        for rule in self.sparing:
            match = rule.match(status, errors, body)
            if match is Match.YES:
                return None
            spared = spared or match is Match.OPEN
        certain = None
        for rule in self.accusing:
            match = rule.match(status, errors, body)
            if match is Match.YES:
                certain = rule.name
                break
            open_ = open_ or match is Match.OPEN
        if certain is not None:
            return OPEN if spared else certain
        return OPEN if open_ else None


def is_built_in_never(errors: frozenset[bytes]) -> bool:
    """Tell whether the challenge asks for more rights, not for another token (RFC 6750 §3.1)."""
    return b"insufficient_scope" in errors


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


def _xpath(text: str) -> XPath:
    from proxy.definitions.xpath import XPath

    return XPath(text)
