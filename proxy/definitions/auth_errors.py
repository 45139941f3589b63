"""Which responses mean that the token is no good: the rules of `auth_errors`, and rules that never match."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from proxy.definitions.json_path import PathError, compile_path
from proxy.definitions.models import AuthErrorRule, AuthErrors
from proxy.definitions.notation.kinds import Kind, Text, scalar
from proxy.definitions.notation.nodes import Mapping, Node, Scalar, Sequence, described, shown
from proxy.definitions.notation.reading import UnreadableError
from proxy.definitions.notation.shapes import Block, Key, ListOf

if TYPE_CHECKING:
    from proxy.definitions.notation.reading import Reading

Rules = tuple[tuple[AuthErrorRule, Node], ...]

LOWEST: Final = 200  # 1xx are passed on before the response is looked at
HIGHEST: Final = 599
_ALL: Final = frozenset(range(LOWEST, HIGHEST + 1))
_BODILESS: Final = frozenset((204, 304))  # RFC 9110 §6.4.1
_SAYING_NOTHING: Final = ("", "null", "false")  # a path without values passes over these
# The challenge that says the token is good but not enough for this: renewing would not help (built into `never`).
BUILT_IN_NEVER: Final = "insufficient_scope"
_STATUS: Final = re.compile(r"(\d{1,9})(?:\s*-\s*(\d{1,9}))?", re.ASCII)


@dataclass(frozen=True)
class StatusRange(Kind[tuple[int, int]]):
    """`401`, or `"400-403"` with both ends."""

    def read(self, node: Node, reading: Reading) -> tuple[int, int]:
        text = scalar(node, reading, "a status such as 401 or a range such as 400-403").text
        found = _STATUS.fullmatch(text)
        if found is None:
            raise reading.refused(
                node, "wrong_type", f"expected a status such as 401 or a range such as 400-403, found {shown(text)}"
            )
        low, high = int(found[1]), int(found[2] or found[1])
        if low > high or not (low >= LOWEST and high <= HIGHEST):
            raise reading.refused(
                node,
                "rule_never_matches",
                f"{text} never matches: a status is between {LOWEST} and {HIGHEST}, the lower one first",
            )
        return low, high

    def schema(self) -> dict[str, Any]:
        return {
            "anyOf": [
                {"type": "integer", "minimum": LOWEST, "maximum": HIGHEST},
                {"type": "string", "pattern": r"^\d{3}(\s*-\s*\d{3})?$"},
            ]
        }


def _rule_name(text: str) -> tuple[str, str] | None:
    fits = re.fullmatch(r"[A-Za-z0-9_.:\[\]-]{1,63}", text)
    return None if fits else ("invalid_name", "a rule's name has at most 63 letters, digits and _ . : - [ ]")


@dataclass(frozen=True)
class Values(Kind[tuple[str, ...]]):
    """A list of values, or text with commas between them."""

    def read(self, node: Node, reading: Reading) -> tuple[str, ...]:
        if isinstance(node, Sequence):
            values = ListOf(Text("a value")).read(node, reading)
        elif isinstance(node, Scalar) and not node.is_null:
            parts = node.text.split(",")
            values = tuple(part for part in (part.strip() for part in parts) if part)
        else:
            raise reading.refused(node, "wrong_type", f"expected a list of values or text, found {described(node)}")
        if not values:
            raise reading.refused(
                node, "rule_never_matches", "no value at all never matches; leave the key out for any"
            )
        return values

    def schema(self) -> dict[str, Any]:
        one = Text("a value").schema()
        return {"anyOf": [{"type": "array", "items": one, "minItems": 1}, one]}


def _body_path(text: str) -> tuple[str, str] | None:
    if text.startswith("/"):
        from proxy.definitions.xpath import XPath, XPathError

        try:
            XPath(text)
        except XPathError:
            message = "this is no XPath 1.0 expression; prefixes are unknown here, local-name() serves"
            return "invalid_path", message
        return None
    try:
        compile_path(text)
    except PathError as error:
        return "invalid_path", f'{error}; a path is written like error.code, errors[0].code or ["odd.key"]'
    return None


def _error_code(text: str) -> tuple[str, str] | None:
    # RFC 6750 §3: what may stand in error="…".
    fits = re.fullmatch(r"[\x20-\x21\x23-\x5b\x5d-\x7e]{1,200}", text)
    return None if fits else ("rule_never_matches", "no challenge can have this as its error (RFC 6750 §3)")


RULE: Final = Block(
    {
        "name": Key(Text("a name", _rule_name), "Label in metrics and logs; any[0], any[1] … by default."),
        "status": Key(ListOf(StatusRange(), one=True), "Statuses and ranges of statuses, such as 401 or 400-403."),
        "www_authenticate": Key(
            Text("an error code", _error_code), "Some challenge of WWW-Authenticate has this error."
        ),
        "path": Key(
            Text("a path", _body_path),
            "Where the body has its error, as in error.code; XPath 1.0 on XML bodies if it begins with a slash.",
        ),
        "values": Key(
            Values(), "What may stand there, compared as text; * at the end stands for any rest. Default: anything."
        ),
    },
)


@dataclass(frozen=True)
class RuleList(Kind[Sequence]):
    """A list of rules, looked at when the whole is."""

    def read(self, node: Node, reading: Reading) -> Sequence:
        if not isinstance(node, Sequence):
            raise reading.refused(node, "wrong_type", f"expected a list of rules, found {described(node)}")
        return node

    def schema(self) -> dict[str, Any]:
        return {"type": "array", "items": RULE.schema()}


LONG: Final = Block(
    {
        "any": Key(RuleList(), "Rules of which one has to match."),
        "never": Key(RuleList(), "Rules that win over those in any."),
    },
)


@dataclass(frozen=True)
class AuthErrorsKind(Kind[AuthErrors]):
    """A list of rules, or the long form with `any` and `never`."""

    def read(self, node: Node, reading: Reading) -> AuthErrors:
        written: Rules = ()
        never_written: Rules = ()
        if isinstance(node, Sequence):
            written = _rules(node, "any", reading)
        elif isinstance(node, Mapping):
            fields = LONG.read(node, reading)
            written = _rules(fields.values.get("any"), "any", reading)
            never_written = _rules(fields.values.get("never"), "never", reading)
        else:
            raise reading.refused(node, "wrong_type", f"expected a list of rules, found {described(node)}")
        never = tuple(rule for rule, _ in never_written)
        for rule, where in written:
            if not _reachable(rule, never):
                reading.fault(where, "rule_never_matches", _unreachable(rule))
        added = AuthErrors().any if all(rule.status is None for rule, _ in written) else ()
        seen = {rule.name for rule in added}
        for rule, where in (*written, *never_written):
            if rule.name in seen:
                reading.fault(
                    where, "duplicate_name", f"two rules are named {shown(rule.name)}; each name is a label of its own"
                )
            seen.add(rule.name)
        return AuthErrors(any=(*(rule for rule, _ in written), *added), never=never)

    def schema(self) -> dict[str, Any]:
        return {"anyOf": [{"type": "array", "items": RULE.schema()}, LONG.schema()]}


def _rules(node: Sequence | None, group: str, reading: Reading) -> Rules:
    rules = []
    for index, item in enumerate(node.items if node is not None else ()):
        try:
            fields = RULE.read(item, reading)
        except UnreadableError:
            continue
        if fields.broken:
            continue
        if not fields.nodes.keys() & {"status", "www_authenticate", "path"}:
            message = "the rule names neither status nor path nor www_authenticate; it would match every response"
            reading.fault(item, "rule_empty", message)
        elif "values" in fields and "path" not in fields:
            reading.fault(fields.nodes["values"], "no_effect", "values has no effect without a path; add it")
        elif fields.values.get("status") == ():
            reading.fault(fields.nodes["status"], "rule_never_matches", "an empty list of statuses never matches")
        else:
            rules.append((AuthErrorRule(**{"name": f"{group}[{index}]", **fields.values}), item))
    return tuple(rules)


def _unreachable(rule: AuthErrorRule) -> str:
    if rule.www_authenticate == BUILT_IN_NEVER:
        return f"this rule never matches: {BUILT_IN_NEVER} says that the token is good, so it is built into never"
    if rule.path is not None and _statuses(rule) <= _BODILESS:
        return "this rule never matches: a response with this status has no body"
    return "this rule never matches: never covers all of it"


def _reachable(rule: AuthErrorRule, never: tuple[AuthErrorRule, ...]) -> bool:
    """Tell whether some response matches the rule and none of `never`."""
    if rule.www_authenticate == BUILT_IN_NEVER:
        return False
    left = _statuses(rule) - (_BODILESS if rule.path is not None else frozenset())
    for other in never:
        if other.www_authenticate in {None, rule.www_authenticate} and _asks_no_more(other, rule):
            left -= _statuses(other)
    return bool(left)


def _asks_no_more(other: AuthErrorRule, rule: AuthErrorRule) -> bool:
    """Tell whether every body that fits `rule` fits `other`."""
    if other.path is None:
        return True
    if other.path != rule.path:
        return False
    if not other.values:  # any value that says something
        return not any(_within(nothing, value) for nothing in _SAYING_NOTHING for value in rule.values)
    return bool(rule.values) and all(any(_within(value, wide) for wide in other.values) for value in rule.values)


def _within(value: str, wide: str) -> bool:
    return value == wide or (wide.endswith("*") and value.removesuffix("*").startswith(wide[:-1]))


def _statuses(rule: AuthErrorRule) -> frozenset[int]:
    if rule.status is None:
        return _ALL
    return frozenset(status for low, high in rule.status for status in range(low, high + 1))
