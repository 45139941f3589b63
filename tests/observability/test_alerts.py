"""The alerts: Prometheus takes them, they fire when they should, and each has a page that says what to do."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest
import yaml

from tests.conftest import program
from tests.support.process import ROOT

RULES = ROOT / "helm" / "iclient-proxy" / "files" / "alerts.yaml"
STORIES = Path(__file__).with_name("alerts.test.yaml")
RUNBOOKS = ROOT / "docs" / "runbooks"


def alerts():
    """Return every rule."""
    return [rule for group in yaml.load(RULES.read_text(), yaml.CSafeLoader)["groups"] for rule in group["rules"]]


async def promtool(*words: str) -> tuple[int | None, str]:
    running = await asyncio.create_subprocess_exec(
        program("promtool") or "promtool", *words, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    said, _ = await running.communicate()
    return running.returncode, said.decode()


@pytest.mark.needs("promtool")
async def test_prometheus_takes_the_rules():
    status, said = await promtool("check", "rules", "--lint=all", "--lint-fatal", str(RULES))

    assert (status, f"{len(alerts())} rules found" in said) == (0, True), said


@pytest.mark.needs("promtool")
async def test_each_alert_fires_when_it_should_and_only_then():
    status, said = await promtool("test", "rules", str(STORIES))

    assert status == 0, said


def test_each_alert_has_a_story_in_which_it_fires_and_one_moment_of_silence():
    told = yaml.load(STORIES.read_text(), yaml.CSafeLoader)["tests"]
    moments = [moment for story in told for moment in story.get("alert_rule_test", ())]
    fired = {moment["alertname"] for moment in moments if moment["exp_alerts"]}

    assert fired == {rule["alert"] for rule in alerts()}


def test_each_alert_says_what_to_do():
    for rule in alerts():
        page = ROOT / rule["annotations"]["runbook_url"]
        assert rule["alert"] in page.read_text(encoding="utf-8"), rule["alert"]
        assert rule["labels"]["severity"] in {"critical", "warning"}
        assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}


def test_no_runbook_is_about_an_alert_that_is_not_there():
    names = {rule["alert"] for rule in alerts()}
    for page in RUNBOOKS.glob("*.md"):
        assert set(re.findall(r"IclientProxy\w+", page.read_text(encoding="utf-8"))) <= names, page.name


def test_alerts_ask_only_for_metrics_that_there_are():
    page = (ROOT / "docs" / "reference" / "metrics.md").read_text(encoding="utf-8")
    there = set(re.findall(r"`(iclient_proxy_\w+)`", page))
    asked = set(re.findall(r"iclient_proxy_\w+", RULES.read_text(encoding="utf-8")))

    assert asked <= there
