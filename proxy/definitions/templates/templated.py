"""Kinds whose text may hold placeholders, and maps from free names."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

from proxy.definitions import domains
from proxy.definitions.notation.kinds import PLACEHOLDER, Kind, scalar
from proxy.definitions.notation.nodes import Mapping, Node, Scalar, shown
from proxy.definitions.notation.reading import UnreadableError
from proxy.definitions.notation.shapes import as_mapping
from proxy.definitions.notation.values import SCHEMA, Value
from proxy.definitions.placement import header_fault
from proxy.definitions.templates.placeholders import Template, TemplateError, UrlTemplate, compile_template, literal
from proxy.definitions.templates.urls import compile_url

if TYPE_CHECKING:
    from proxy.definitions.notation.reading import Reading

T = TypeVar("T")

# RFC 9110 §5.5 without obs-text: what the text of a field may have.
_FIELD: Final = re.compile(r"[\x20-\x7e\t]*")


def compiled(node: Node, text: str, reading: Reading) -> Template:
    """Return the template that `text` is."""
    try:
        return compile_template(text)
    except TemplateError as error:
        raise reading.refused(node, error.code, error.message) from None


@dataclass(frozen=True)
class TemplateValue(Kind[Template]):
    """A value that may hold placeholders; what comes from elsewhere by `{env: …}` and its like stands for itself."""

    def read(self, node: Node, reading: Reading) -> Template:
        if isinstance(node, Scalar) and PLACEHOLDER.search(node.text):
            return compiled(node, node.text, reading)
        return literal(Value().read(node, reading))

    def schema(self) -> dict[str, Any]:
        return SCHEMA


@dataclass(frozen=True)
class UrlText(Kind[UrlTemplate]):
    """A URL, taken apart; whether it may be used is decided where its domains are known."""

    def read(self, node: Node, reading: Reading) -> UrlTemplate:
        text = scalar(node, reading, "a URL").text
        try:
            url = compile_url(text)
            # One spelling of each URL: lower case, no dot at the end of the host, no port that goes without saying.
            return compile_url(str(domains.parse_url(text))) if url.plain else url
        except (TemplateError, domains.DomainError) as error:
            raise reading.refused(node, error.code, error.message) from None

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "pattern": r"^([Hh][Tt][Tt][Pp][Ss]?://|\{\{)"}


@dataclass(frozen=True)
class MapOf(Kind[tuple[tuple[str, T], ...]]):
    """A map from free names to things of one kind, in the order written; `defaults` are laid under it name by name."""

    item: Kind[T]

    def read(self, node: Node, reading: Reading) -> tuple[tuple[str, T], ...]:
        items = []
        broken = False
        for name, child in as_mapping(node, reading).entries.items():
            if not name or not name.isprintable():
                reading.fault(child, "invalid_name", f"{shown(name)} is not a name: it is empty or does not print")
                broken = True
                continue
            try:
                items.append((name, self.item.read(child, reading)))
            except UnreadableError:
                broken = True
        if broken:
            raise UnreadableError
        return tuple(items)

    def merge(self, under: Node, over: Node) -> Node:
        return merged_maps(under, over)

    def schema(self) -> dict[str, Any]:
        return {"type": "object", "additionalProperties": self.item.schema()}


@dataclass(frozen=True, slots=True)
class Header:
    """One header that is set, or removed where the value is None."""

    name: str
    value: Template | None
    node: Node


@dataclass(frozen=True)
class Headers(Kind[tuple[Header, ...]]):
    """A map of field names to text that may hold placeholders; `null` removes the field."""

    def read(self, node: Node, reading: Reading) -> tuple[Header, ...]:
        headers: dict[str, Header] = {}
        for name, child in as_mapping(node, reading).entries.items():
            try:
                header = self._header(name, child, reading)
                if (first := headers.get(name.lower())) is not None:
                    raise reading.refused(
                        child,
                        "duplicate_key",
                        f"this header is already set at {first.node.place}; case makes no difference",
                    )
            except UnreadableError:
                continue  # the rest is looked at all the same: other checks need it
            headers[name.lower()] = header
        return tuple(headers.values())

    def _header(self, name: str, node: Node, reading: Reading) -> Header:
        if (wrong := header_fault(name)) is not None:
            raise reading.refused(node, *wrong)
        if isinstance(node, Scalar) and node.is_null:
            return Header(name, None, node)
        text = scalar(node, reading, "text or null").text
        template = compiled(node, text, reading)
        fits = all(_FIELD.fullmatch(piece) for piece in template.pieces if isinstance(piece, str))
        if not fits or text != text.strip(" \t"):
            raise reading.refused(
                node,
                "header_forbidden",
                "a header's value is ASCII without control characters, and without spaces at its ends",
            )
        return Header(name, template, node)

    def merge(self, under: Node, over: Node) -> Node:
        return merged_maps(under, over, fold=True)

    def schema(self) -> dict[str, Any]:
        value = {"type": ["string", "number", "boolean", "null"]}
        return {"type": "object", "additionalProperties": value}


def merged_maps(under: Node, over: Node, *, fold: bool = False) -> Node:
    """Return what holds when the map `under` is the default and `over` is written; `fold`: case makes no difference."""
    if not isinstance(under, Mapping) or not isinstance(over, Mapping):
        return over
    written = {name.lower() if fold else name for name in over.entries}
    inherited = {name: node for name, node in under.entries.items() if (name.lower() if fold else name) not in written}
    return Mapping({**inherited, **over.entries}, over.place, over.path)


def child(node: Node, name: str) -> Node:
    """Return the node of `name` in a map, else that of the map."""
    return node.entries.get(name, node) if isinstance(node, Mapping) else node
