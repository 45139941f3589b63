"""The patch for workloads that no chart makes: printed by helm, applied by kubectl, taken by Kubernetes."""

import json
import subprocess

import pytest
import yaml

from tests.conftest import program
from tests.helm.charts import CHART, CLASSIC, NEWEST, SIDECAR, Refused, not_restricted, pod_of, proxy_of, text, valid

pytestmark = pytest.mark.needs("helm", "kubectl")

SHOP = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "shop"},
    "spec": {
        "selector": {"matchLabels": {"app": "shop"}},
        "template": {
            "metadata": {"labels": {"app": "shop"}},
            "spec": {
                "initContainers": [{"name": "migrate", "image": "shop:1"}],
                "containers": [{"name": "shop", "image": "shop:1"}],
                "volumes": [{"name": "data", "emptyDir": {}}],
            },
        },
    },
}


def printed(version=NEWEST):
    return text(CHART, {**SIDECAR, "patch": True}, version, "shop", "--show-only", "templates/patch.yaml")


def patched(workload, patch, folder):
    """Return what `kubectl patch --patch-file` makes of the workload."""
    (folder / "workload.json").write_text(json.dumps(workload))
    (folder / "patch.yaml").write_text(patch)
    done = subprocess.run(
        [program("kubectl"), "patch", "--local", "--filename", folder / "workload.json",
         "--patch-file", folder / "patch.yaml", "--output", "json"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return _without_nulls(json.loads(done.stdout))


def _without_nulls(node):
    if isinstance(node, dict):
        return {key: _without_nulls(each) for key, each in node.items() if each is not None}
    return [_without_nulls(each) for each in node] if isinstance(node, list) else node


@pytest.mark.parametrize("version", [CLASSIC[0], NEWEST])
def test_kubectl_adds_the_sidecar_to_what_is_there(tmp_path, version):
    after = patched(SHOP, printed(version), tmp_path)
    pod = pod_of(after)

    valid([after], version)
    native = version == NEWEST
    assert (proxy_of(pod) in pod["initContainers"]) == native
    assert (proxy_of(pod).get("restartPolicy") == "Always") == native
    assert {each["name"] for each in pod["containers"]} >= {"shop"}
    assert {each["name"] for each in pod["initContainers"]} >= {"migrate"}
    assert {each["name"] for each in pod["volumes"]} == {"data", "iclient-proxy"}
    assert after["spec"]["template"]["metadata"]["labels"] == {"app": "shop", "iclient-proxy/sidecar": "true"}
    assert not_restricted({**pod, "containers": [proxy_of(pod)], "initContainers": []}) == []


def test_a_second_patch_changes_nothing(tmp_path):
    once = patched(SHOP, printed(), tmp_path)

    assert patched(once, printed(), tmp_path) == once


def test_it_names_the_config_map_that_the_release_has():
    patch = yaml.safe_load(printed())
    [release] = [each for each in yaml.safe_load_all(text(CHART, SIDECAR)) if each and each["kind"] == "ConfigMap"]

    [volume] = patch["spec"]["template"]["spec"]["volumes"]
    assert volume["projected"]["sources"][0]["configMap"]["name"] == release["metadata"]["name"]


def test_a_gateway_is_no_sidecar():
    with pytest.raises(Refused, match="a patch adds a sidecar"):
        text(CHART, {**SIDECAR, "patch": True, "gateway": {"enabled": True}, "definitions": {
            "listeners": {"reverse": {"bind": "127.0.0.1:7480"}}, **SIDECAR["definitions"]}})  # fmt: skip
