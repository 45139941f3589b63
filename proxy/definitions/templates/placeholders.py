"""Text with `{{{placeholders}}}`: compiled once when definitions are loaded, rendered for each request. Pure.

Strict, otherwise than Handlebars: what stands for nothing raises, nothing is HTML-escaped, a value is never read for
placeholders of its own. `expressions` has the syntax, `calls` the helpers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from proxy.definitions.templates.calls import CallError, call, text_of
from proxy.definitions.templates.expressions import Call, Expression, Reference, TemplateError, scan
from proxy.errors import ProxyError
from proxy.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "EMPTY",
    "Ambient",
    "Call",
    "Expression",
    "Reference",
    "RenderError",
    "Scope",
    "Template",
    "TemplateError",
    "TemplateMap",
    "Tree",
    "UrlTemplate",
    "compile_template",
    "expressions",
    "literal",
    "references",
    "render",
    "render_tree",
]

# Nested mappings; leaves are str, int, float, bool, `Secret`, lists, or callables without arguments that make one.
Scope: TypeAlias = Mapping[str, object]


class RenderError(ProxyError):
    """A template can't be rendered for this request. The message names a path, never a value.

    `code`: `placeholder_unresolved` (it stands for nothing, null, a list or a map), `placeholder_unsafe` (the value
    may not stand there) or `placeholder_failed` (a helper can't do what it is asked).
    """

    def __init__(self, code: str, message: str) -> None:
        self.code = code
        self.message = message
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class Ambient:
    """What a template sees beside its scope: `now` in seconds since the epoch, and random bytes."""

    now: float
    entropy: Callable[[int], bytes]


@dataclass(frozen=True, slots=True)
class Template:
    """`text` is what the operator wrote; `pieces` are its literal parts and its expressions, in order."""

    text: str
    pieces: tuple[str | Expression, ...]

    @property
    def plain(self) -> bool:
        """No placeholder stands in it."""
        return all(isinstance(piece, str) for piece in self.pieces)


@dataclass(frozen=True, slots=True)
class TemplateMap:
    """A mapping whose leaves may be templates, in the order written. A None leaf removes a default."""

    entries: tuple[tuple[str, Tree], ...] = ()


EMPTY: Final = TemplateMap()
Tree: TypeAlias = "Template | TemplateMap | tuple[Tree, ...] | bool | int | float | None"


@dataclass(frozen=True, slots=True)
class UrlTemplate:
    """A URL as the operator wrote it, taken apart before anything is put in.

    `origin` is the template of the whole origin where a placeholder stands for it, else None; then `scheme`, `host` and
    `port` (None: that of the scheme) are set. `path` begins with a slash or is empty; `query` has no question mark.
    """

    text: str
    scheme: str
    host: Template
    port: int | None
    path: Template
    query: Template | None
    origin: Template | None = None

    @property
    def plain(self) -> bool:
        """No placeholder stands in it."""
        return "{{" not in self.text


def literal(text: str) -> Template:
    """Return text that stands for itself, whatever is in it."""
    return Template(text, (text,) if text else ())


def compile_template(text: str) -> Template:
    """Read text with placeholders. Raises `TemplateError` (`template_invalid`) with the place of the mistake.

    As in Handlebars a backslash before the braces makes them text, two make one backslash.
    """
    return Template(text, tuple(piece for _, _, piece in scan(text)))


def references(template: Template | TemplateMap | tuple[Tree, ...] | UrlTemplate) -> tuple[Reference, ...]:
    """Return every path that a template names, also as an argument, each once and in order."""
    return tuple(dict.fromkeys(_paths(template)))


def expressions(template: Template | TemplateMap | tuple[Tree, ...] | UrlTemplate) -> Iterator[Expression]:
    """Yield what stands in the braces of a template, in order; arguments are inside their `Call`."""
    for text in _texts(template):
        yield from (piece for piece in text.pieces if not isinstance(piece, str))


def _texts(template: Tree | UrlTemplate) -> Iterator[Template]:
    match template:
        case Template():
            yield template
        case TemplateMap():
            for _, tree in template.entries:
                yield from _texts(tree)
        case tuple():
            for tree in template:
                yield from _texts(tree)
        case UrlTemplate():
            parts = (template.origin, template.host, template.path, template.query)
            yield from (part for part in parts if part is not None)


def _paths(template: Tree | UrlTemplate) -> Iterator[Reference]:
    pending: list[Expression | str]
    for text in _texts(template):
        pending = list(reversed(text.pieces))
        while pending:
            match pending.pop():
                case Reference() as reference:
                    yield reference
                case Call() as found:
                    pending += reversed(found.arguments)


def render(
    template: Template,
    scope: Scope,
    ambient: Ambient,
    *,
    reveal: Callable[[Secret], str] = Secret.reveal,
    escape: Callable[[str], str] | None = None,
) -> str:
    """Return the text with every placeholder replaced once; `escape` sees each value, not the text around it.

    What a helper makes of a secret is a secret itself: `reveal` gets it whole. Raises `RenderError`.
    """
    parts = []
    for piece in template.pieces:
        if isinstance(piece, str):
            parts.append(piece)
            continue
        value = _value(piece, scope, ambient)
        try:
            text = reveal(value) if isinstance(value, Secret) else text_of(value)
        except CallError as error:
            raise RenderError("placeholder_unresolved", f"{_named(piece)} has no text: {error}") from None
        parts.append(text if escape is None else escape(text))
    return "".join(parts)


def render_tree(tree: Tree, scope: Scope, ambient: Ambient, *, reveal: Callable[[Secret], str] = Secret.reveal) -> Any:  # noqa: ANN401 a JSON value
    """Return a JSON value: maps become dicts, lists lists, templates text; the rest stays. Raises `RenderError`."""
    match tree:
        case Template():
            return render(tree, scope, ambient, reveal=reveal)
        case TemplateMap():
            return {name: render_tree(leaf, scope, ambient, reveal=reveal) for name, leaf in tree.entries}
        case tuple():
            return [render_tree(leaf, scope, ambient, reveal=reveal) for leaf in tree]
        case _:
            return tree


def _value(expression: Expression, scope: Scope, ambient: Ambient) -> object:
    if isinstance(expression, Reference):
        return _resolved(expression, scope)
    secret = False
    arguments = []
    for argument in expression.arguments:
        value = argument if isinstance(argument, str) else _value(argument, scope, ambient)
        plain, held = _opened(value)
        secret |= held
        arguments.append(plain)
    try:
        text = call(expression.helper, arguments, ambient.now, ambient.entropy)
    except CallError as error:
        raise RenderError("placeholder_failed", f"{_named(expression)}: {error}") from None
    return Secret(text) if secret else text


def _resolved(reference: Reference, scope: Scope) -> object:
    value: object = scope
    for step in reference.steps:
        if isinstance(value, Mapping) and step in value:
            value = value[step]
        elif isinstance(value, list | tuple) and step.isascii() and step.isdecimal() and len(step) < 7:
            value = value[int(step)] if int(step) < len(value) else None
        else:
            value = None
        if callable(value):
            value = value()
        if value is None:
            raise RenderError("placeholder_unresolved", f"{_named(reference)} stands for nothing")
    return value


def _opened(value: object) -> tuple[object, bool]:
    """Return a value without its wrappings of secrets, and whether there were any."""
    match value:
        case Secret():
            return value.reveal(), True
        case Mapping():
            opened = {str(name): _opened(item) for name, item in value.items()}
            return {name: item for name, (item, _) in opened.items()}, any(held for _, held in opened.values())
        case list() | tuple():
            items = [_opened(item) for item in value]
            return [item for item, _ in items], any(held for _, held in items)
        case _:
            return value, False


def _named(expression: Expression) -> str:
    return expression.path if isinstance(expression, Reference) else f"the helper {expression.helper}"
