"""XPath 1.0 expressions into XML bodies. Pure; loaded only where a rule has one."""

from __future__ import annotations

from typing import Final
from xml.etree.ElementTree import Element, ElementTree  # nosec B405 # types; defusedxml parses

import elementpath

_PROBE: Final[ElementTree[Element]] = ElementTree(Element("probe"))


class XPathError(ValueError):
    """The text is no XPath 1.0, asks for names that only a program could give, or fails on this document."""


class XPath:
    """A compiled expression; `text` is what the operator wrote. Prefixes are not known: `local-name()` serves."""

    __slots__ = ("_token", "text")

    def __init__(self, text: str) -> None:
        """Raise `XPathError` when the text is no XPath 1.0."""
        self.text = text
        try:
            self._token = elementpath.XPath1Parser(namespaces={}).parse(text)
        except elementpath.ElementPathError as error:
            raise XPathError(str(error)) from error
        self.find(_PROBE)

    def find(self, tree: ElementTree[Element]) -> tuple[str | float | bool, ...]:
        """Return the string-values of the nodes, or the one value, that the expression comes to."""
        try:
            result = self._token.get_results(elementpath.XPathContext(tree))
        except elementpath.ElementPathError as error:
            raise XPathError(str(error)) from error
        nodes = result if isinstance(result, list) else [result]
        return tuple(
            node
            if isinstance(node, bool | float)
            else "".join(node.itertext())
            if isinstance(node, Element)
            else str(node)
            for node in nodes
        )
