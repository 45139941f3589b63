"""Kinds of collections: lists, maps of names, blocks of known keys."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from proxy.definitions.notation.kinds import Kind
from proxy.definitions.notation.nodes import Mapping, Node, Scalar, Sequence, described, shown
from proxy.definitions.notation.reading import UnreadableError
from proxy.definitions.notation.spelling import hint, nearest

if TYPE_CHECKING:
    from collections.abc import Mapping as MappingOf

    from proxy.definitions.notation.reading import Reading

T = TypeVar("T")
EXTENSION = "x-"
# Where nodes come from that are nobody's own: what is said of them holds for all who have them.
INHERITED = ("defaults.", "presets.")


@dataclass(frozen=True)
class Key:
    """One key of a block: its kind, what it is for, whether `null` unsets it."""

    kind: Kind[Any]
    doc: str
    nullable: bool = False
    default: object = None
    required: bool = False


@dataclass(frozen=True, slots=True)
class Fields:
    """A block as it was written: the values that could be read, and the node of every known key."""

    node: Mapping
    values: dict[str, Any] = field(default_factory=dict)
    nodes: dict[str, Node] = field(default_factory=dict)
    broken: bool = False

    def __contains__(self, key: str) -> bool:
        """Tell whether the key is written, be it right or wrong."""
        return key in self.nodes

    def own(self, key: str) -> bool:
        """Tell whether the key is written in its own place, not under `defaults` or by a preset."""
        return key in self.nodes and not self.nodes[key].path.startswith(INHERITED)

    def path(self, key: str) -> str:
        """Return the path a missing key would have."""
        return f"{self.node.path}.{key}" if self.node.path else key


@dataclass(frozen=True)
class Block(Kind[Fields]):
    """A mapping with known keys; `exclusive` blocks are replaced, not merged.

    `elsewhere` says where keys belong that are easily written here.
    """

    keys: dict[str, Key]
    exclusive: bool = False
    doc: str = ""
    elsewhere: MappingOf[str, str] = field(default_factory=dict)

    def read(self, node: Node, reading: Reading) -> Fields:
        mapping = as_mapping(node, reading)
        values: dict[str, Any] = {}
        nodes: dict[str, Node] = {}
        broken = False
        for name, child in mapping.entries.items():
            if name.startswith(EXTENSION):
                continue
            key = self.keys.get(name)
            if key is None:
                self._refuse(name, child, reading)
                broken = True
                continue
            if key.nullable and isinstance(child, Scalar) and child.is_null:
                continue
            nodes[name] = child
            try:
                values[name] = key.kind.read(child, reading)
            except UnreadableError:
                broken = True
        for name, key in self.keys.items():
            if key.required and name not in nodes:
                reading.fault(mapping, "missing_key", f"{name} is missing", f"{mapping.path}.{name}")
                broken = True
        return Fields(mapping, values, nodes, broken)

    def _refuse(self, name: str, node: Node, reading: Reading) -> None:
        guess = hint(name, self.keys)
        if not guess and (there := nearest(name, self.elsewhere)):
            guess = f"; {there} {self.elsewhere[there]}"
        advice = guess or f"; known here: {', '.join(self.keys)}" if len(self.keys) <= 12 else guess
        reading.fault(node, "unknown_key", f"unknown key {shown(name)}{advice}")

    def merge(self, under: Node, over: Node) -> Node:
        if self.exclusive or not isinstance(under, Mapping) or not isinstance(over, Mapping):
            return over
        entries = dict(over.entries)
        for name, node in under.entries.items():
            key = self.keys.get(name)
            if name not in entries:
                entries[name] = node
            elif key is not None:
                entries[name] = key.kind.merge(node, entries[name])
        return Mapping(entries, over.place, over.path)

    def schema(self) -> dict[str, Any]:
        properties = {}
        for name, key in self.keys.items():
            described_as = key.kind.schema()
            if key.nullable:
                described_as = {"anyOf": [described_as, {"type": "null"}]}
            text = {"description": key.doc}
            default = {} if key.default is None else {"default": key.default}
            properties[name] = {**text, **default, **described_as}
        required = [name for name, key in self.keys.items() if key.required]
        return {
            "type": "object",
            "properties": properties,
            "patternProperties": {"^x-": {}},
            "additionalProperties": False,
        } | ({"required": required} if required else {})


@dataclass(frozen=True)
class ListOf(Kind[tuple[T, ...]]):
    """A list; with `one`, a single item may stand without its list."""

    item: Kind[T]
    one: bool = False

    def read(self, node: Node, reading: Reading) -> tuple[T, ...]:
        if self.one and isinstance(node, Scalar) and not node.is_null:
            return (self.item.read(node, reading),)
        if not isinstance(node, Sequence):
            raise reading.refused(node, "wrong_type", f"expected a list, found {described(node)}")
        items = []
        broken = False
        for child in node.items:
            try:
                items.append(self.item.read(child, reading))
            except UnreadableError:
                broken = True
        if broken:
            raise UnreadableError
        return tuple(items)

    def schema(self) -> dict[str, Any]:
        listed = {"type": "array", "items": self.item.schema()}
        return {"anyOf": [listed, self.item.schema()]} if self.one else listed


@dataclass(frozen=True)
class Nullable(Kind[T | None]):
    """The kind, or null, which is a value of its own here."""

    kind: Kind[T]

    def read(self, node: Node, reading: Reading) -> T | None:
        return None if isinstance(node, Scalar) and node.is_null else self.kind.read(node, reading)

    def schema(self) -> dict[str, Any]:
        return {"anyOf": [self.kind.schema(), {"type": "null"}]}


@dataclass(frozen=True)
class OrFalse(Kind[T | None]):
    """The kind, or `false`, which closes it."""

    kind: Kind[T]

    def read(self, node: Node, reading: Reading) -> T | None:
        return None if is_false(node) else self.kind.read(node, reading)

    def merge(self, under: Node, over: Node) -> Node:
        return over if is_false(over) else self.kind.merge(under, over)

    def schema(self) -> dict[str, Any]:
        return {"anyOf": [{"const": False}, self.kind.schema()]}


@dataclass(frozen=True)
class AutoOr(Kind[T | str]):
    """The word `auto`, or the kind."""

    kind: Kind[T]

    def read(self, node: Node, reading: Reading) -> T | str:
        return "auto" if isinstance(node, Scalar) and node.text == "auto" else self.kind.read(node, reading)

    def schema(self) -> dict[str, Any]:
        return {"anyOf": [{"const": "auto"}, self.kind.schema()]}


def is_false(node: Node) -> bool:
    """Tell whether `false` is written."""
    return isinstance(node, Scalar) and node.plain and node.text == "false"


def as_mapping(node: Node, reading: Reading) -> Mapping:
    """Return the node as a mapping; nothing at all (all children commented out) is an empty one."""
    if isinstance(node, Mapping):
        return node
    if isinstance(node, Scalar) and node.is_null:
        return Mapping({}, node.place, node.path)
    raise reading.refused(node, "wrong_type", f"expected a mapping, found {described(node)}")
