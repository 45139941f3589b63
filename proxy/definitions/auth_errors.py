"""Which responses mean that the token is no good: the rules of `auth_errors`, and rules that never match."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from proxy.definitions.kinds import Kind, Text, scalar
from proxy.definitions.models import AuthErrorRule, AuthErrors
from proxy.definitions.nodes import Mapping, Node, Sequence, described, shown
from proxy.definitions.reading import UnreadableError
from proxy.definitions.shapes import Block, Key, ListOf

if TYPE_CHECKING:
    from proxy.definitions.reading import Reading

Rules = tuple[tuple[AuthErrorRule, Node], ...]

LOWEST: Final = 200  # 1xx are passed on before the response is looked at
HIGHEST: Final = 599
_ALL: Final = frozenset(range(LOWEST, HIGHEST + 1))
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


def _error_code(text: str) -> tuple[str, str] | None:
    # RFC 6750 §3: what may stand in error="…".
    fits = re.fullmatch(r"[\x20-\x21\x23-\x5b\x5d-\x7e]{1,200}", text)
    return None if fits else ("rule_never_matches", "no challenge can have this as its error (RFC 6750 §3)")


RULE: Final = Block(
    "rule",
    {
        "name": Key(Text("a name", _rule_name), "Label in metrics and logs; any[0], any[1] … by default."),
        "status": Key(ListOf(StatusRange(), one=True), "Statuses and ranges of statuses, such as 401 or 400-403."),
        "www_authenticate": Key(
            Text("an error code", _error_code), "Some challenge of WWW-Authenticate has this error."
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
    "auth_errors",
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
        seen: set[str] = set()
        for rule, where in (*written, *never_written):
            if rule.name in seen:
                reading.fault(
                    where, "duplicate_name", f"two rules are named {shown(rule.name)}; each name is a label of its own"
                )
            seen.add(rule.name)
        rules = tuple(rule for rule, _ in written)
        if all(rule.status is None for rule in rules):
            rules = (*rules, *AuthErrors().any)
        return AuthErrors(any=rules, never=never)

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
        if not fields.nodes.keys() & {"status", "www_authenticate"}:
            message = "the rule names neither status nor www_authenticate; it would match every response"
            reading.fault(item, "rule_empty", message)
        elif fields.values.get("status") == ():
            reading.fault(fields.nodes["status"], "rule_never_matches", "an empty list of statuses never matches")
        else:
            rules.append((AuthErrorRule(**{"name": f"{group}[{index}]", **fields.values}), item))
    return tuple(rules)


def _unreachable(rule: AuthErrorRule) -> str:
    if rule.www_authenticate == BUILT_IN_NEVER:
        return f"this rule never matches: {BUILT_IN_NEVER} says that the token is good, so it is built into never"
    return "this rule never matches: never covers all of it"


def _reachable(rule: AuthErrorRule, never: tuple[AuthErrorRule, ...]) -> bool:
    """Tell whether some response matches the rule and none of `never`."""
    if rule.www_authenticate == BUILT_IN_NEVER:
        return False
    left = _statuses(rule)
    for other in never:
        if other.www_authenticate is None or other.www_authenticate == rule.www_authenticate:
            left -= _statuses(other)
    return bool(left)


def _statuses(rule: AuthErrorRule) -> frozenset[int]:
    if rule.status is None:
        return _ALL
    return frozenset(status for low, high in rule.status for status in range(low, high + 1))
