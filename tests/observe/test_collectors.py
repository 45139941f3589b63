import shutil
import subprocess
from dataclasses import dataclass, field

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_plain

from proxy.exchange.record import BUCKETS, ConnectionCounters, ProcessCounters
from proxy.histogram import Histogram
from proxy.observe.collectors import LastReload, Metrics, Watched, wants_openmetrics
from proxy.problem import PROBLEMS
from proxy.wire.heads import FORM

OPEN = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.2"
BEGAN = 1767323000.25


@dataclass
class Token:
    state: str = "valid"
    expires_at: float | None = 1767323045.5
    skew: float = 0.0


@dataclass
class Requests:
    outcomes: dict = field(default_factory=dict)
    duration: Histogram = field(default_factory=lambda: Histogram(BUCKETS))


def crm(**changes):
    values = {
        "counters": ConnectionCounters("crm"),
        "rules": ("status-401", 'odd "rule"\\\n'),
        "grants": ("client_credentials", "refresh_token"),
        "token": Token,
        "requests": Requests(),
    }
    return Watched(**(values | changes))


async def text_of(watched, *, accept="", process=None, last=None, available=None):
    last = last or LastReload(BEGAN)
    metrics = Metrics(process or ProcessCounters(), lambda: watched, "0.1.0", last, lambda: available)
    scrape = await metrics.scrape(accept)
    return scrape.content_type, b"".join(scrape.pieces).decode()


async def samples_of(watched, **how):
    content_type, text = await text_of(watched, **how)
    parse = parse_openmetrics if content_type.startswith("application/openmetrics") else parse_plain
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in parse(text)
        for sample in family.samples
    }


def value(samples, name, **labels):
    return samples[f"iclient_proxy_{name}", tuple(sorted(labels.items()))]


BOTH = pytest.mark.parametrize("accept", ["", OPEN])


@BOTH
async def test_known_series_stand_at_zero_before_anything_happened(accept):
    samples = await samples_of([Watched(ConnectionCounters("-")), crm()], accept=accept)

    assert value(samples, "auth_errors_total", connection="crm", rule="status-401") == 0
    assert value(samples, "auth_errors_total", connection="crm", rule='odd "rule"\\\n') == 0
    assert value(samples, "replays_total", connection="crm", outcome="accepted") == 0
    assert value(samples, "token_requests_total", connection="crm", grant="refresh_token", outcome="rate_limited") == 0
    assert value(samples, "request_duration_seconds_count", connection="-") == 0
    assert value(samples, "in_flight_requests") == 0
    assert value(samples, "tunnels_open") == 0
    assert value(samples, "slow_clients_closed_total") == 0
    assert {name for (name, _) in samples if "token_re" in name} == {
        "iclient_proxy_token_requests_total",
        "iclient_proxy_token_request_duration_seconds_bucket",
        "iclient_proxy_token_request_duration_seconds_count",
        "iclient_proxy_token_request_duration_seconds_sum",
    }
    for code in PROBLEMS:
        assert value(samples, "local_replies_total", code=code) == 0


@BOTH
async def test_what_was_counted_is_what_is_shown(accept):
    counters = ConnectionCounters("crm", requests={200: 7, 499: 1}, auth_errors={"status-401": 3})
    counters.replays["accepted"] = 2
    for seconds in (0.001, 0.0011, 99.0):
        counters.duration.observe(seconds)
    requests = Requests({("client_credentials", "ok"): 4})
    requests.duration.observe(0.2)
    process = ProcessCounters(in_flight=5, tunnels_open=1, local_replies={"no_route": 9}, slow_clients_closed=2)
    process.overhead.observe(0.0002)

    samples = await samples_of([crm(counters=counters, requests=requests)], accept=accept, process=process)

    assert value(samples, "requests_total", connection="crm", code="200") == 7
    assert value(samples, "requests_total", connection="crm", code="499") == 1
    assert value(samples, "auth_errors_total", connection="crm", rule="status-401") == 3
    assert value(samples, "replays_total", connection="crm", outcome="accepted") == 2
    assert value(samples, "request_duration_seconds_bucket", connection="crm", le="0.001") == 1
    assert value(samples, "request_duration_seconds_bucket", connection="crm", le="0.0025") == 2
    assert value(samples, "request_duration_seconds_bucket", connection="crm", le="30.0") == 2
    assert value(samples, "request_duration_seconds_bucket", connection="crm", le="+Inf") == 3
    assert value(samples, "request_duration_seconds_count", connection="crm") == 3
    assert value(samples, "request_duration_seconds_sum", connection="crm") == pytest.approx(99.0021)
    assert value(samples, "token_requests_total", connection="crm", grant="client_credentials", outcome="ok") == 4
    assert value(samples, "token_request_duration_seconds_count", connection="crm") == 1
    assert value(samples, "token_expiry_timestamp_seconds", connection="crm") == 1767323045.5
    assert value(samples, "overhead_seconds_bucket", le="0.00025") == 1
    assert value(samples, "in_flight_requests") == 5
    assert value(samples, "tunnels_open") == 1
    assert value(samples, "local_replies_total", code="no_route") == 9
    assert value(samples, "slow_clients_closed_total") == 2


@BOTH
async def test_exactly_one_state_is_one_and_a_connection_without_token_says_so(accept):
    none = Watched(ConnectionCounters("plain"))
    samples = await samples_of(
        [Watched(ConnectionCounters("-")), crm(token=lambda: Token("due", None)), none], accept=accept
    )

    states = {labels: value for (name, labels), value in samples.items() if name == "iclient_proxy_token_state"}
    assert len(states) == 20
    assert {labels for labels, value in states.items() if value} == {
        (("connection", "crm"), ("state", "due")),
        (("connection", "plain"), ("state", "not_applicable")),
    }
    assert not [labels for (name, labels) in samples if name == "iclient_proxy_token_expiry_timestamp_seconds"]


@BOTH
@pytest.mark.case("T-401")
async def test_the_end_of_each_client_certificate_is_there_by_who_is_shown_it(accept):
    plain = Watched(ConnectionCounters("plain"), certificates=(("upstream", 1767323046.0),))
    both = crm(certificates=(("authorization_server", 1767323045.5), ("upstream", 1767323047.0)))
    samples = await samples_of([Watched(ConnectionCounters("-")), both, plain], accept=accept)

    name = "client_certificate_expiry_timestamp_seconds"
    assert value(samples, name, connection="crm", peer="authorization_server") == 1767323045.5
    assert value(samples, name, connection="crm", peer="upstream") == 1767323047.0
    assert value(samples, name, connection="plain", peer="upstream") == 1767323046.0
    assert len([labels for found, labels in samples if found == f"iclient_proxy_{name}"]) == 3


@BOTH
async def test_versions_and_the_process_itself_are_there(accept):
    samples = await samples_of([], accept=accept)

    [build] = [dict(labels) for (name, labels) in samples if name == "iclient_proxy_build_info"]
    assert build["version"] == "0.1.0"
    assert build["form"] == FORM
    names = {name for name, _ in samples}
    assert {"process_cpu_seconds_total", "process_resident_memory_bytes", "process_open_fds"} <= names
    assert "python_gc_collections_total" in names


@pytest.mark.parametrize(
    ("accept", "openmetrics"),
    [
        ("", False),
        ("*/*", False),
        ("text/plain", False),
        ("text/plain;version=0.0.4;q=0.5,*/*;q=0.1", False),
        ("application/openmetrics-text", True),
        ("application/openmetrics-text; version=1.0.0", True),
        (OPEN, True),
        ("application/openmetrics-text;version=1.0.0;q=0.2,text/plain;q=0.5", False),
        ("application/openmetrics-text;version=2.0.0", False),
        ("application/openmetrics-text;q=0", False),
        ("application/openmetrics-text;q=much", False),
        ("application/vnd.google.protobuf;encoding=delimited;q=0.6," + OPEN, True),
    ],
)
async def test_the_format_is_the_one_a_scraper_prefers(accept, openmetrics):
    content_type, text = await text_of([crm()], accept=accept)

    assert wants_openmetrics(accept) is openmetrics
    assert content_type == (
        "application/openmetrics-text; version=1.0.0; charset=utf-8"
        if openmetrics
        else "text/plain; version=0.0.4; charset=utf-8"
    )
    assert text.endswith("# EOF\n") is openmetrics
    assert text.count("# EOF") == openmetrics


@BOTH
async def test_the_last_reload_is_the_start_until_there_is_one(accept):
    began = await samples_of([], accept=accept)
    rejected = await samples_of([], accept=accept, last=LastReload(BEGAN, successful=False))

    assert value(began, "config_last_reload_successful") == 1
    assert value(began, "config_last_reload_success_timestamp_seconds") == BEGAN
    assert value(rejected, "config_last_reload_successful") == 0
    assert value(rejected, "config_last_reload_success_timestamp_seconds") == BEGAN


async def test_what_is_counted_with_others_is_counted_before_it_is_read():
    process = ProcessCounters()

    def count():
        process.in_flight = 7

    metrics = Metrics(process, list, "0.1.0", LastReload(BEGAN), count=count)
    scrape = await metrics.scrape("")

    assert b"\niclient_proxy_in_flight_requests 7\n" in b"".join(scrape.pieces)


@pytest.mark.case("A-358")
async def test_a_scrape_of_a_thousand_connections_comes_in_small_pieces():
    watched = [crm(counters=ConnectionCounters(f"connection-{number}")) for number in range(1000)]
    scrape = await Metrics(ProcessCounters(), lambda: watched, "0.1.0", LastReload(BEGAN)).scrape("")

    sizes = [len(piece) for piece in scrape.pieces]

    assert sum(sizes) > 5_000_000
    assert max(sizes) < 100_000


@pytest.mark.needs("promtool")
async def test_promtool_finds_nothing():
    _, text = await text_of([Watched(ConnectionCounters("-")), crm(counters=ConnectionCounters("crm", {200: 1}))])

    checked = subprocess.run(  # noqa: ASYNC221  # nothing else runs on this loop
        [shutil.which("promtool"), "check", "metrics"], input=text, capture_output=True, text=True, check=False
    )

    assert (checked.stdout, checked.stderr, checked.returncode) == ("", "", 0)


@BOTH
async def test_a_store_tells_what_it_could_not_do_whether_it_is_there_and_which_grant_is_at_risk(accept):
    process = ProcessCounters(store_errors={"load": 0, "save": 3})
    watched = [crm(at_risk=lambda: True), crm(counters=ConnectionCounters("erp"), at_risk=lambda: False)]

    for available in (False, True):
        samples = await samples_of(watched, accept=accept, process=process, available=available)
        assert value(samples, "store_available") == int(available)
        assert value(samples, "store_errors_total", operation="load") == 0
        assert value(samples, "store_errors_total", operation="save") == 3
        assert value(samples, "grant_at_risk", connection="crm") == 1
        assert value(samples, "grant_at_risk", connection="erp") == 0


@BOTH
async def test_where_there_is_no_server_of_the_grants_it_is_neither_there_nor_away(accept):
    _, text = await text_of([crm()], accept=accept)

    assert "store_available" not in text
