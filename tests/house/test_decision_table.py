"""The page on auth errors shows the decision as the policy makes it."""

from itertools import product

from proxy.definitions.settings import Limits
from proxy.exchange.codings import CODINGS_MAX, RATIO_MAX
from proxy.exchange.document import DEPTH_MAX
from proxy.exchange.policy import Next, decide, decision_table
from proxy.exchange.record import REPLAY_OUTCOMES
from proxy.exchange.xml_document import ELEMENTS_MAX
from tests.house import tree

PAGE = (tree.ROOT / "docs" / "auth-errors.md").read_text(encoding="utf-8")


def test_the_table_on_the_page_is_the_policy_itself():
    assert decision_table() in PAGE, (
        "python -c 'from proxy.exchange.policy import decision_table; print(decision_table())'"
    )


def test_every_way_on_is_a_row_of_the_table():
    rows = decision_table().splitlines()[2:]

    assert len(rows) == len(Next)
    assert all(any(way.value in row for row in rows) for way in Next)


def test_only_a_first_refusal_of_a_request_at_hand_is_replayed():
    replayed = [
        inputs
        for inputs in product((False, True), (1, 2), (False, True), (False, True))
        if decide(is_auth_error=inputs[0], attempt=inputs[1], renews=inputs[2], replayable=inputs[3]) is Next.REPLAY
    ]

    assert replayed == [(True, 1, True, True)]


def test_every_outcome_is_one_of_the_metric():
    assert {way.outcome for way in Next} - {None} <= set(REPLAY_OUTCOMES)


def test_the_page_names_the_bounds_as_they_are():
    limits = Limits()

    assert f"`limits.inspect_raw` ({limits.inspect_raw // 1024} KiB" in PAGE
    assert f"`limits.inspect_decoded` ({limits.inspect_decoded // 1024} KiB)" in PAGE
    assert f"`limits.inspect_hold` ({limits.inspect_hold:g} s)" in PAGE
    assert f"more than {DEPTH_MAX} levels or {ELEMENTS_MAX} elements" in PAGE
    assert (CODINGS_MAX, RATIO_MAX) == (4, 100)
