"""Bodies, claims and extra header fields: a mapping, or a JSON text that is an object, as a tree of templates.

A JSON text is parsed first, and its leaves become templates then: what a placeholder brings never moves a border.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NoReturn

from proxy.definitions.notation.kinds import Kind
from proxy.definitions.notation.nodes import Mapping, Node, Scalar, Sequence, described, joined, shown
from proxy.definitions.notation.reading import UnreadableError
from proxy.definitions.notation.values import misread
from proxy.definitions.templates.placeholders import TemplateMap, Tree, literal
from proxy.definitions.templates.templated import compiled, merged_maps

if TYPE_CHECKING:
    from proxy.definitions.notation.reading import Reading

_DEPTH: Final = 32  # as the reader allows YAML
_NUMBER: Final = re.compile(r"-?(0|[1-9]\d{0,39})(\.\d{1,40})?([eE][-+]?\d{1,3})?")  # RFC 8259 §6, within reason
_INTEGER: Final = re.compile(r"-?(0|[1-9]\d{0,39})")


@dataclass(frozen=True, slots=True)
class _Number:
    """A number of a JSON text, as it is written there."""

    text: str


class _RefusedJson(Exception):
    """The JSON text can't be used; the message says why and quotes keys at most."""


@dataclass(frozen=True)
class Object(Kind[Mapping]):
    """A mapping, or a JSON text that is an object. `code` is that of its faults.

    What is `whole` replaces its default; else the default is laid under it.
    """

    what: str
    code: str
    whole: bool = True

    def read(self, node: Node, reading: Reading) -> Mapping:
        if isinstance(node, Mapping):
            return node
        if not isinstance(node, Scalar) or node.is_null:
            raise reading.refused(
                node, self.code, f"{self.what} is a mapping, or a JSON text that is one; found {described(node)}"
            )
        try:
            return _parsed(node)
        except _RefusedJson as error:
            raise reading.refused(
                node, self.code, f"{self.what} is a mapping, or a JSON text that is one: {error}"
            ) from None

    def merge(self, under: Node, over: Node) -> Node:
        return over if self.whole else merged_maps(under, over)

    def schema(self) -> dict[str, Any]:
        return {"anyOf": [{"type": "object"}, {"type": "string", "pattern": r"^\s*\{"}]}


def tree(node: Mapping, reading: Reading, *, typed: bool) -> TemplateMap:
    """Return a mapping with its leaves as templates.

    `typed`: numbers, `true` and `false` stay what they are in JSON; else they keep their source text, for a form. At
    the top `null` removes a default. Raises `UnreadableError` when all faults are noted.
    """
    entries: list[tuple[str, Tree]] = []
    broken = False
    for name, item in node.entries.items():
        try:
            entries.append((name, _leaf(item, reading, typed=typed)))
        except UnreadableError:
            broken = True
    if broken:
        raise UnreadableError
    return TemplateMap(tuple(entries))


def _leaf(node: Node, reading: Reading, *, typed: bool) -> Tree:
    match node:
        case Mapping():
            return tree(node, reading, typed=typed)
        case Sequence():
            items = Mapping({str(index): item for index, item in enumerate(node.items)}, node.place, node.path)
            return tuple(leaf for _, leaf in tree(items, reading, typed=typed).entries)
        case Scalar() if node.is_null:
            return None
        case Scalar(plain=True, text=text) if typed and (text in {"true", "false"} or _NUMBER.fullmatch(text)):
            if text in {"true", "false"}:
                return text == "true"
            return int(text) if _INTEGER.fullmatch(text) else float(text)
        case Scalar() if typed and (other := misread(node, secret=False)) is not None:
            raise reading.refused(node, "value_not_string", f"YAML reads this as {other}; quote the value")
        case Scalar():
            return compiled(node, node.text, reading) if node.text else literal("")


def _parsed(node: Scalar) -> Mapping:
    """Return a JSON text as nodes, all of them in the place of the text."""
    try:
        value = json.loads(
            node.text,
            parse_int=_Number,
            parse_float=_Number,
            parse_constant=_refuse_constant,
            object_pairs_hook=_object,
        )
    except json.JSONDecodeError as error:
        # Without the cause: it holds the text.
        raise _RefusedJson(f"this is no JSON in line {error.lineno}, column {error.colno}") from None
    except RecursionError:
        raise _RefusedJson(f"the nesting is deeper than {_DEPTH} levels") from None
    if not isinstance(value, dict):
        raise _RefusedJson("this JSON is no object")
    nodes = _nodes(value, node, node.path, 0)
    if not isinstance(nodes, Mapping):
        raise TypeError("an object becomes a mapping")
    return nodes


def _nodes(value: object, node: Scalar, path: str, depth: int) -> Node:
    if depth > _DEPTH:
        raise _RefusedJson(f"the nesting is deeper than {_DEPTH} levels")
    match value:
        case dict():
            entries = {name: _nodes(item, node, joined(path, name), depth + 1) for name, item in value.items()}
            return Mapping(entries, node.place, path)
        case list():
            items = [_nodes(item, node, f"{path}[{index}]", depth + 1) for index, item in enumerate(value)]
            return Sequence(tuple(items), node.place, path)
        case str():
            return Scalar(value, False, node.place, path)
        case _Number():
            if not _NUMBER.fullmatch(value.text):
                raise _RefusedJson("a number in it is too long; write it in quotes")
            return Scalar(value.text, True, node.place, path)
        case None:
            return Scalar("null", True, node.place, path)
        case _:
            return Scalar("true" if value else "false", True, node.place, path)


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found: dict[str, object] = {}
    for name, value in pairs:
        if name in found:
            raise _RefusedJson(f"the key {shown(name)} stands in it twice")
        found[name] = value
    return found


def _refuse_constant(constant: str) -> NoReturn:
    raise _RefusedJson(f"{constant} is not JSON")
