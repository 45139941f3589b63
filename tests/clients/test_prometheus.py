"""examples/prometheus, run by the real Prometheus: the target sees who scrapes it, and counts the tokens."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest

from proxy.definitions.load import load
from tests.clients.api import Api
from tests.clients.stage import ClientStage
from tests.conftest import program
from tests.support.deadline import eventually
from tests.support.process import ROOT
from tests.support.prometheus import prometheus, value

pytestmark = pytest.mark.asyncio(loop_scope="module")

URLS = {"orders": "https://api.example.com"}
EXAMPLE = ROOT / "examples" / "prometheus"


def configuration(stage: ClientStage) -> str:
    """The example's, where only the ports and the interval are others."""
    text = (EXAMPLE / "prometheus.yml").read_text()
    changes = {
        "127.0.0.1:3128": f"127.0.0.1:{stage.port}",
        "127.0.0.1:7489": "{}:{}".format(*stage.process.admin),
        "scrape_interval: 15s": "scrape_interval: 1s",
    }
    for written, here in changes.items():
        assert text.count(written) == 1
        text = text.replace(written, here)
    return text


@pytest.mark.needs("prometheus")
async def test_a_protected_target_is_scraped_and_a_revoked_token_costs_no_scrape(
    api: Api, stage: ClientStage, tmp_path: Path
):
    async with prometheus(tmp_path, configuration(stage)) as port:

        async def holds(query: str, wanted: str) -> bool:
            return await value(port, query) == wanted

        await eventually("a first scrape", lambda: holds("orders_open", "1"))
        api.refused.add("canary-token-orders-1")
        seen = len(api.tokens)
        await eventually("scrapes after that", lambda: len(api.tokens) > seen + 2)
        await eventually("the proxy's own metrics", lambda: holds('up{job="iclient-proxy"}', "1"))
        ups = await value(port, 'min_over_time(up{job="orders"}[1h])')
        shown = (tmp_path / "log").read_text()

    tokens = api.tokens[seen:]
    assert ups == "1", shown
    assert set(api.tokens) == {"canary-token-orders-1", "canary-token-orders-2"}
    assert tokens.count("canary-token-orders-1") == 1  # refused, and the same scrape came again with the next one
    assert stage.tokens.asked["orders"] == 2


@pytest.mark.needs("promtool")
async def test_the_example_is_what_prometheus_and_the_proxy_take(tmp_path: Path):
    checked = await asyncio.create_subprocess_exec(
        program("promtool") or "promtool", "check", "config", str(EXAMPLE / "prometheus.yml"),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    said, _ = await checked.communicate()
    loaded = load([EXAMPLE / "iclient-proxy.yaml"], {"CLIENT_SECRET": "canary-secret"})
    page = (ROOT / "docs" / "guides" / "prometheus.md").read_text()
    [shown] = re.findall(r"^```yaml\n(.*?)^```", page, re.MULTILINE | re.DOTALL)

    assert checked.returncode == 0, said
    assert loaded.warnings == ()
    assert [line.partition("#")[0].rstrip() for line in shown.splitlines()[1:]] == [
        line.partition("#")[0].rstrip() for line in (EXAMPLE / "prometheus.yml").read_text().splitlines()[4:10]
    ]
