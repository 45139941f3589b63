"""One YAML file, from bytes to nodes: by the parser's events, so that a bomb is refused before anything is built.

YAML is taken as a notation for mappings, lists and text, nothing more: no aliases, anchors, merge keys or tags, one
document, and scalars keep their source text (`0012` is four characters, `off` is three).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import yaml

from proxy.definitions.notation.nodes import Mapping, Node, Place, Scalar, Sequence, joined, shown
from proxy.errors import Fault

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_BYTES: Final = 1024 * 1024
MAX_NODES: Final = 10_000
MAX_DEPTH: Final = 32
MAX_REFUSALS: Final = 10  # per file: after ten aliases the operator knows
MAX_DIGITS: Final = 4300  # where Python itself stops turning text into a number
LOADER: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

# What YAML 1.1 §5.1 calls printable; the parser would refuse the rest without saying where.
_UNPRINTABLE: Final = re.compile(r"[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_LOOKS_LIKE_GLOB: Final = re.compile(r"(?:^|[\s\[,])\*[.\-]")
_NAMED: Final = frozenset({"iclients", "connections"})


@dataclass(slots=True)
class _Open:
    """A collection whose end has not come yet."""

    place: Place
    path: str
    mapping: bool
    entries: dict[str, Node] = field(default_factory=dict)
    items: list[Node] = field(default_factory=list)
    key: tuple[str, Place] | None = None

    def closed(self) -> Node:
        if self.mapping:
            return Mapping(self.entries, self.place, self.path)
        return Sequence(tuple(self.items), self.place, self.path)


class _Refused(Exception):
    """The rest of the file is not looked at."""


def read(data: bytes, file: str) -> tuple[Node | None, list[Fault]]:
    """Return the root node of the file and its faults; the node is None where it can't be used.

    Raises nothing: whatever the bytes are, they end as a node or as faults.
    """
    reading = _File(file)
    try:
        text = reading.decoded(data)
        root = reading.composed(text)
    except _Refused:
        return None, reading.faults
    return (None if reading.unusable else root), reading.faults


class _File:
    def __init__(self, file: str) -> None:
        self.file = file
        self.faults: list[Fault] = []
        self.unusable = False
        self.refusals = 0
        self.stack: list[_Open] = []
        self.root: Node | None = None

    def fault(self, place: Place, code: str, message: str, path: str = "") -> None:
        self.faults.append(Fault(place.file, place.line, place.column, path, code, message))

    def stop(self, place: Place, code: str, message: str) -> _Refused:
        self.fault(place, code, message)
        return _Refused()

    def refuse(self, place: Place, code: str, message: str) -> None:
        """Note something that makes the file unusable, and go on so that its like are named as well."""
        self.unusable = True
        self.refusals += 1
        self.fault(place, code, message, self.stack[-1].path if self.stack else "")
        if self.refusals == MAX_REFUSALS:
            raise _Refused

    def decoded(self, data: bytes) -> str:
        if len(data) > MAX_BYTES:
            raise self.stop(
                Place(self.file),
                "config_too_large",
                "the file is larger than 1 MiB; split it into several in one folder",
            )
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = data.count(b"\n", 0, error.start) + 1
            column = error.start - (data.rfind(b"\n", 0, error.start) + 1) + 1
            raise self.stop(
                Place(self.file, line, column), "yaml_syntax", "the file is not UTF-8 here; save it as UTF-8"
            ) from error
        if odd := _UNPRINTABLE.search(text):
            at = odd.start()
            place = Place(self.file, text.count("\n", 0, at) + 1, at - text.rfind("\n", 0, at))
            raise self.stop(
                place, "yaml_syntax", f"the control character U+{ord(odd[0]):04X} is not allowed; remove it"
            )
        return text

    def composed(self, text: str) -> Node | None:
        documents = nodes = 0
        for event in self.events(text):
            mark = event.start_mark
            place = Place(self.file, mark.line + 1, mark.column + 1) if mark else Place(self.file)
            match event:
                case yaml.DocumentStartEvent():
                    documents += 1
                    if documents > 1:
                        raise self.stop(
                            place, "multiple_documents", "a second document begins here; put it into a file of its own"
                        )
                case yaml.AliasEvent():
                    self.refuse(
                        place,
                        "yaml_alias_forbidden",
                        "aliases are not read; write the value out, or quote it if it is text that begins with *",
                    )
                    self.add(Scalar("", False, place, ""), place)
                case yaml.NodeEvent():
                    nodes += 1
                    if nodes > MAX_NODES:
                        raise self.stop(
                            place,
                            "config_too_large",
                            f"the file has more than {MAX_NODES:,} nodes; split it into several in one folder",
                        )
                    self.node(event, place)
                case yaml.CollectionEndEvent():
                    self.close()
        return self.root

    def events(self, text: str) -> Iterator[yaml.Event]:
        try:
            yield from yaml.parse(text, Loader=LOADER)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            line, column = (mark.line + 1, mark.column + 1) if mark else (0, 0)
            raise self.stop(Place(self.file, line, column), "yaml_syntax", _advice(text, line, error)) from error
        except yaml.YAMLError as error:
            raise self.stop(Place(self.file), "yaml_syntax", "this is not YAML") from error

    def node(self, event: yaml.NodeEvent, place: Place) -> None:
        if event.anchor is not None:
            self.refuse(
                place,
                "yaml_alias_forbidden",
                "anchors are not read; remove the &name and write the value where it is used",
            )
        if isinstance(event, yaml.ScalarEvent):
            if event.tag is not None:
                self.refuse(place, "yaml_tag_forbidden", "tags are not read; remove the !tag")
            self.scalar(event, place)
            return
        if getattr(event, "tag", None) is not None:
            self.refuse(place, "yaml_tag_forbidden", "tags are not read; remove the !tag")
        if len(self.stack) == MAX_DEPTH:
            raise self.stop(place, "yaml_too_deep", f"the nesting is deeper than {MAX_DEPTH} levels")
        if self.stack and self.stack[-1].mapping and self.stack[-1].key is None:
            raise self.stop(
                place, "yaml_syntax", 'a key must be text; quote a value that begins with braces, as in "{{{…}}}"'
            )
        value_place, path = self.position(place)
        self.stack.append(_Open(value_place, path, isinstance(event, yaml.MappingStartEvent)))

    def scalar(self, event: yaml.ScalarEvent, place: Place) -> None:
        text, plain = event.value, not event.style
        if "\0" in text or any("\ud800" <= char <= "\udfff" for char in text if not char.isascii()):
            self.refuse(place, "yaml_syntax", "an escape stands for NUL or for half a character; remove it")
        if plain and len(text) > MAX_DIGITS and text.lstrip("+-").replace("_", "").isdecimal():
            self.refuse(place, "yaml_syntax", f"a number of {len(text):,} digits; quote the value if it is text")
        top = self.stack[-1] if self.stack else None
        if top is not None and top.mapping and top.key is None:
            self.key(top, text, place, plain=plain)
            return
        value_place, path = self.position(place)
        self.add(Scalar(text, plain, value_place, path), place)

    def key(self, top: _Open, text: str, place: Place, *, plain: bool) -> None:
        if plain and text == "<<":
            self.refuse(place, "yaml_alias_forbidden", "merge keys are not read; write the keys out, or use `defaults`")
        if text in top.entries:
            first = top.entries[text].place
            named = len(self.stack) == 2 and self.stack[0].key is not None and self.stack[0].key[0] in _NAMED
            code, what = ("duplicate_name", "this name") if named else ("duplicate_key", f"the key {shown(text)}")
            self.fault(
                place, code, f"{what} is already defined at {first}; keep one of the two", joined(top.path, text)
            )
        top.key = (text, place)

    def position(self, place: Place) -> tuple[Place, str]:
        """Where the node that begins at `place` is said to stand, and its path."""
        if not self.stack:
            return place, ""
        top = self.stack[-1]
        if top.key is not None:
            return top.key[1], joined(top.path, top.key[0])
        return place, f"{top.path}[{len(top.items)}]"

    def close(self) -> None:
        node = self.stack.pop().closed()
        self.add(node, node.place)

    def add(self, node: Node, place: Place) -> None:
        if not self.stack:
            self.root = node
            return
        top = self.stack[-1]
        if not top.mapping:
            top.items.append(node)
        elif top.key is None:  # an alias in the place of a key: refused already
            top.key = ("", place)
        else:
            top.entries.setdefault(top.key[0], node)
            top.key = None


def _advice(text: str, line: int, error: yaml.MarkedYAMLError) -> str:
    """Say what is wrong with the YAML, and what to do where the usual mistakes are recognised."""
    lines = text.splitlines()
    written = lines[line - 1] if 0 < line <= len(lines) else ""
    if "\t" in written[: len(written) - len(written.lstrip())]:
        return "the line is indented with a tab; indent with spaces"
    if _LOOKS_LIKE_GLOB.search(written):
        return 'this is not YAML; quote a value that begins with *, as in "*.example.com"'
    return f"this is not YAML: {error.problem or error.context or 'it ends too early'}"
