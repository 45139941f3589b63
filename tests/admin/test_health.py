import pytest

from proxy.admin.health import Health
from proxy.admin.status import ConnectionStatus


def health(*statuses, opened=True):
    rows = list(statuses)
    made = Health(lambda: rows)
    if opened:
        made.opened()
    return made, rows


REQUIRED = ConnectionStatus("crm", state="none", required=True, prefetch=True)
GOT_IT = ConnectionStatus("crm", state="valid", required=True, prefetch=True, last_renewal_at=1.0)
FAILED = ConnectionStatus("crm", state="backoff", required=True, prefetch=True, last_error="transport")


@pytest.mark.case("A-357")
def test_before_its_listeners_are_open_the_proxy_is_neither_started_nor_ready():
    made, _ = health(opened=False)

    assert (made.started, made.ready) == (False, False)
    made.opened()
    assert (made.started, made.ready) == (True, True)


@pytest.mark.case("A-357")
def test_it_is_ready_once_each_required_connection_has_had_a_token():
    made, rows = health(REQUIRED, ConnectionStatus("other", state="none"))
    assert not made.ready

    rows[0] = FAILED
    assert not made.ready
    rows[0] = GOT_IT
    assert made.ready


@pytest.mark.case("A-357")
def test_it_stays_ready_when_a_token_is_lost_later():
    made, rows = health(GOT_IT)
    assert made.ready

    rows[0] = REQUIRED
    assert made.ready


@pytest.mark.case("R-381")
def test_a_required_store_is_waited_for_once():
    answered = [False]
    made = Health(lambda: [GOT_IT], lambda: answered[0])
    made.opened()
    assert not made.ready
    assert made.report() == "listeners open\nstore (awaited)\ncrm valid\n"

    answered[0] = True
    assert made.ready
    answered[0] = False
    assert made.ready
    assert "store" not in made.report()


@pytest.mark.case("A-357")
def test_it_is_not_ready_while_it_drains():
    made, _ = health()
    assert made.ready

    made.drain()
    assert not made.ready
    assert made.started


def test_it_is_started_once_each_prefetch_was_attempted_whatever_came_of_it():
    made, rows = health(REQUIRED, ConnectionStatus("lazy", state="none"), ConnectionStatus("plain", prefetch=True))
    assert not made.started

    rows[0] = FAILED
    assert made.started
    assert not made.ready


def test_a_connection_without_token_is_never_waited_for():
    made, _ = health(ConnectionStatus("plain", required=True, prefetch=True))

    assert (made.ready, made.started) == (True, True)


def test_the_report_names_every_connection_and_what_is_awaited():
    made, rows = health(REQUIRED, ConnectionStatus("plain"), opened=False)
    assert made.report() == "listeners not open\ncrm none (awaited)\nplain not_applicable\n"

    made.opened()
    rows[0] = GOT_IT
    assert made.ready
    assert made.report() == "listeners open\ncrm valid\nplain not_applicable\n"
    made.drain()
    assert made.report().startswith("draining\n")
