"""Which mistakes are made in a module: each is one change of its syntax tree, with a name that outlives edits. Pure.

What is said is not mutated: docstrings, messages of exceptions, log lines; nor annotations, imports and `__slots__`.
"""

from __future__ import annotations

import ast
import copy
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from tests.mutants.regexes import mistakes

if TYPE_CHECKING:
    from collections.abc import Iterator

_COMPARED: Final[dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
# One operand alone: text, bytes and sets know no other mistake.
_HALVED: Final = (ast.Add, ast.BitOr, ast.BitAnd, ast.Mult)
_TURNED: Final[dict[type[ast.operator], type[ast.operator]]] = {
    ast.Sub: ast.Add,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
    ast.Pow: ast.Mult,
}
_DROPPED: Final = {"lower", "upper", "strip", "lstrip", "rstrip", "removeprefix", "removesuffix", "casefold"}
_RENAMED: Final = {
    "startswith": "endswith",
    "endswith": "startswith",
    "partition": "rpartition",
    "rpartition": "partition",
    "find": "rfind",
    "rfind": "find",
    "fullmatch": "match",
    "match": "search",
    "search": "match",
    "any": "all",
    "all": "any",
    "min": "max",
    "max": "min",
}
_UNTOUCHED: Final = {"__slots__", "__all__"}
_SILENT: Final = {"_log", "cast"}  # whose calls say something to humans or to the type checker


class _Slot(NamedTuple):
    """Where a node hangs in the tree."""

    parent: ast.AST
    name: str
    index: int | None

    def get(self) -> Any:
        value = getattr(self.parent, self.name)
        return value if self.index is None else value[self.index]

    def put(self, new: object) -> None:
        if self.index is None:
            setattr(self.parent, self.name, new)
        else:
            getattr(self.parent, self.name)[self.index] = new


@dataclass(frozen=True)
class Mutant:
    """One mistake. `where` is its scope, `owner` the outermost function around it: None at import time."""

    module: str
    where: str
    change: str
    nth: int
    line: int
    owner: str | None
    slot: _Slot = field(repr=False, compare=False)
    new: Any = field(repr=False, compare=False)

    @property
    def name(self) -> str:
        """What stands in the lists: no line number, which moves with every edit."""
        return f"{self.module}::{self.where}: {self.change}" + (f" #{self.nth}" if self.nth > 1 else "")


class Module:
    """One file of the product and all mistakes that are made in it."""

    def __init__(self, path: str, source: str) -> None:
        self.path = path
        self.tree = ast.parse(source, path)
        self.mutants = tuple(_Walk(path).of(self.tree))

    @contextmanager
    def with_mistake(self, mutant: Mutant) -> Iterator[ast.Module]:
        """Lend the tree with the mistake in it."""
        old = mutant.slot.get()
        mutant.slot.put(mutant.new)
        try:
            yield ast.fix_missing_locations(self.tree)
        finally:
            mutant.slot.put(old)


class _Walk:
    """One walk through a module, in the order of its text."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._scopes: list[str] = []
        self._owner: str | None = None
        self._seen: dict[str, int] = {}
        self._in_regex = False
        self._in_raise = False

    def of(self, tree: ast.Module) -> Iterator[Mutant]:
        """Yield the mutants of a module."""
        yield from self._each(tree, "body")

    def _mutant(self, slot: _Slot, new: object, line: int, change: str) -> Mutant:
        where = ".".join(self._scopes) or "<module>"
        key = f"{where}: {change}"
        self._seen[key] = nth = self._seen.get(key, 0) + 1
        return Mutant(self._path, where, change, nth, line, self._owner, slot, new)

    def _swap(self, slot: _Slot, *others: ast.AST) -> Iterator[Mutant]:
        old = slot.get()
        for new in others:
            ast.copy_location(new, old)
            yield self._mutant(slot, new, old.lineno, f"{_text(old)} -> {_text(new)}")

    def _gone(self, slot: _Slot, what: str = "") -> Iterator[Mutant]:
        """Leave a statement out."""
        old = slot.get()
        new = ast.copy_location(ast.Pass(), old)
        yield self._mutant(slot, new, old.lineno, f"without {what or _text(old)}")

    # Statements

    def _each(self, parent: ast.AST, name: str) -> Iterator[Mutant]:
        for index, node in enumerate(getattr(parent, name)):
            yield from self._statement(_Slot(parent, name, index), node)

    def _statement(self, slot: _Slot, node: ast.stmt) -> Iterator[Mutant]:  # noqa: C901, PLR0912 a case for each kind
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                yield from self._function(node)
            case ast.ClassDef():
                self._scopes.append(node.name)
                yield from self._each(node, "body")
                self._scopes.pop()
            case ast.Import() | ast.ImportFrom() | ast.Pass():
                pass
            case ast.Expr(value=ast.Constant()):
                pass  # a docstring, or `...`
            case ast.If(test=ast.Name(id="TYPE_CHECKING")):
                pass
            case ast.Expr() if _root(node.value) in _SILENT | {"assert_never"}:
                pass
            case ast.Expr():
                yield from self._gone(slot)
                yield from self._expression(_Slot(node, "value", None))
            case ast.Raise():
                yield from self._gone(slot, f"raise {_text(node.exc).partition('(')[0]}" if node.exc else "raise")
                if node.exc is not None:
                    self._in_raise = True
                    yield from self._expression(_Slot(node, "exc", None))
                    self._in_raise = False
            case ast.Return(value=value):
                if isinstance(value, ast.Name | ast.Call | ast.Attribute | ast.Subscript | ast.BinOp | ast.IfExp):
                    yield from self._swap(slot, ast.Return(ast.Constant(None)))
                if value is not None:
                    yield from self._expression(_Slot(node, "value", None))
            case ast.Assign() | ast.AnnAssign():
                yield from self._assignment(slot, node)
            case ast.AugAssign():
                yield from self._gone(slot)
                yield from self._expression(_Slot(node, "value", None))
            case ast.Break() | ast.Delete():
                yield from self._gone(slot)
            case ast.Continue():
                yield from self._swap(slot, ast.Break())
            case ast.If() | ast.While():
                yield from self._condition(_Slot(node, "test", None))
                yield from self._each(node, "body")
                yield from self._each(node, "orelse")
            case ast.Match():
                yield from self._match(slot, node)
            case _:
                yield from self._children(node)

    def _function(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[Mutant]:
        arguments = node.args
        self._scopes.append(node.name)
        for name in ("defaults", "kw_defaults"):
            for index, default in enumerate(getattr(arguments, name)):
                if default is not None:
                    yield from self._expression(_Slot(arguments, name, index))
        outermost = self._owner is None
        if outermost:
            self._owner = ".".join(self._scopes)
        yield from self._each(node, "body")
        if outermost:
            self._owner = None
        self._scopes.pop()

    def _assignment(self, slot: _Slot, node: ast.Assign | ast.AnnAssign) -> Iterator[Mutant]:
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        names = {target.id for target in targets if isinstance(target, ast.Name)}
        if names & _UNTOUCHED or node.value is None or _is_type(node):
            return
        kept = isinstance(targets[0], ast.Attribute | ast.Subscript) and self._scopes[-1:] != ["__init__"]
        if kept:
            yield from self._gone(slot)
        yield from self._expression(_Slot(node, "value", None))

    def _match(self, slot: _Slot, node: ast.Match) -> Iterator[Mutant]:
        yield from self._expression(_Slot(node, "subject", None))
        for index, case in enumerate(node.cases):
            if isinstance(case.pattern, ast.MatchAs) and case.pattern.pattern is None and case.guard is None:
                pass  # what is left: without it another mistake would be made than to forget a case
            elif len(node.cases) > 1:
                shorter = ast.Match(node.subject, node.cases[:index] + node.cases[index + 1 :])
                ast.copy_location(shorter, node)
                yield self._mutant(slot, shorter, case.pattern.lineno, f"without case {_text(case.pattern)}")
            if case.guard is not None:
                if isinstance(case.pattern, ast.MatchAs) and case.pattern.pattern is None:
                    yield from self._expression(_Slot(case, "guard", None))
                    yield from self._each(case, "body")
                    continue
                yield self._mutant(
                    _Slot(case, "guard", None), None, case.pattern.lineno, f"case without if {_text(case.guard)}"
                )
                yield from self._expression(_Slot(case, "guard", None))
            yield from self._each(case, "body")

    # Expressions

    def _condition(self, slot: _Slot) -> Iterator[Mutant]:
        """Turn a condition round where no part of it is mutated anyway."""
        node = slot.get()
        if not isinstance(node, ast.Compare | ast.BoolOp | ast.UnaryOp | ast.Constant):
            yield from self._swap(slot, ast.UnaryOp(ast.Not(), node))
        yield from self._expression(slot)

    def _expression(self, slot: _Slot) -> Iterator[Mutant]:  # noqa: C901, PLR0912 a case for each kind
        node = slot.get()
        match node:
            case ast.Constant():
                yield from self._constant(slot, node)
                return
            case ast.JoinedStr() if self._in_raise:
                return
            case ast.Compare():
                for index, operator in enumerate(node.ops):
                    for other in _COMPARED[type(operator)]:
                        changed = [*node.ops[:index], other(), *node.ops[index + 1 :]]
                        yield from self._swap(slot, ast.Compare(node.left, changed, node.comparators))
            case ast.BoolOp():
                for index, left_out in enumerate(node.values):
                    kept = node.values[:index] + node.values[index + 1 :]
                    new = kept[0] if len(kept) == 1 else ast.BoolOp(node.op, kept)
                    word = "and" if isinstance(node.op, ast.And) else "or"
                    yield self._mutant(slot, new, node.lineno, f"without {word} {_text(left_out)}")
            case ast.UnaryOp(op=ast.Not() | ast.USub()):
                yield from self._swap(slot, node.operand)
            case ast.IfExp():
                yield from self._swap(slot, node.body, node.orelse)
            case ast.BinOp(op=operator):
                if isinstance(operator, _HALVED):
                    yield from self._swap(slot, node.left, node.right)
                elif type(operator) in _TURNED:
                    yield from self._swap(slot, ast.BinOp(node.left, _TURNED[type(operator)](), node.right))
            case ast.Call():
                yield from self._call(slot, node)
                return
            case ast.Subscript(slice=ast.Slice() as cut):
                for name in ("lower", "upper"):
                    if getattr(cut, name) is not None:
                        wider = copy.copy(cut)
                        setattr(wider, name, None)
                        yield from self._swap(slot, ast.Subscript(node.value, wider, node.ctx))
            case ast.Set() | ast.Tuple() | ast.List() if self._is_table(slot, node):
                for index, left_out in enumerate(node.elts):
                    shorter = copy.copy(node)
                    shorter.elts = node.elts[:index] + node.elts[index + 1 :]
                    if shorter.elts or not isinstance(node, ast.Set):
                        yield self._mutant(slot, shorter, left_out.lineno, f"without element {_text(left_out)}")
                if all(isinstance(item, ast.Constant) for item in node.elts):
                    return
            case ast.Dict() if self._owner is None:
                for index, key in enumerate(node.keys):
                    shorter = ast.Dict(
                        node.keys[:index] + node.keys[index + 1 :], node.values[:index] + node.values[index + 1 :]
                    )
                    if key is not None:
                        yield self._mutant(slot, shorter, key.lineno, f"without entry {_text(key)}")
            case ast.comprehension():
                for index in range(len(node.ifs)):
                    yield from self._condition(_Slot(node, "ifs", index))
                yield from self._expression(_Slot(node, "iter", None))
                return
            case ast.Lambda():
                yield from self._expression(_Slot(node, "body", None))
                return
            case _:
                pass
        yield from self._children(node)

    def _is_table(self, slot: _Slot, node: ast.Set | ast.Tuple | ast.List) -> bool:
        """A set, or a list of constants at import time or behind `in`: each element has its reason."""
        if isinstance(node, ast.Set):
            return True
        listed = isinstance(slot.parent, ast.Compare) or self._owner is None
        return listed and len(node.elts) > 1 and isinstance(getattr(node, "ctx", None), ast.Load)

    def _call(self, slot: _Slot, node: ast.Call) -> Iterator[Mutant]:
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if _root(node) in _SILENT:
            return
        if isinstance(node.func, ast.Attribute) and name in _DROPPED:
            yield from self._swap(slot, node.func.value)
        if name in _RENAMED:
            function = copy.copy(node.func)
            setattr(function, "attr" if isinstance(function, ast.Attribute) else "id", _RENAMED[name])
            yield self._mutant(
                _Slot(node, "func", None), function, node.lineno, f"{_text(node)} -> {_RENAMED[name]}(…)"
            )
        regex = _text(node.func) == "re.compile"
        if regex and len(node.args) > 1:
            yield self._mutant(
                _Slot(node, "args", None), node.args[:1], node.lineno, f"without flags {_text(node.args[1])}"
            )
        if isinstance(node.func, ast.Attribute):
            yield from self._expression(_Slot(node.func, "value", None))
        self._in_regex, before = regex, self._in_regex
        for index, argument in enumerate(node.args):
            if not (regex and index):
                yield from self._expression(
                    _Slot(node, "args", index)
                    if not isinstance(argument, ast.Starred)
                    else _Slot(argument, "value", None)
                )
        for keyword in node.keywords:
            yield from self._expression(_Slot(keyword, "value", None))
        self._in_regex = before

    def _constant(self, slot: _Slot, node: ast.Constant) -> Iterator[Mutant]:
        match node.value:
            case bool() as truth:
                yield from self._swap(slot, ast.Constant(not truth))
            case int() | float() as number:
                yield from self._swap(slot, ast.Constant(number + 1))
            case str() as text if self._in_regex:
                yield from self._swap(slot, *(ast.Constant(other) for other in mistakes(text)))
            case bytes() as raw if self._in_regex:
                others = (other.encode("latin-1") for other in mistakes(raw.decode("latin-1")))
                yield from self._swap(slot, *map(ast.Constant, others))
            case str() as text if " " not in text.strip():  # else it is prose
                yield from self._swap(slot, ast.Constant(f"XX{text}"))
            case bytes() as raw:
                yield from self._swap(slot, ast.Constant(b"XX" + raw))
            case _:
                pass

    def _children(self, node: ast.AST) -> Iterator[Mutant]:
        """Go on with what hangs below a node for which no mistake of its own is known, or was made."""
        for name, value in ast.iter_fields(node):
            if name in {"annotation", "returns", "type_comment", "format_spec", "decorator_list"}:
                continue
            if isinstance(value, list):
                for index, item in enumerate(value):
                    yield from self._child(_Slot(node, name, index), item)
            else:
                yield from self._child(_Slot(node, name, None), value)

    def _child(self, slot: _Slot, item: object) -> Iterator[Mutant]:
        if isinstance(item, ast.stmt):
            yield from self._statement(slot, item)
        elif isinstance(item, ast.expr | ast.comprehension):
            yield from self._expression(slot)
        elif isinstance(item, ast.ExceptHandler):
            yield from self._each(item, "body")
        elif isinstance(item, ast.withitem):
            yield from self._expression(_Slot(item, "context_expr", None))


def _text(node: ast.AST | None) -> str:
    return " ".join(ast.unparse(node).split()) if node is not None else ""


def _root(node: ast.AST) -> str:
    """Return the first name of a chain of calls and attributes."""
    while True:
        match node:
            case ast.Call():
                node = node.func
            case ast.Attribute() | ast.Await():
                node = node.value
            case ast.Name():
                return node.id
            case _:
                return ""


def _is_type(node: ast.Assign | ast.AnnAssign) -> bool:
    """An alias of types: `TypeAlias`, or a union of names that begin with a capital letter."""
    if isinstance(node, ast.AnnAssign) and "TypeAlias" in _text(node.annotation):
        return True
    union = node.value
    if not (isinstance(union, ast.BinOp) and isinstance(union.op, ast.BitOr)):
        return False
    names = [part for part in ast.walk(union) if isinstance(part, ast.Name | ast.Attribute)]
    return all(
        (part.id if isinstance(part, ast.Name) else part.attr)[0].isupper() or isinstance(part, ast.Name)
        for part in names
    ) and any(isinstance(part, ast.Name) and part.id[0].isupper() for part in names)
