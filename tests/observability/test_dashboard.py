"""The Grafana dashboard against a real Prometheus that scrapes the real proxy: no panel asks for what nobody says."""

from __future__ import annotations

import datetime as dt
import json
import re
from typing import TYPE_CHECKING

import pytest
import trustme

from pages import dashboard
from tests.chaos.kills import KEY
from tests.support.deadline import eventually
from tests.support.process import ROOT
from tests.support.prometheus import prometheus, query
from tests.support.redis_server import redis_server
from tests.support.scripts import OK_BODY
from tests.support.stage import Stage

if TYPE_CHECKING:
    from pathlib import Path

FILE = ROOT / "helm" / "iclient-proxy" / "files" / "dashboard.json"
CONFIGURATION = """\
global: {{scrape_interval: 200ms, scrape_timeout: 200ms}}
scrape_configs:
  - job_name: iclient-proxy
    static_configs: [{{targets: ["{}:{}"]}}]
"""


def expressions() -> list[str]:
    """Every query of the dashboard, with all that its variables can choose."""
    panels = json.loads(FILE.read_text())["panels"]
    found = [target["expr"] for panel in panels for target in panel.get("targets", ())]
    return [re.sub(r"\$(job|instance|connection)\b", ".*", each).replace("$__rate_interval", "5s") for each in found]


def test_the_dashboard_is_the_one_that_is_made():
    assert FILE.read_text() == dashboard.page(), "make reference"


def test_every_metric_of_the_proxy_is_on_the_dashboard():
    """What has no panel: the version, and a moment that says less than whether the reload succeeded."""
    page = (ROOT / "docs" / "reference" / "metrics.md").read_text()
    metrics = set(re.findall(r"^\| `(iclient_proxy_\w+)`", page, re.MULTILINE))
    without = {"iclient_proxy_build_info", "iclient_proxy_config_last_reload_success_timestamp_seconds"}
    shown = " ".join(expressions())

    assert {name for name in metrics if name not in shown} == without


@pytest.mark.needs("prometheus", "redis-server")
async def test_every_query_of_the_dashboard_finds_series(tmp_path: Path):
    authority = trustme.CA()
    ours = authority.issue_cert("client.example", not_after=dt.datetime.now(dt.UTC) + dt.timedelta(days=90))
    for name, blob in (("cert.pem", ours.cert_chain_pems[0]), ("key.pem", ours.private_key_pem)):
        blob.write_to_path(str(tmp_path / name))
        (tmp_path / name).chmod(0o600)
    async with redis_server() as redis:
        stage = Stage(
            {"crm": {"tls": {"client_cert": "cert.pem", "client_key": "key.pem"}}},
            {"workers": 2, "store": {"kind": "redis", "url": redis.url, "key": KEY}, "allow_inline_secrets": True},
        )
        await stage.start(tmp_path)
        try:
            case = await stage.case("crm")
            case.upstream.refused_tokens.add(case.token())
            async with prometheus(tmp_path, CONFIGURATION.format(*stage.process.admin)) as port:
                wanted = expressions()

                async def nothing_is_missing() -> bool:
                    answered = await case.ask(case.request())  # rates need a request between two scrapes
                    refused = await case.ask(case.request(target=b"/ /"))
                    assert (answered.status, answered.body, refused.status) == (200, OK_BODY, 400)
                    missing[:] = [each for each in wanted if not await query(port, each)]
                    return not missing

                missing: list[str] = []
                try:
                    await eventually("a series for every query", nothing_is_missing)
                except AssertionError:
                    assert missing == []
                    raise
            await case.close()
        finally:
            await stage.close()
    assert len(wanted) > 20
