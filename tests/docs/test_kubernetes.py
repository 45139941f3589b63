"""The manifests of the guide: they parse, their definitions load, and their names, ports and paths fit together."""

import pytest
import yaml

from proxy.admin.access import OPEN_TO_ALL
from proxy.definitions.load import load
from tests.docs.page import DOCS, blocks

BLOCKS = blocks(DOCS / "guides" / "kubernetes.md", "yaml")
OBJECTS = {each["kind"]: each for block in BLOCKS for each in yaml.safe_load_all(block.text)}
PODS = {kind: OBJECTS[kind]["spec"]["template"]["spec"] for kind in ("Deployment", "Job")}


def proxy_of(pod):
    [found] = [each for each in containers(pod) if each["name"] == "iclient-proxy"]
    return found


def containers(pod):
    return [*pod.get("initContainers", ()), *pod["containers"]]


@pytest.fixture
def definitions(tmp_path):
    for name, text in OBJECTS["ConfigMap"]["data"].items():
        (tmp_path / name).write_text(text)
    loaded = load([tmp_path], OBJECTS["Secret"]["stringData"])
    assert loaded.warnings == ()
    return loaded.definitions


def test_the_definitions_of_the_config_map_load_with_the_secret(definitions):
    assert [each.name for each in definitions.connections] == ["orders"]
    assert definitions.connections[0].required


@pytest.mark.parametrize("kind", PODS)
def test_a_pod_takes_its_secret_and_its_definitions_from_where_they_are(kind):
    container = proxy_of(PODS[kind])
    references = [each["valueFrom"]["secretKeyRef"] for each in container["env"]]
    volumes = {each["name"]: each["configMap"]["name"] for each in PODS[kind]["volumes"]}
    [mount] = container["volumeMounts"]

    assert [(each["name"], each["key"]) for each in references] == [
        (OBJECTS["Secret"]["metadata"]["name"], key) for key in OBJECTS["Secret"]["stringData"]
    ]
    assert volumes[mount["name"]] == OBJECTS["ConfigMap"]["metadata"]["name"]
    assert container["args"] == ["run", "--config", mount["mountPath"]]


def test_the_sidecar_is_native_and_its_probes_ask_pages_that_answer_a_node(definitions):
    [sidecar] = PODS["Deployment"]["initContainers"]
    probes = {name: sidecar[name]["httpGet"] for name in ("startupProbe", "readinessProbe", "livenessProbe")}
    ports = {each["name"]: each["containerPort"] for each in sidecar["ports"]}
    admin = definitions.listeners.admin.bind

    assert sidecar["restartPolicy"] == "Always"
    assert {name: probe["path"] for name, probe in probes.items()} == {
        "startupProbe": "/startupz", "readinessProbe": "/readyz", "livenessProbe": "/livez",
    }  # fmt: skip
    assert {probe["path"] for probe in probes.values()} <= OPEN_TO_ALL
    assert {ports[probe["port"]] for probe in probes.values()} == {admin.port}
    assert admin.host == "0.0.0.0"


def test_the_pod_has_time_to_drain(definitions):
    stop = definitions.shutdown

    assert PODS["Deployment"]["terminationGracePeriodSeconds"] > stop.drain_delay + stop.grace


def test_the_job_calls_the_ports_and_the_connection_that_there_are(definitions):
    [script] = PODS["Job"]["containers"][1]["args"]
    [reverse] = definitions.listeners.reverse

    assert f"http://127.0.0.1:{definitions.listeners.admin.bind.port}/quitquitquit" in script
    assert f"http://127.0.0.1:{reverse.bind.port}/{definitions.connections[0].name}/" in script
