"""What the chart tells monitoring: whom to scrape and where, the alerts, the dashboard."""

import json
import re
import subprocess

import pytest
import yaml

from tests.conftest import program
from tests.helm.charts import CHART, GATEWAY, SIDECAR, Refused, objects, one, pod_of, proxy_of, text

pytestmark = pytest.mark.needs("helm")

LABELS = {"release": "prometheus"}
ALL = {"monitor": "pod", "labels": LABELS, "rules": True, "dashboard": True}


def ports(found):
    return {each["name"] for each in proxy_of(pod_of(one(found, "Deployment")))["ports"]}


def test_nothing_is_asked_of_an_operator_that_may_not_be_there():
    assert {each["apiVersion"] for each in objects(values=GATEWAY)} & {"monitoring.coreos.com/v1"} == set()


def test_a_pod_monitor_finds_the_sidecars_of_another_chart(shop):
    found = objects(shop, {"iclient-proxy": {"monitoring": ALL}})
    monitor = one(found, "PodMonitor")["spec"]
    template = one(found, "Deployment")["spec"]["template"]

    assert monitor["selector"]["matchLabels"].items() <= template["metadata"]["labels"].items()
    [endpoint] = monitor["podMetricsEndpoints"]
    assert endpoint["port"] in ports(found)
    assert endpoint["path"] == "/metrics"
    assert "namespaceSelector" not in monitor


def test_a_pod_monitor_finds_the_gateway_and_no_other_pod():
    found = objects(values={**GATEWAY, "monitoring": ALL})
    deployment = one(found, "Deployment")

    assert one(found, "PodMonitor")["spec"]["selector"] == deployment["spec"]["selector"]


def test_a_service_monitor_asks_the_gateways_service():
    found = objects(values={**GATEWAY, "monitoring": {**ALL, "monitor": "service"}})
    monitor, service = one(found, "ServiceMonitor"), one(found, "Service")

    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert monitor["spec"]["endpoints"][0]["port"] in {each["name"] for each in service["spec"]["ports"]}


def test_a_sidecar_has_no_service_to_monitor():
    with pytest.raises(Refused, match=r"set monitoring\.monitor: pod"):
        text(CHART, {**SIDECAR, "monitoring": {"monitor": "service"}})


def test_injected_sidecars_are_looked_for_in_every_namespace():
    alone = objects(values={"gateway": {"enabled": False}, "injection": {"enabled": True}, "monitoring": ALL})
    both = objects(values={**GATEWAY, "injection": {"enabled": True}, "monitoring": ALL})

    assert one(alone, "PodMonitor")["spec"]["namespaceSelector"] == {"any": True}
    assert [
        (each["metadata"]["name"], "namespaceSelector" in each["spec"]) for each in both if each["kind"] == "PodMonitor"
    ] == [("shop-iclient-proxy", False), ("shop-iclient-proxy-sidecars", True)]


@pytest.mark.needs("promtool")
def test_prometheus_takes_the_rules_as_the_chart_renders_them(tmp_path):
    rule = one(objects(values={**GATEWAY, "monitoring": ALL}), "PrometheusRule")
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(rule["spec"]))

    checked = subprocess.run(
        [program("promtool"), "check", "rules", "--lint-fatal", tmp_path / "rules.yaml"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert rule["spec"] == yaml.safe_load((CHART / "files" / "alerts.yaml").read_text())
    assert rule["metadata"]["labels"]["release"] == "prometheus"


def test_the_job_is_called_what_the_alerts_call_it():
    found = objects(values={**GATEWAY, "monitoring": ALL})
    [endpoint] = one(found, "PodMonitor")["spec"]["podMetricsEndpoints"]
    [relabeling] = endpoint["relabelings"]
    named = set(re.findall(r'job="([^"]+)"', json.dumps(one(found, "PrometheusRule")["spec"]).replace("\\", "")))

    assert {relabeling["replacement"]} == named


def test_whoever_is_woken_is_led_to_where_the_runbooks_lie():
    values = {**GATEWAY, "monitoring": {**ALL, "runbookUrl": "https://wiki.example.com/proxy/"}}
    rules = one(objects(values=values), "PrometheusRule")["spec"]["groups"][0]["rules"]

    assert all(each["annotations"]["runbook_url"].startswith("https://wiki.example.com/proxy/") for each in rules)


def test_the_dashboard_arrives_whole(shop):
    [config_map] = [
        each for each in objects(shop, {"iclient-proxy": {"monitoring": ALL}})
        if each["kind"] == "ConfigMap" and each["metadata"]["labels"].get("grafana_dashboard") == "1"
    ]  # fmt: skip

    assert json.loads(config_map["data"]["iclient-proxy.json"]) == json.loads(
        (CHART / "files" / "dashboard.json").read_text()
    )
