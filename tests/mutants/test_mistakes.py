"""Which mistakes are made, under which names, and which are not."""

import pytest

from tests.mutants.operators import Module
from tests.mutants.regexes import mistakes

SOURCE = '''
"""Says what it is."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from x import Y

_log = logger()
LIMIT: Final = 5
WORDS = frozenset({"a", "b"})
SHAPE = re.compile(r"[a-c]+", re.IGNORECASE)


class Door:
    __slots__ = ("open",)

    def __init__(self, open: bool = False) -> None:
        self.open = open

    def passes(self, who: str) -> bool:
        """Tell it."""
        _log.info("asked", who="x")
        if not self.open or who in WORDS:
            raise ValueError(f"closed to {who}", "a word of prose")
        self.last = who
        return len(who) < LIMIT
'''


def changes(source=SOURCE):
    return {f"{mutant.where}: {mutant.change}" for mutant in Module("m.py", source).mutants}


@pytest.mark.parametrize(
    "change",
    [
        "<module>: 5 -> 6",
        "<module>: without element 'a'",
        "<module>: without element 'b'",
        "<module>: '[a-c]+' -> '[a-c]*'",
        "<module>: '[a-c]+' -> '[^a-c]+'",
        "<module>: without flags re.IGNORECASE",
        "Door.__init__: False -> True",
        "Door.passes: not self.open -> self.open",
        "Door.passes: without or not self.open",
        "Door.passes: without or who in WORDS",
        "Door.passes: who in WORDS -> who not in WORDS",
        "Door.passes: without raise ValueError",
        "Door.passes: without self.last = who",
        "Door.passes: len(who) < LIMIT -> len(who) <= LIMIT",
        "Door.passes: len(who) < LIMIT -> len(who) >= LIMIT",
    ],
)
def test_a_mistake_is_made(change):
    assert change in changes()


def test_what_is_said_is_not_changed_nor_what_only_readers_see():
    assert len(changes()) == 15


@pytest.mark.parametrize(
    ("line", "change"),
    [
        ("return a + b", "a + b -> a"),
        ("return a + b", "a + b -> b"),
        ("return a - b", "a - b -> a + b"),
        ("return a[1:]", "a[1:] -> a[:]"),
        ("return a.strip()", "a.strip() -> a"),
        ("return x.fullmatch(a)", "x.fullmatch(a) -> match(…)"),
        ("return any(a)", "any(a) -> all(…)"),
        ("return f(a)", "return f(a) -> return None"),
        ("return a if b else c", "a if b else c -> c"),
        ("await a.close()", "without await a.close()"),
        ("a += 1", "without a += 1"),
        ("for x in a: break", "without break"),
        ("for x in a: continue", "continue -> break"),
        ("return b'x'", "b'x' -> b'XXx'"),
        ("return [x for x in a if x.good]", "x.good -> not x.good"),
        ("while a: f()", "a -> not a"),
        ("del a[0]", "without del a[0]"),
    ],
)
def test_every_kind_of_line_has_its_mistakes(line, change):
    assert f"f: {change}" in changes(f"async def f(a, b, c, x):\n    {line}\n")


def test_cases_are_forgotten_one_at_a_time_but_for_the_last():
    source = "def f(a):\n match a:\n  case 1: g()\n  case 2 if b: h()\n  case _: i()\n"

    assert {"f: without case 1", "f: without case 2", "f: case without if b"} <= changes(source)
    assert "f: without case _" not in changes(source)


def test_each_mutant_has_a_name_of_its_own_and_leaves_the_tree_as_it_was():
    module = Module("m.py", SOURCE)
    names = [mutant.name for mutant in module.mutants]

    import ast

    before = ast.dump(module.tree)
    for mutant in module.mutants:
        with module.with_mistake(mutant) as tree:
            assert ast.dump(tree) != before
            compile(tree, "m.py", "exec")
    assert ast.dump(module.tree) == before
    assert len(set(names)) == len(names)


def test_a_name_does_not_change_when_lines_move():
    moved = Module("m.py", "\n\n# a comment\n" + SOURCE)

    assert [mutant.name for mutant in moved.mutants] == [mutant.name for mutant in Module("m.py", SOURCE).mutants]


@pytest.mark.parametrize(
    ("pattern", "made"),
    [
        ("a+", {"a*"}),
        ("a*b?", {"a+b?", "a*b"}),
        ("a{2,3}", {"a{2,4}", "a{3,3}"}),
        ("a{2}", {"a{3}"}),
        ("[ab]", {"[^ab]", "[b]", "[a]"}),
        ("[^ab]", {"[ab]", "[^b]", "[^a]"}),
        (r"[a-z\x00-\x20]", {r"[^a-z\x00-\x20]", r"[\x00-\x20]", "[a-z]"}),
        ("^a$", {"a$", "^a"}),
        (r"\ba", {"a"}),
        ("(?!a)b", {"(?=a)b"}),
        ("(?<=a)b", {"(?<!a)b"}),
        ("a|b", {"b", "a"}),
        ("(?:a|b)c", {"(?:b)c", "(?:a)c"}),
        (r"a\+\[b", set()),
    ],
)
def test_a_regular_expression_has_its_own_mistakes(pattern, made):
    assert set(mistakes(pattern)) == made
