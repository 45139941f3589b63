"""What goes along while nodes are read: the faults so far, the environment, the files that values come from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from proxy.definitions.notation.footprint import Footprint
from proxy.errors import Fault

if TYPE_CHECKING:
    from collections.abc import Mapping as MappingOf
    from pathlib import Path

    from proxy.definitions.keys.signing_keys import SigningKey
    from proxy.definitions.notation.nodes import Node
    from proxy.definitions.notation.secretfile import FileText


class UnreadableError(Exception):
    """A node is not what it should be. The fault is noted already; whoever catches this goes on with the next node."""


@dataclass(slots=True)
class Reading:
    """Collects faults and warnings (each once) and hands out what values refer to.

    `folders` has, for each file of definitions, the folder that relative paths in it start from; `now` is the
    wall clock in seconds, for certificates.
    """

    environ: MappingOf[str, str]
    folders: dict[str, Path]
    now: float
    allow_inline_secrets: bool = False
    faults: dict[Fault, None] = field(default_factory=dict)
    warnings: dict[Fault, None] = field(default_factory=dict)
    notes: dict[Fault, None] = field(default_factory=dict)
    files: dict[str, FileText] = field(default_factory=dict)
    keys: dict[tuple[str, ...], SigningKey] = field(default_factory=dict)  # by the paths of what they are made of
    footprint: Footprint = field(default_factory=Footprint)  # what this load has read
    variables: set[str] = field(default_factory=set)  # names of those that values or keys came from
    refusals: int = 0  # faults noted so far, those of `defaults` once for each that inherits them

    def fault(self, node: Node, code: str, message: str, path: str | None = None) -> None:
        """Note a fault at `node`; `path` where it is about something below it that is missing."""
        self.refusals += 1
        self.faults[_placed(node, code, message, path)] = None

    def refused(self, node: Node, code: str, message: str) -> UnreadableError:
        """Note a fault at `node` and return what to raise, so that the node is given up."""
        self.fault(node, code, message)
        return UnreadableError()

    def warn(self, node: Node, code: str, message: str) -> None:
        """Note something that works but that the operator should know."""
        self.warnings[_placed(node, code, message, None)] = None

    def note(self, node: Node, code: str, message: str) -> None:
        """Note something that was done to a value, for the output of `check`."""
        self.notes[_placed(node, code, message, None)] = None


def _placed(node: Node, code: str, message: str, path: str | None) -> Fault:
    place = node.place
    return Fault(place.file, place.line, place.column, node.path if path is None else path, code, message)
