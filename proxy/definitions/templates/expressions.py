"""What stands in the braces of a template: paths, and helpers with their arguments, read from text. Pure.

The syntax is that of Handlebars' expressions, without blocks.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NoReturn, TypeAlias

from proxy.definitions.templates.calls import HELPERS, complaint
from proxy.errors import ProxyError

if TYPE_CHECKING:
    from collections.abc import Iterator

# What Handlebars takes for the name of a field; everything else stands in [brackets].
_NAME: Final = r"[^\s!\"#%&'()*+,./;<=>@\[\\\]^`{|}~]+"
_STEP: Final = rf"(?:{_NAME}|\[[^\]]*\])"
_TOKEN: Final = re.compile(
    rf"""\s*(?:(?P<string>"(?:\\"|[^"])*"|'(?:\\'|[^'])*')|(?P<path>{_STEP}(?:\.{_STEP})*)|(?P<mark>[()]))""",
)
_OPENING: Final = re.compile(r"\\*\{\{+")
_NUMBER: Final = re.compile(r"-?\d+(?:\.\d+)?")
_DEPTH: Final = 16  # of parentheses: far more than anybody writes, far less than Python's stack
_UNSUPPORTED: Final = {
    "#": "blocks such as #if are not supported: only values and helpers stand in braces",
    "/": "blocks are not supported: only values and helpers stand in braces",
    "^": "blocks are not supported: only values and helpers stand in braces",
    "!": "comments are not supported inside braces",
    ">": "partials are not supported: only values and helpers stand in braces",
    "&": "write {{{…}}} instead of {{&…}}",
    "~": "~ is not supported: white space stays as it is written",
    "@": "there are no @ variables",
    ".": "a path begins with connection, iclient or authorization",
}


class TemplateError(ProxyError):
    """A template can't be used, found when definitions are loaded. The message never quotes a value."""

    def __init__(self, code: str, message: str) -> None:
        self.code = code
        self.message = message
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class Reference:
    """A path such as `connection.settings.tenant`, in steps."""

    steps: tuple[str, ...]

    @property
    def path(self) -> str:
        """The path as it is written, with dots."""
        return ".".join(self.steps)


@dataclass(frozen=True, slots=True)
class Call:
    """A helper with its arguments: text stands for itself."""

    helper: str
    arguments: tuple[Expression | str, ...]


Expression: TypeAlias = Reference | Call


def scan(text: str) -> Iterator[tuple[int, int, str | Expression]]:
    """Yield the pieces of a text, each with where it begins and ends. Raises `TemplateError`."""
    done = 0
    kept = ""
    begin = 0
    while (opening := _OPENING.search(text, done)) is not None:
        braces = opening[0].lstrip("\\")
        slashes = len(opening[0]) - len(braces)
        kept += text[done : opening.start() + max(0, slashes - 1)]
        if slashes == 1:
            kept += braces
            done = opening.end()
            continue
        if kept:
            yield begin, opening.start() + max(0, slashes - 1), kept
            kept = ""
        expression, done = _Reader(text, opening.end() - len(braces), len(braces)).read()
        yield opening.end() - len(braces), done, expression
        begin = done
    kept += text[done:]
    if kept:
        yield begin, len(text), kept


class _Reader:
    """Reads one pair of braces, from where it opens."""

    def __init__(self, text: str, start: int, braces: int) -> None:
        self._text = text
        self._start = start
        self._at = start + braces
        if braces > 3:
            self._fail("there are more than three braces")
        self._close = "}" * braces

    def read(self) -> tuple[Expression, int]:
        """Return the expression and the place behind the closing braces."""
        rest = self._text[self._at :].lstrip()
        if rest[:1] in _UNSUPPORTED:
            self._fail(_UNSUPPORTED[rest[0]])
        if re.match(r"else\b", rest):
            self._fail(_UNSUPPORTED["#"])
        expression = self._expression(0)
        self._odd()
        if not self._text.startswith(self._close, self._at):
            self._fail(f"it is not closed by {self._close} where it should be, at character {self._at + 1}")
        return expression, self._at + len(self._close)

    def _expression(self, depth: int) -> Expression:
        """Read a path, or a helper and its arguments, up to what can't be one."""
        kind, written = self._token()
        if kind != "path":
            self._fail(f"a path or a helper is expected at character {self._at + 1}")
        if written in HELPERS:
            return self._call(written, depth)
        reference = self._reference(written)
        self._space()
        if not self._text.startswith((self._close, ")", "="), self._at) and self._token(ahead=True)[0]:
            # It has arguments, so it was meant to be a helper.
            self._fail(complaint(written, ()) or "")
        return reference

    def _call(self, helper: str, depth: int) -> Call:
        if depth > _DEPTH:
            self._fail("the parentheses are nested too deep")
        arguments: list[Expression | str] = []
        while (ahead := self._token(ahead=True)) != ("", "") and ahead != ("mark", ")"):
            kind, written = self._token()
            if kind == "mark":
                arguments.append(self._expression(depth + 1))
                if self._token() != ("mark", ")"):
                    self._fail(f"a closing parenthesis is missing at character {self._at + 1}")
            elif kind == "string":
                arguments.append(written[1:-1].replace("\\" + written[0], written[0]))
            elif _NUMBER.fullmatch(written) or written in {"true", "false"}:
                arguments.append(written)
            elif written in HELPERS:
                self._fail(f"as an argument {written} stands in parentheses: ({written} …)")
            else:
                arguments.append(self._reference(written))
        self._odd()
        if wrong := complaint(helper, [argument if isinstance(argument, str) else None for argument in arguments]):
            self._fail(wrong)
        return Call(helper, tuple(arguments))

    def _reference(self, written: str) -> Reference:
        steps = re.findall(rf"\[[^\]]*\]|{_NAME}", written)
        if steps[0] in {"null", "undefined", "this"}:
            self._fail(f"{steps[0]} stands for nothing here: a path begins with connection, iclient or authorization")
        return Reference(tuple(step[1:-1] if step[0] == "[" else step for step in steps))

    def _token(self, *, ahead: bool = False) -> tuple[str, str]:
        """Return the kind and the text of what comes next, nothing if it is no token; `ahead` leaves it there."""
        found = _TOKEN.match(self._text, self._at)
        if found is None:
            return "", ""
        if not ahead:
            self._at = found.end()
        return str(found.lastgroup), found[str(found.lastgroup)]

    def _odd(self) -> None:
        """Refuse what is common elsewhere."""
        self._space()
        if self._text.startswith("=", self._at):
            self._fail("arguments by name (key=value) are not supported")
        if self._text.startswith(("'", '"'), self._at):
            self._fail(f"the quotation mark at character {self._at + 1} has no counterpart")

    def _space(self) -> None:
        while self._text[self._at : self._at + 1].isspace():
            self._at += 1

    def _fail(self, message: str) -> NoReturn:
        raise TemplateError("template_invalid", f"the placeholder at character {self._start + 1}: {message}")
