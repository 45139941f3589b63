import pytest

from proxy.admin.ports import Event
from proxy.admin.status import ConnectionStatus
from proxy.admin.view import Concern, away, groups, happenings, row
from proxy.tokens.states import State
from tests.support.running import NOW


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "now"), (0.9, "now"), (-0.9, "now"), (1, "in 1 s"), (59.9, "in 59 s"), (60, "in 1 min"),
        (61, "in 1 min 1 s"), (599, "in 9 min 59 s"), (659, "in 10 min"), (3600, "in 1 h"), (3661, "in 1 h 1 min"),
        (86400 * 3 + 3600 * 2 + 60, "in 3 d 2 h"), (86400 + 59, "in 1 d"), (-61, "1 min ago"), (-7260, "2 h ago"),
    ],
)  # fmt: skip
def test_a_distance_in_time_is_as_exact_as_a_glance(seconds, words):
    assert away(seconds) == words


@pytest.mark.parametrize("state", list(State))
def test_every_state_has_its_words(state):
    shown = row(ConnectionStatus("crm", state=state.value), NOW)

    assert shown.meaning
    assert shown.tone in {"good", "wait", "warn", "bad", "none"}
    assert shown.has_token is (state is not State.NOT_APPLICABLE)


def test_what_needs_someone_comes_first_and_order_is_kept_otherwise():
    names = {"a": "valid", "b": "braked", "c": "backoff", "d": "due", "e": "authorization_required"}

    found = groups([ConnectionStatus(name, state=state) for name, state in names.items()], NOW)

    assert [(concern, [each.name for each in rows]) for concern, rows in found] == [
        (Concern.SOMEONE, ["b", "e"]),
        (Concern.MENDING, ["c"]),
        (Concern.WORKING, ["a", "d"]),
    ]
    assert [concern.counted(len(rows)) for concern, rows in found] == ["2 need someone", "1 in trouble", "2 working"]
    assert Concern.SOMEONE.counted(1) == "1 needs someone"


def test_the_newest_events_of_all_connections_are_shown():
    events = [("crm", [Event(NOW - 1, "renewed"), Event(NOW - 3, "failed")]), ("erp", [Event(NOW - 2, "renewed")])]

    shown = happenings(events, NOW, 2)

    assert [(each.connection, each.when.away) for each in shown] == [("crm", "1 s ago"), ("erp", "2 s ago")]
