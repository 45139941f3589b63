"""Tries mutants: a process that has collected the tests forks for each one and runs, in the child, what may notice it.

A mistake in a function is put into the running process by exchanging the function's code. A mistake that shows while a
module is imported (a constant, a default, a regular expression) is tried in a process that has not imported it yet.
"""

from __future__ import annotations

import ast
import gc
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import json
import os
import random
import signal
import sys
import threading
import time
import traceback
import types
import warnings
from bisect import bisect_right
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Final

import pytest
from _pytest.runner import runtestprotocol
from hypothesis import HealthCheck, Phase, settings

from tests.house import tree
from tests.mutants.operators import Module

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tests.mutants.groups import Group
    from tests.mutants.operators import Mutant

# What a test may take: a mutant that makes it take longer is noticed by whoever waits.
_PATIENCE: Final = 6.0
_TIMES: Final = 10
# The quickest tests that come to a function judge it, for so long in all; a slower one is left out.
BUDGET: Final = 10.0
# What was found once need not be made small.
settings.register_profile(
    "mutants",
    deadline=None,
    derandomize=True,
    database=None,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=[HealthCheck.too_slow],
)
_REWRITE: Final = "ignore::pytest.PytestAssertRewriteWarning"  # plugins are imported before pytest sees them
_OPTIONS: Final = ("-W", _REWRITE, "-q", "-x", "-p", "no:xdist", "-p", "no:cacheprovider", "-o", "timeout=0")
_OURS: Final = {"conftest", "proxy", "tests"}
_OUT: Final = os.dup(2)  # pytest captures the usual one
_PROFILE: Final = "--hypothesis-profile=mutants"


@dataclass
class Tried:
    """What became of the mutants of a group, by their names."""

    tests: int = 0
    killed: set[str] = field(default_factory=set)
    timed_out: set[str] = field(default_factory=set)
    survived: set[str] = field(default_factory=set)
    broken: list[str] = field(default_factory=list)  # tests that fail without any mistake: they judge nothing

    @property
    def tried(self) -> int:
        """How many there were."""
        return len(self.killed) + len(self.timed_out) + len(self.survived)

    def note(self, mutant: Mutant, outcome: str) -> None:
        """Remember how the trial of a mutant ended."""
        {"killed": self.killed, "timed out": self.timed_out}.get(outcome, self.survived).add(mutant.name)


def modules_of(group: Group) -> list[Module]:
    """Read the modules of a group."""
    return [Module(path, (tree.ROOT / path).read_text(encoding="utf-8")) for path in group.modules]


def sample(mutants: Sequence[Mutant], most: int, seed: int) -> list[Mutant]:
    """Return at most so many of the mutants, the same ones for the same seed, in the order of the text."""
    if len(mutants) <= most:
        return list(mutants)
    chosen = sorted(random.Random(seed).sample(range(len(mutants)), most))
    return [mutants[index] for index in chosen]


def try_group(
    group: Group, chosen: Sequence[Mutant], modules: Sequence[Module], budget: float, tell: Callable[[str], None]
) -> Tried:
    """Try these mutants of a group. Call it in a process that has not imported the product.

    `budget`: seconds of tests for each; the quickest that come to its function.
    """
    tried = Tried()
    running = {mutant.name for mutant in chosen}
    report = _in_a_child(lambda: _warm(group, modules, running, budget, tell))
    for name in ("killed", "timed_out", "survived"):
        getattr(tried, name).update(report[name])
    tried.tests, tried.broken = report["tests"], report["broken"]
    _import_quietly(report["imported"])
    late = [mutant for mutant in chosen if mutant.owner is None or mutant.name in report["late"]]
    for mutant in late:
        module = next(module for module in modules if module.path == mutant.module)
        outcome = _cold(group, module, mutant, tried.broken, report["slowest"])
        tried.note(mutant, outcome)
        tell(f"{outcome:9} {mutant.line:4} {mutant.name}")
    return tried


# A process of its own for everything that must not be seen by the next


def _in_a_child(work: Callable[[], Any], otherwise: Any = None) -> Any:
    """Return what `work` returns, done in a child; `otherwise` where it does not come to its end."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        os.setsid()
        status = 1
        try:
            with os.fdopen(writing, "w") as pipe:
                json.dump(work(), pipe)
            status = 0
        except Exception:  # noqa: BLE001 the parent says that nothing came
            os.write(_OUT, traceback.format_exc().encode())
        finally:
            os._exit(status)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        said = pipe.read()
    os.waitpid(child, 0)
    with suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)  # servers that a test has started
    if not said and otherwise is not None:
        return otherwise
    if not said:
        raise RuntimeError("the tests can't be collected, or none passes")
    return json.loads(said)


def _outcome(work: Callable[[], bool]) -> str:
    """Fork, let the child `work`, and return whether it noticed anything; its alarm clock is `_set_alarm`."""
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        noticed = True
        try:
            os.setsid()
            noticed = work()
        finally:
            os._exit(1 if noticed else 0)
    _, status = os.waitpid(child, 0)
    with suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)  # servers that a test has started
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGALRM:
        return "timed out"
    return "survived" if status == 0 else "killed"


def _set_alarm(seconds: float) -> None:
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, seconds)


# Mistakes in functions


class _Plugin:
    """Takes the place of pytest's loop over the tests."""

    def __init__(self, work: Callable[[list[pytest.Item]], dict[str, Any]]) -> None:
        self._work = work
        self.report: dict[str, Any] = {}

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        self.report = self._work(session.items)
        return True


def _warm(
    group: Group, modules: Sequence[Module], running: set[str], budget: float, tell: Callable[[str], None]
) -> dict[str, Any]:
    plugin = _Plugin(lambda items: _all_in_functions(items, modules, running, budget, tell))
    _be_silent()
    pytest.main([*_OPTIONS, _PROFILE, *group.tests], plugins=[plugin])
    return plugin.report


def _all_in_functions(
    items: list[pytest.Item], modules: Sequence[Module], running: set[str], budget: float, tell: Callable[[str], None]
) -> dict[str, Any]:
    # Once for all: which pass, how long they take, what they import. Then each alone: another one may have left behind
    # what makes a function not be called again.
    sound = _in_a_child(lambda: _unmutated(items))
    _import_quietly(sound["imported"])
    durations: dict[str, float] = sound["passed"]
    reached: dict[str, set[str]] = {}
    for item in items:
        if item.nodeid in durations:
            for function in _in_a_child(partial(_observed, item, modules, durations[item.nodeid]), []):
                reached.setdefault(function, set()).add(item.nodeid)
    by_name = {item.nodeid: item for item in items if item.nodeid in durations}
    tried, late = Tried(), []
    functions = _functions(modules)
    for module in modules:
        for mutant in module.mutants:
            if mutant.owner is None or mutant.name not in running:
                continue
            reaching = reached.get(f"{module.path}::{mutant.owner}", ())
            names = _quickest([name for name in reaching if name in by_name], durations, budget)
            code = _code(module, mutant)
            touched = functions.get((module.path, mutant.owner), [])
            # No test calls it, but an import may; or its closure would not fit any more.
            if not names or any(len(one.__code__.co_freevars) != len(code.co_freevars) for one in touched):
                late.append(mutant.name)
            else:
                judges = [by_name[name] for name in names]
                outcome = _outcome(partial(_notices, touched, code, judges, durations))
                tried.note(mutant, outcome)
                tell(f"{outcome:9} {mutant.line:4} {mutant.name}")
    return {
        "tests": len(by_name),
        "killed": sorted(tried.killed),
        "timed_out": sorted(tried.timed_out),
        "survived": sorted(tried.survived),
        "broken": [item.nodeid for item in items if item.nodeid not in durations],
        "imported": [
            name for name in sound["imported"] if name.partition(".")[0] not in {"proxy", "tests", "conftest"}
        ],
        "late": late,
        "slowest": max(durations.values()),
    }


def _observed(item: pytest.Item, modules: Sequence[Module], duration: float) -> list[str]:
    """Run one test and see which functions of the modules it comes to; it took so many seconds before."""
    _set_alarm(_PATIENCE + _TIMES * duration)
    spans = {str(tree.ROOT / module.path): (module.path, _spans(module)) for module in modules}
    reached = set()

    def watch(frame: types.FrameType, event: str, _: object) -> None:
        if event == "call" and frame.f_code.co_filename in spans:
            path, owners = spans[frame.f_code.co_filename]
            owner = owners.get(frame.f_code.co_firstlineno)
            if owner is not None:
                reached.add(f"{path}::{owner}")

    threading.setprofile(watch)
    sys.setprofile(watch)
    _passes(item, None)
    sys.setprofile(None)
    return sorted(reached)


def _spans(module: Module) -> dict[int, str]:
    """Return for each line that a piece of code may begin on the outermost function around it."""
    found: dict[int, str] = {}

    def walk(body: list[ast.stmt], scopes: tuple[str, ...]) -> None:
        for node in body:
            if isinstance(node, ast.ClassDef):
                walk(node.body, (*scopes, node.name))
            elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
                for line in range(first, (node.end_lineno or first) + 1):
                    found[line] = ".".join((*scopes, node.name))

    walk(module.tree.body, ())
    return found


def _unmutated(items: list[pytest.Item]) -> dict[str, Any]:
    """Run the tests as they are run for a mutant, but without one: what fails now can't be a judge."""
    durations = {}
    for item, following in _pairs(items):
        begun = time.perf_counter()
        if _passes(item, following):
            durations[item.nodeid] = time.perf_counter() - begun
    names = [name for name in sys.modules if name != "__main__" and not name.startswith("_pytest")]
    return {"passed": durations, "imported": names}


def _quickest(names: list[str], durations: dict[str, float], budget: float) -> list[str]:
    ordered = sorted(names, key=lambda name: durations[name])
    spent = list(accumulate(durations[name] for name in ordered))
    return ordered[: max(1, bisect_right(spent, budget))]


def _functions(modules: Sequence[Module]) -> dict[tuple[str, str], list[types.FunctionType]]:
    """Return the functions of the modules that exist in this process, also those behind decorators."""
    files = {str(tree.ROOT / module.path): module.path for module in modules}
    found: dict[tuple[str, str], list[types.FunctionType]] = {}
    for one in gc.get_objects():
        if isinstance(one, types.FunctionType) and one.__code__.co_filename in files:
            key = (files[one.__code__.co_filename], one.__code__.co_qualname)
            found.setdefault(key, []).append(one)
    return found


def _code(module: Module, mutant: Mutant) -> types.CodeType:
    """Compile the module with the mistake in it and return the code of the function that has it."""
    with module.with_mistake(mutant) as syntax, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        whole = compile(syntax, str(tree.ROOT / module.path), "exec", dont_inherit=True)
    pending = [whole]
    for code in pending:
        if code.co_qualname == mutant.owner:
            return code
        pending += [constant for constant in code.co_consts if isinstance(constant, types.CodeType)]
    raise LookupError(mutant.name)


def _notices(
    touched: list[types.FunctionType], code: types.CodeType, items: list[pytest.Item], durations: dict[str, float]
) -> bool:
    for one in touched:
        one.__code__ = code
    for item, following in _pairs(items):
        _set_alarm(_PATIENCE + _TIMES * durations[item.nodeid])
        if not _passes(item, following):
            return True
    return False


def _pairs(items: Sequence[pytest.Item]) -> Iterator[tuple[pytest.Item, pytest.Item | None]]:
    return zip(items, [*items[1:], None], strict=True)


def _passes(item: pytest.Item, following: pytest.Item | None) -> bool:
    return not any(report.failed for report in runtestprotocol(item, log=False, nextitem=following))


# Mistakes that show while a module is imported


class _Loader(importlib.machinery.SourceFileLoader):
    """Loads one module with a mistake in it."""

    def __init__(self, name: str, path: str, module: Module, mutant: Mutant) -> None:
        super().__init__(name, path)
        self._module, self._mutant = module, mutant

    def get_code(self, fullname: str) -> types.CodeType:
        with self._module.with_mistake(self._mutant) as syntax, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return compile(syntax, self.path, "exec", dont_inherit=True)


class _Finder(importlib.abc.MetaPathFinder):
    def __init__(self, module: Module, mutant: Mutant) -> None:
        self._name = tree.dotted(tree.ROOT / module.path)
        self._path = str(tree.ROOT / module.path)
        self._loader = _Loader(self._name, self._path, module, mutant)

    def find_spec(self, name: str, path: object = None, target: object = None) -> importlib.machinery.ModuleSpec | None:
        if name != self._name:
            return None
        return importlib.util.spec_from_file_location(name, self._path, loader=self._loader)


def _cold(group: Group, module: Module, mutant: Mutant, broken: Sequence[str], slowest: float) -> str:
    def work() -> bool:
        sys.meta_path.insert(0, _Finder(module, mutant))
        _be_silent()
        plugin = _Alarms(_PATIENCE + _TIMES * slowest)
        left_out = [word for name in broken for word in ("--deselect", name)]
        return bool(pytest.main([*_OPTIONS, _PROFILE, *left_out, *group.tests], plugins=[plugin]))

    return _outcome(work)


class _Alarms:
    """Sets the alarm anew for each test."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> None:
        _set_alarm(self._seconds)


def _be_silent() -> None:
    silent = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, 1)
    os.dup2(silent, 2)
    os.close(silent)


def _import_quietly(names: Sequence[str]) -> None:
    """Import what tests need later, once for all children; what can't be imported alone is left to them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in names:
            if name not in sys.modules:
                with suppress(Exception):
                    importlib.import_module(name)
