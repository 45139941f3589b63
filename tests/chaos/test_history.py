"""The judge of histories: what it lets pass and what it does not."""

import pytest

from tests.chaos.history import Happened, Kind, judge

WORDS = {"i": Kind.ISSUED, "u": Kind.USED, "c": Kind.COMMITTED, "a": Kind.ANSWERED, "r": Kind.REFUSED}


def history(text):
    """Read `u0 c0 a0`: kinds and generations, all of one family."""
    return [Happened(WORDS[word[0]], "f", int(word[1:])) for word in text.split()]


@pytest.mark.parametrize(
    ("text", "destroyed"),
    [
        ("i0 u0 c0 a0 u1 c1 a1", []),
        ("i0 u0 u0 c0 a0", []),  # the server forgot the first
        ("i0 u0 c0 u0 c0 a0 u1", [0]),  # it forgives
        ("i0 u0 c0 a0 u1 c1 u1 r1", [1]),
    ],
)
def test_what_an_answer_that_was_destroyed_explains_is_no_fault(text, destroyed):
    assert judge(history(text), {("f", each) for each in destroyed}).faults == ()


@pytest.mark.parametrize(
    ("text", "destroyed", "fault"),
    [
        ("i0 u0 c0 a0 u0 r0", [], "0 was used again although its answer had come"),
        ("i0 u0 u0 u0 c0 a0", [0], "0 was used 3 times"),
        ("i0 u0 c0 a0 u1 c1 a1 u0", [0], "0 was used after 1"),
        ("i0 u0 r0", [0], "the grant was lost with 0, whose answer had come"),
        ("i0 u0 c0 u0 r0 u0", [0], "0 was used after it was refused"),
    ],
)
def test_what_may_not_happen_is_told(text, destroyed, fault):
    assert f"f: {fault}" in judge(history(text), {("f", each) for each in destroyed}).faults


def test_a_verdict_counts():
    verdict = judge(history("i0 u0 c0 u0 c0 a0 u1 c1 u1 r1"), {("f", 0), ("f", 1)})

    assert (verdict.uses, verdict.repeated, verdict.lost) == (4, 2, 1)
