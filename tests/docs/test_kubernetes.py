"""The guide to Kubernetes, followed: its chart is built, its commands are run, its manifests fit together."""

import copy
import re
import sys
from pathlib import Path

import pytest
import yaml

from proxy.admin.access import OPEN_TO_ALL
from proxy.definitions.load import load
from tests.clients.stage import shell
from tests.conftest import KUBERNETES_TOOLS
from tests.docs.page import DOCS, ROOT, blocks
from tests.helm.charts import (
    CHART,
    NEWEST,
    VERSIONS,
    helm,
    not_restricted,
    objects,
    one,
    pod_of,
    proxy_of,
    valid,
)
from tests.helm.pod import Pod
from tests.helm.test_patch import patched

PAGE = DOCS / "guides" / "kubernetes.md"
TITLED = {block.title: block.text for block in blocks(PAGE, "yaml") if block.title}
MANIFESTS = [each for block in blocks(PAGE, "yaml") if not block.title for each in yaml.safe_load_all(block.text)]
TYPED = [block.text for block in blocks(PAGE, "sh")]


def command(beginning):
    [found] = [text for text in TYPED if text.startswith(beginning)]
    return found


@pytest.fixture
def shop(tmp_path):
    """Return the chart that a reader has after the fourth step."""
    (tmp_path / "shop" / "templates").mkdir(parents=True)
    for name in ("Chart.yaml", "values.yaml", "templates/deployment.yaml"):
        text = TITLED[name].replace("file://../iclient-proxy/helm/iclient-proxy", f"file://{CHART}")
        (tmp_path / "shop" / name).write_text(text)
    helm("dependency", "update", tmp_path / "shop")
    return tmp_path / "shop"


@pytest.fixture
def typed(tmp_path):
    """Return a function that runs lines of the page where the checkout lies, with the values that it shows."""
    (tmp_path / "helm").symlink_to(ROOT / "helm")
    for name, text in TITLED.items():
        if name.endswith(".values.yaml"):
            (tmp_path / name).write_text(text)
    path = f"{KUBERNETES_TOOLS / 'node_modules' / '.bin'}:{Path(sys.executable).parent}:/usr/bin:/bin"

    async def run(text, **environment):
        said = await shell(text, tmp_path, PATH=path, **environment)
        assert said.status == 0, said
        return said.out

    return run


@pytest.mark.needs("helm", "kubectl")
@pytest.mark.parametrize("version", ["1.28", *VERSIONS])
def test_the_chart_of_the_guide_renders_a_pod_that_kubernetes_takes(shop, version):
    found = objects(shop, None, version)

    valid(found, version)
    assert not_restricted({"containers": [proxy_of(pod_of(one(found, "Deployment")))]}) == []


@pytest.mark.needs("helm")
def test_the_monitor_of_the_guide_finds_its_pod(shop):
    found = objects(shop, yaml.safe_load(TITLED["monitoring.yaml"]))
    labels = one(found, "Deployment")["spec"]["template"]["metadata"]["labels"]

    assert one(found, "PodMonitor")["spec"]["selector"]["matchLabels"].items() <= labels.items()
    assert one(found, "PrometheusRule")


@pytest.mark.needs("helm", "kubectl")
async def test_its_secret_holds_what_its_definitions_name(shop, typed, tmp_path):
    creating = command("kubectl create secret generic shop-iclient").strip()
    secret = yaml.safe_load(await typed(f"{creating} --dry-run=client --output yaml"))
    found = objects(shop)
    node = tmp_path / "node"
    node.mkdir()
    pod = Pod(
        pod_of(one(found, "Deployment")),
        node,
        config_maps={one(found, "ConfigMap")["metadata"]["name"]: one(found, "ConfigMap")["data"]},
        secrets={secret["metadata"]["name"]: dict.fromkeys(secret["data"], "canary-of-a-good-length")},
    )

    loaded = load([pod.volumes["iclient-proxy"].folder], {})

    assert loaded.warnings == ()
    assert [each.name for each in loaded.definitions.connections] == ["orders"]
    stop = loaded.definitions.shutdown
    assert pod.spec["terminationGracePeriodSeconds"] > stop.drain_delay + stop.grace
    assert pod.environment("shop")["API_URL"] == "http://127.0.0.1:7480/orders"


@pytest.mark.needs("helm", "kubectl")
async def test_the_secret_of_redis_has_the_keys_that_the_chart_looks_for(typed):
    creating = command("kubectl create secret generic shop-redis").strip()
    secret = yaml.safe_load(await typed(f"{creating} --dry-run=client --output yaml", STORE_KEY="canary"))

    values = yaml.safe_load((CHART / "values.yaml").read_text())["redis"]
    assert set(secret["data"]) == {values["urlKey"], values["keyKey"]}


@pytest.mark.needs("helm", "kubectl")
async def test_the_authority_is_made_as_the_guide_says_and_arrives_where_the_chart_looks_for_it(shop, typed, tmp_path):
    (tmp_path / "authority.yaml").write_text(TITLED["authority.yaml"])
    dry = r"\1 --dry-run=client --output yaml | sed 1i---"
    said = await typed(re.sub("^(kubectl .*)$", dry, command("iclient-proxy ca"), flags=re.MULTILINE))
    secret, config_map = yaml.safe_load_all(said.partition("---\n")[2])
    names = {"existingSecret": secret["metadata"]["name"], "trustConfigMap": config_map["metadata"]["name"]}
    template = shop / "templates" / "deployment.yaml"
    before = "          env:\n"
    template.write_text(template.read_text().replace(before, TITLED["volumeMounts"] + before))

    found = objects(shop, {"iclient-proxy": {"interception": names}})

    valid(found, NEWEST)
    pod = pod_of(one(found, "Deployment"))
    sources = pod["volumes"][0]["projected"]["sources"]
    [application] = pod["containers"]
    assert names == {"existingSecret": "shop-authority", "trustConfigMap": "shop-trust"}
    assert {each["key"] for each in sources[-1]["secret"]["items"]} == set(secret["data"])
    assert application["volumeMounts"][0]["name"] == pod["volumes"][1]["name"]
    trusted = {
        Path(each["value"]).name for each in application["env"]
        if each["value"].startswith(application["volumeMounts"][0]["mountPath"])
    }  # fmt: skip
    assert trusted | {"truststore.p12"} == set(config_map.get("data", {})) | set(config_map.get("binaryData", {}))


@pytest.mark.needs("helm")
async def test_the_policy_is_rendered_as_the_guide_says(typed):
    found = list(yaml.safe_load_all(await typed(command("helm template injection"))))

    valid(found, "1.36")
    assert {each["kind"] for each in found} == {"MutatingAdmissionPolicy", "MutatingAdmissionPolicyBinding"}


@pytest.mark.needs("helm", "kubectl")
async def test_the_patch_is_printed_and_applied_as_the_guide_says(typed, tmp_path):
    await typed(command("helm template shop"))
    [config_map] = yaml.safe_load_all((tmp_path / "objects.yaml").read_text())
    workload = copy.deepcopy(one(MANIFESTS, "Deployment"))
    del workload["spec"]["template"]["spec"]["initContainers"], workload["spec"]["template"]["spec"]["volumes"]

    after = patched(workload, (tmp_path / "patch.yaml").read_text(), tmp_path)

    valid([config_map, after], NEWEST)
    sources = pod_of(after)["volumes"][0]["projected"]["sources"]
    assert sources[0]["configMap"]["name"] == config_map["metadata"]["name"]


@pytest.mark.needs("helm")
def test_the_gateway_of_the_guide_renders():
    values = yaml.safe_load(TITLED["gateway.values.yaml"])

    found = objects(CHART, values, NEWEST, "gateway")

    valid(found, NEWEST)
    assert f"http://{one(found, 'Service')['metadata']['name']}:7480/" in PAGE.read_text()


def test_kubernetes_takes_the_plain_manifests():
    valid(MANIFESTS, NEWEST)

    assert not_restricted({"containers": [proxy_of(pod_of(one(MANIFESTS, "Deployment")))]}) == []


@pytest.mark.needs("helm")
def test_the_plain_sidecar_says_what_the_chart_says(shop):
    plain = proxy_of(pod_of(one(MANIFESTS, "Deployment")))
    rendered = proxy_of(pod_of(one(objects(shop), "Deployment")))

    for key in ("args", "image", "ports", "resources", "restartPolicy", "securityContext", "volumeMounts"):
        assert plain[key] == rendered[key], key
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert plain[probe]["httpGet"] == rendered[probe]["httpGet"]


def test_the_plain_definitions_load_and_the_probes_ask_pages_that_answer_a_node(tmp_path):
    pod = Pod(
        pod_of(one(MANIFESTS, "Deployment")),
        tmp_path,
        config_maps={one(MANIFESTS, "ConfigMap")["metadata"]["name"]: one(MANIFESTS, "ConfigMap")["data"]},
        secrets={one(MANIFESTS, "Secret")["metadata"]["name"]: one(MANIFESTS, "Secret")["stringData"]},
    )
    loaded = load([pod.volumes["iclient-proxy"].folder], {})
    sidecar = pod.container("iclient-proxy")
    admin = loaded.definitions.listeners.admin.bind
    stop = loaded.definitions.shutdown

    assert loaded.warnings == ()
    assert (admin.host, admin.port) == ("0.0.0.0", sidecar["ports"][0]["containerPort"])
    paths = {sidecar[probe]["httpGet"]["path"] for probe in ("startupProbe", "readinessProbe", "livenessProbe")}
    assert paths <= OPEN_TO_ALL
    assert pod.spec["terminationGracePeriodSeconds"] > stop.drain_delay + stop.grace


def test_every_annotation_of_the_page_is_one_that_the_policy_reads():
    read = set(re.findall(r"iclient-proxy/[a-z]+", (CHART / "templates" / "injection.yaml").read_text()))
    shown = set(re.findall(r"^\| `(iclient-proxy/[a-z]+)", PAGE.read_text(), re.MULTILINE))

    assert shown == read - {"iclient-proxy/admin", "iclient-proxy/sidecar"}
