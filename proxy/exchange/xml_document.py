"""An XML body and XPath 1.0 into it: SOAP faults, mostly. Pure; loaded only where a rule has such a path.

Document types, entities and references to elsewhere are refused, not resolved: a body is somebody else's text.
"""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING, Final
from xml.etree.ElementTree import Element, ElementTree, ParseError, TreeBuilder  # nosec B405 # defusedxml parses

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import DefusedXMLParser

from proxy.definitions.xpath import XPath, XPathError
from proxy.exchange.document import DEPTH_MAX, Found, Unread, UnreadableError

if TYPE_CHECKING:
    from proxy.definitions.json_path import Path

# XPath costs microseconds per element and is evaluated between two other requests; a fault has a dozen elements.
ELEMENTS_MAX: Final = 250


class XmlDocument:
    """One XML document."""

    __slots__ = ("_tree",)
    kind = "XML"

    def __init__(self, payload: bytes) -> None:
        parser = DefusedXMLParser(target=_Bounded(), forbid_dtd=True, forbid_entities=True, forbid_external=True)
        try:
            parser.feed(payload)
            self._tree: ElementTree[Element] = ElementTree(parser.close())
        except DefusedXmlException as error:
            raise UnreadableError(Unread.DECLARATIONS) from error
        except (ParseError, LookupError, ValueError) as error:
            raise UnreadableError(Unread.SYNTAX) from error

    def at(self, path: Path | XPath) -> tuple[Found, ...]:
        """Return the values at the path; nothing for a path into JSON."""
        if not isinstance(path, XPath):
            return ()
        try:
            return tuple(_found(value) for value in path.find(self._tree))
        except XPathError as error:
            raise UnreadableError(Unread.SYNTAX) from error
        finally:
            # elementpath leaves a ring of nodes that holds all text of the body. There are too few of them to set the
            # collector off: a hundred bodies of 256 KiB held 160 MiB. They are its youngest objects now.
            gc.collect(0)


class _Bounded(TreeBuilder):
    """Builds the tree and stops where it grows beyond any fault."""

    def __init__(self) -> None:
        super().__init__()
        self._depth = 0
        self._elements = 0

    def start(self, tag: str, attrs: dict[str, str], /) -> Element:
        self._depth += 1
        self._elements += 1
        if self._depth > DEPTH_MAX:
            raise UnreadableError(Unread.DEPTH)
        if self._elements > ELEMENTS_MAX:
            raise UnreadableError(Unread.ELEMENTS)
        return super().start(tag, attrs)

    def end(self, tag: str, /) -> Element:
        self._depth -= 1
        return super().end(tag)


def _found(value: str | float | bool) -> Found:  # noqa: FBT001
    """Return a node's text without the space around it, which belongs to the layout, or a value as XPath writes it."""
    if isinstance(value, bool):
        return Found("true" if value else "false", not value)
    if isinstance(value, float):
        return Found(str(int(value)) if value.is_integer() else repr(value), is_empty=False)
    text = value.strip()
    return Found(text, not text)
