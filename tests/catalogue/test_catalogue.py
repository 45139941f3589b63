"""The catalogue names every case once, its record is of the tests that there are, a run that leaves one out is red."""

import re

import pytest

from tests.catalogue import record
from tests.catalogue.catalogue import catalogue
from tests.catalogue.plugin import Run
from tests.house import tree

NUMBER = re.compile(r'"([A-Z]-\d+)"')
MARK = re.compile(r"\bcase\(([^()]*)\)")
SEEN = {
    "U": 1,
    "T": 0,
    "answers": ["200"],
    "faults": [],
    "exits": [],
    "beside": {"good requests": 3},
    "rest": 0,
    "lag": 0,
}


def marked():
    """Return which file bears which numbers, as it stands in the source."""
    found = set()
    for path in tree.files(".py", under="tests"):
        if path.name.startswith("test_") and path.parent.name != "catalogue":
            text = path.read_text(encoding="utf-8")
            found |= {(tree.name(path), number) for mark in MARK.findall(text) for number in NUMBER.findall(mark)}
    return found


def test_each_of_the_393_cases_has_a_sentence_of_its_own():
    said = catalogue().sentences

    assert len(said) == len(set(said.values())) == 393
    assert [number for number, sentence in said.items() if not sentence.endswith(".")] == []


def test_what_is_struck_mended_or_alone_is_there():
    known = catalogue()
    reasons = (known.alone, *known.without.values())
    tests = [name.partition("::") for names in reasons for name in names]

    assert known.struck.keys() | known.mended.keys() <= known.sentences.keys()
    assert [place for place, _, name in tests if not (tree.ROOT / place).exists()] == []
    assert [name for place, _, name in tests if name and name not in (tree.ROOT / place).read_text()] == []


def test_no_test_is_marked_with_a_number_that_is_struck_or_unknown():
    assert catalogue().odd({number for _, number in marked()}) == {}


def test_the_record_is_of_the_marks_that_there_are():
    recorded = {(test.partition("::")[0], case) for case, tests in record.read().items() for test in tests}

    stale = sorted({place for place, _ in recorded ^ marked()})
    assert stale == [], f"make record PYTEST='{' '.join(stale)}'"


def test_the_record_names_no_test_that_is_gone():
    tests = {test.partition("::") for tests in record.read().values() for test in tests}
    texts = {place: (tree.ROOT / place).read_text(encoding="utf-8") for place, _, _ in tests}

    gone = [name for place, _, name in tests if not re.search(rf"\b{name.rpartition('::')[2]}\b", texts[place])]
    assert gone == []


@pytest.fixture
def run(request):
    return Run(request.config)


def reported(run, cases, *outcomes, test="tests/test_x.py::test_y[1]", seen=SEEN):
    for when, outcome in zip(("setup", "call", "teardown"), outcomes, strict=True):
        told = [("cases", cases)] + ([("seen", seen)] if when == "teardown" else [])
        run.pytest_runtest_logreport(
            pytest.TestReport(test, ("x", 1, "y"), {}, outcome, None, when, user_properties=told)
        )


def test_what_a_passed_test_saw_is_recorded_for_each_of_its_cases(run):
    reported(run, ["D-101", "D-102"], "passed", "passed", "passed")
    reported(run, ["D-101"], "passed", "passed", "passed", test="tests/test_x.py::test_y[2]", seen={**SEEN, "U": 0})

    assert run.record["D-101"] == {"tests/test_x.py::test_y": {"U": [0, 1], "T": [0, 0], "answers": ["200"]}}
    assert run.record["D-102"] == {"tests/test_x.py::test_y": {"U": [1, 1], "T": [0, 0], "answers": ["200"]}}
    assert run.beside["good requests"] == 6


@pytest.mark.parametrize("outcomes", [("passed", "failed", "passed"), ("passed", "passed", "failed")])
def test_a_test_that_fails_in_any_phase_shows_nothing(run, outcomes):
    reported(run, ["D-101"], *outcomes)

    assert run.record == {}


def test_a_mark_of_a_struck_or_unknown_case_is_an_error_of_the_run(run, monkeypatch):
    monkeypatch.setattr(run, "is_whole", lambda: False)
    reported(run, ["L-300", "D-999", "D-101"], "passed", "passed", "passed")

    assert [fault.partition(",")[0] for fault in run.faults()] == ["L-300", "D-999"]


def test_a_whole_run_is_red_for_each_case_that_no_test_showed(run, monkeypatch):
    monkeypatch.setattr(run, "is_whole", lambda: True)
    shown = [case for case in catalogue().live if case not in ("D-101", "S-301")]
    reported(run, shown, "passed", "passed", "passed")

    assert [fault.partition(" ")[0] for fault in run.faults()] == ["D-101", "S-301"]


def test_of_an_older_record_stays_what_did_not_run_and_is_there():
    old = {"D-101": {"a::x": {}, "b::y": {}, "c::gone": {}}}
    new = {"D-102": {"a::x": {"U": [1, 1]}}}

    assert record.merged(old, new, ran={"a::x"}, there={"a::x", "b::y"}) == {
        "D-101": {"b::y": {}},
        "D-102": {"a::x": {"U": [1, 1]}},
    }
