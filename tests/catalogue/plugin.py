"""The plugin that records what each marked test saw, and holds a whole run to the catalogue.

`--record` writes what was seen into `record.json`; `--beside SEED` says in which moments good requests go beside cases.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.catalogue import record
from tests.catalogue.catalogue import catalogue, reason
from tests.support import seen, traffic
from tests.support.process import ROOT

if TYPE_CHECKING:
    from collections.abc import Generator

    from tests.catalogue.record import Record


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("catalogue")
    group.addoption("--record", action="store_true", help="write down what the cases of the catalogue saw")
    group.addoption("--tell", metavar="FILE", help="write there what went beside the cases, as JSON")
    group.addoption("--measure", action="store_true", help="measure how long event loops stand still")
    group.addoption("--only-beside", action="store_true", help="only cases that have good requests beside them")
    group.addoption("--beside", type=int, default=1, metavar="SEED", help="of good requests beside cases; 0: none")


def pytest_configure(config: pytest.Config) -> None:
    traffic.configure(config.getoption("beside"), measure=config.getoption("measure"))
    config.pluginmanager.register(Run(config), "the catalogue's view of this run")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--only-beside"):
        alone = [item for item in items if catalogue().why_alone(item.nodeid)]
        items[:] = [item for item in items if item not in set(alone)]
        config.hook.pytest_deselected(items=alone)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    numbers = sorted({number for marker in item.iter_markers("case") for number in marker.args})
    item.user_properties.append(("cases", numbers))
    known = catalogue()
    without = {invariant for invariant, reasons in known.without.items() if reason(reasons, item.nodeid)}
    seen.begin(item.nodeid, known.why_alone(item.nodeid), without)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, Any, Any]:
    try:
        return (yield)
    finally:
        item.user_properties.append(("seen", seen.now().plain()))


class Run:
    """What has been reported so far: the record, every test that ran, and what went beside the cases."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self.record: Record = {}
        self.ran: set[str] = set()
        self.marked: dict[str, set[str]] = {}
        self.beside: dict[str, int] = dict.fromkeys(traffic.COUNTS, 0)
        self.cases_beside: set[str] = set()
        self.failed: list[str] = []
        self.longest = {"rest": 0.0, "lag": 0.0}
        self.lags: dict[str, float] = {}
        self._passed: dict[str, bool] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take one phase of a test; a test has passed when all of its phases have."""
        self._passed[report.nodeid] = self._passed.get(report.nodeid, True) and report.passed
        if report.when != "teardown":
            return
        told = dict(report.user_properties)
        cases: Any = told.get("cases", ())
        looked: Any = told.get("seen")
        self.ran.add(record.function(report.nodeid))
        for case in cases:
            self.marked.setdefault(case, set()).add(record.function(report.nodeid))
        if looked:
            for name, seconds in self.longest.items():
                self.longest[name] = max(seconds, looked[name])
            if looked["lag"]:
                self.lags[report.nodeid] = looked["lag"]
        if not self._passed.pop(report.nodeid):
            self.failed.append(report.nodeid)
            return
        for case in cases:
            record.add(self.record, case, report.nodeid, looked)
        if looked and looked["beside"]:
            self.cases_beside.update(cases)
            for name, count in looked["beside"].items():
                self.beside[name] += count

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Make a whole run red that leaves a case out; and any run with a mark that can't be."""
        if hasattr(self._config, "workerinput"):
            return
        if self._config.getoption("record"):
            old = record.read()
            there = {test for tests in old.values() for test in tests if _is_there(test)}
            record.write(record.merged(old, self.record, self.ran, there))
        if told := self._config.getoption("tell"):
            content = {
                "cases": sorted(self.cases_beside), "beside": self.beside, "failed": self.failed, "lags": self.lags,
                **self.longest,
            }  # fmt: skip
            Path(told).write_text(json.dumps(content), encoding="utf-8")
        if self.faults() and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        faults = self.faults()
        if not self.record and not faults:
            return
        tests = {test for row in self.record.values() for test in row}
        terminalreporter.section("catalogue of bad inputs and faults")
        terminalreporter.write_line(f"{len(self.record)} of {len(catalogue().live)} cases, shown by {len(tests)} tests")
        if self.cases_beside:
            counts = ", ".join(f"{name} {count}" for name, count in self.beside.items())
            terminalreporter.write_line(f"{len(self.cases_beside)} of them beside good traffic: {counts}")
        for fault in faults:
            terminalreporter.write_line(f"ERROR {fault}", red=True)

    def faults(self) -> list[str]:
        """Return what of this run is at odds with the catalogue."""
        known = catalogue()
        found = [
            f"{case}, marked at {', '.join(sorted(self.marked[case]))}: {why}"
            for case, why in known.odd(self.marked).items()
        ]
        if self.is_whole():
            left_out = (case for case in known.live if case not in self.record)
            found += [f"{case} has no test that passed: {known.sentences[case]}" for case in left_out]
        return found

    def is_whole(self) -> bool:
        """Whether nothing was left out and nothing selected, but perhaps what is marked."""
        option = self._config.option
        selected = option.keyword or option.markexpr not in ("", "case") or option.deselect or option.ignore
        everything = self._config.args_source is pytest.Config.ArgsSource.TESTPATHS
        return os.environ.get("CI_REQUIRE_ALL") == "1" and everything and not selected and not option.collectonly


def _is_there(test: str) -> bool:
    """Whether a test that is not part of this run still exists."""
    place, _, name = test.partition("::")
    file = ROOT / place
    return file.exists() and re.search(rf"\b{name.rpartition('::')[2]}\b", file.read_text(encoding="utf-8")) is not None
