"""Injection without a webhook: the policy's expressions are evaluated on pods, which Kubernetes then has to take."""

import json
import re
import subprocess

import pytest
import yaml

from tests.conftest import program
from tests.helm.admission import admitted, matches, operations, patched, value
from tests.helm.charts import (
    EXAMPLES,
    NEWEST,
    Refused,
    containers,
    not_restricted,
    objects,
    one,
    proxy_of,
    text,
    valid,
)

pytestmark = pytest.mark.needs("helm")

INJECTION = {"gateway": {"enabled": False}, "injection": {"enabled": True}}
SAFE = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}


@pytest.fixture(scope="module")
def policy():
    return one(objects(values=INJECTION), "MutatingAdmissionPolicy")


def application(name="app", **more):
    return {"name": name, "image": "registry.example.com/app:1", "securityContext": SAFE, **more}


def pod(annotations=None, spec=None, **metadata):
    about = {"name": "app", "namespace": "default", **metadata}
    if annotations is not None:
        about["annotations"] = annotations
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": about,
        "spec": {"containers": [application()], **(spec or {})},
    }


ASKS = {"iclient-proxy/inject": "shop-iclient-proxy"}
SECRET = {**ASKS, "iclient-proxy/secret": "shop-iclient"}
ENV = {**SECRET, "iclient-proxy/env": "true"}
VOLUME = {"name": "data", "emptyDir": {}}

PODS = {
    "bare": pod(ASKS),
    "with a secret": pod(SECRET),
    "with labels": pod(SECRET, labels={"app": "shop"}),
    "with init containers": pod(SECRET, {"initContainers": [application("migrate")]}),
    "with volumes": pod(SECRET, {"volumes": [VOLUME]}),
    "with environment": pod(ENV),
    "with two containers, one with environment": pod(
        ENV, {"containers": [application(env=[{"name": "A", "value": "b"}]), application("side")]}
    ),
    "with a proxy of its own": pod(
        ENV, {"containers": [application(env=[{"name": "HTTP_PROXY", "value": "http://10.0.0.1:8080"}])]}
    ),
    "with odd names": pod({"iclient-proxy/inject": "a.b-c.0", "iclient-proxy/secret": "x" * 253, "a/b~c": "d"}),
    "with everything": pod(
        ENV,
        {"initContainers": [application("one"), application("two")], "volumes": [VOLUME, {**VOLUME, "name": "more"}],
         "containers": [application(f"app-{number}") for number in range(12)]},
        labels={"app": "shop"},
    ),
}  # fmt: skip

LEFT_ALONE = {
    "no annotations": pod(),
    "other annotations": pod({"a": "b"}),
    "an empty name": pod({"iclient-proxy/inject": ""}),
    "one that has it": pod(ASKS, {"initContainers": [application("iclient-proxy", restartPolicy="Always")]}),
    "one that has the classic one": pod(ASKS, {"containers": [application(), application("iclient-proxy")]}),
    "on the node's network": pod(ASKS, {"hostNetwork": True}),
}


@pytest.mark.parametrize("before", PODS.values(), ids=PODS.keys())
def test_a_pod_that_asks_gets_a_sidecar_that_kubernetes_takes_and_the_strictest_policy_lets_in(policy, before):
    after = admitted(policy, before)

    valid([before, after], NEWEST)
    assert not_restricted(after["spec"]) == []
    first = after["spec"]["initContainers"][0]
    assert (first["name"], first["restartPolicy"]) == ("iclient-proxy", "Always")
    [volume] = [each for each in after["spec"]["volumes"] if each["name"] == "iclient-proxy"]
    assert [each["name"] for each in first["volumeMounts"]] == [volume["name"]]
    assert after["metadata"]["labels"]["iclient-proxy/sidecar"] == "true"


@pytest.mark.parametrize("before", PODS.values(), ids=PODS.keys())
def test_what_the_pod_had_stays_as_it_was(policy, before):
    after = admitted(policy, before)

    assert after["spec"]["initContainers"][1:] == before["spec"].get("initContainers", [])
    assert after["spec"]["volumes"][:-1] == before["spec"].get("volumes", [])
    assert before["metadata"].get("labels", {}).items() <= after["metadata"]["labels"].items()
    assert before["metadata"]["annotations"].items() <= after["metadata"]["annotations"].items()
    for was, now in zip(before["spec"]["containers"], after["spec"]["containers"], strict=True):
        assert {**now, "env": was.get("env")} == {**was, "env": was.get("env")}
        assert now.get("env", [])[: len(was.get("env", ()))] == was.get("env", [])


@pytest.mark.parametrize("before", PODS.values(), ids=PODS.keys())
def test_a_second_round_changes_nothing(policy, before):
    after = admitted(policy, before)

    assert not matches(policy, after)


@pytest.mark.parametrize("before", LEFT_ALONE.values(), ids=LEFT_ALONE.keys())
def test_other_pods_are_left_alone(policy, before):
    valid([before], NEWEST)

    assert admitted(policy, before) == before


def test_the_definitions_are_those_that_the_annotations_name_and_the_chart_adds_where_probes_reach_it(policy):
    after = admitted(policy, PODS["with a secret"])

    sources = after["spec"]["volumes"][0]["projected"]["sources"]
    [item] = sources[0]["downwardAPI"]["items"]
    assert sources[1:] == [{"configMap": {"name": "shop-iclient-proxy"}}, {"secret": {"name": "shop-iclient"}}]
    assert item["fieldRef"]["fieldPath"] == "metadata.annotations['iclient-proxy/admin']"
    assert yaml.safe_load(after["metadata"]["annotations"]["iclient-proxy/admin"]) == {
        "listeners": {"admin": {"bind": "0.0.0.0:7489"}}
    }


def test_without_a_secret_none_is_mounted(policy):
    sources = admitted(policy, PODS["bare"])["spec"]["volumes"][0]["projected"]["sources"]

    assert [next(iter(each)) for each in sources] == ["downwardAPI", "configMap"]


def test_it_is_the_container_that_the_chart_has_elsewhere(policy, shop):
    injected = proxy_of(admitted(policy, PODS["bare"])["spec"])

    assert injected == proxy_of(one(objects(shop), "Deployment")["spec"]["template"]["spec"])


def test_every_container_that_wants_it_is_told_the_forward_proxy_and_one_that_has_its_own_keeps_it(policy):
    many = admitted(policy, PODS["with everything"])
    own = admitted(policy, PODS["with a proxy of its own"])["spec"]["containers"][0]["env"]

    told = [{each["name"] for each in container["env"]} for container in many["spec"]["containers"]]
    assert len(told) == 12
    assert all(
        {"http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "no_proxy", "NO_PROXY"} <= one for one in told
    )
    assert [each["value"] for each in own if each["name"] == "HTTP_PROXY"] == ["http://10.0.0.1:8080"]
    assert len(own) == len({each["name"] for each in own})
    assert all("env" not in each for each in admitted(policy, PODS["with a secret"])["spec"]["containers"])


@pytest.mark.needs("kubectl")
def test_kubectl_applies_the_patches_to_the_same_pod(policy, tmp_path):
    """Our reading of RFC 6902 against that of Kubernetes' own library."""
    ours = theirs = PODS["with everything"]
    for mutation in policy["spec"]["mutations"]:
        found = operations(policy, mutation, ours)
        ours = patched(ours, found)
        (tmp_path / "pod.json").write_text(json.dumps(theirs))
        done = subprocess.run(
            [program("kubectl"), "patch", "--local", "--type", "json", "--filename", tmp_path / "pod.json",
             "--patch", json.dumps(found), "--output", "json"],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        theirs = json.loads(done.stdout)
        for each in containers(theirs["spec"]):  # kubectl writes empty ones
            if each.get("resources") == {}:
                del each["resources"]

    assert len(containers(ours["spec"])) == 15
    assert theirs["spec"] == ours["spec"]
    assert theirs["metadata"]["annotations"] == ours["metadata"]["annotations"]


def test_no_map_or_list_of_the_policy_mixes_types(policy):
    """Kubernetes' CEL refuses that at compile time, where Google's engine does not: so each member is dyn()."""
    expressions = [each["expression"] for each in policy["spec"]["variables"]]
    expressions += [each["jsonPatch"]["expression"] for each in policy["spec"]["mutations"]]
    bare = re.compile(r'"(?:[^"\\]|\\.)*": (?!dyn\()')

    assert [found for each in expressions for found in bare.findall(each)] == []
    assert [found for each in expressions for found in re.findall(r"\[dyn\((?:(?!dyn).)*?, (?!dyn)\w+", each)] == []


def test_what_goes_into_the_policy_from_values_is_text_there_and_nothing_else():
    odd = 'registry.example.com/x"+string(1)+"\\'
    rendered = one(objects(values={**INJECTION, "image": {"repository": odd, "tag": "1"}}), "MutatingAdmissionPolicy")
    [container] = [each["expression"] for each in rendered["spec"]["variables"] if each["name"] == "container"]

    assert value(container)["image"] == f"{odd}:1"


@pytest.mark.parametrize(
    ("version", "expected"), [("1.34", "v1beta1"), ("1.35", "v1beta1"), ("1.36", "v1"), ("1.37", "v1")]
)
def test_policy_and_binding_are_of_the_version_that_the_cluster_has(version, expected):
    found = objects(values=INJECTION, version=version)

    valid(found, version)
    assert {each["apiVersion"] for each in found} == {f"admissionregistration.k8s.io/{expected}"}
    binding = one(found, "MutatingAdmissionPolicyBinding")
    assert binding["spec"]["policyName"] == one(found, "MutatingAdmissionPolicy")["metadata"]["name"]


def test_an_older_cluster_is_told_the_patch():
    with pytest.raises(Refused, match=r"--set patch=true --show-only templates/patch.yaml"):
        text(values=INJECTION, version="1.33")


def test_only_the_namespaces_that_are_meant():
    values = yaml.safe_load((EXAMPLES / "injection.values.yaml").read_text())

    binding = one(objects(values=values), "MutatingAdmissionPolicyBinding")

    [rule] = binding["spec"]["matchResources"]["namespaceSelector"]["matchExpressions"]
    assert rule["operator"] == "NotIn"


def test_the_example_of_prometheus_gets_its_sidecar(policy):
    found = list(yaml.safe_load_all((EXAMPLES / "prometheus" / "prometheus.yaml").read_text()))
    template = one(found, "Deployment")["spec"]["template"]
    before = {"apiVersion": "v1", "kind": "Pod", **template, "metadata": {**template["metadata"], "name": "prometheus"}}

    after = admitted(policy, before)

    valid([*found, after], NEWEST)
    assert not_restricted(after["spec"]) == []
    names = {each["metadata"]["name"] for each in found if each["kind"] == "ConfigMap"}
    mounted = after["spec"]["volumes"][-1]["projected"]["sources"][1]["configMap"]["name"]
    assert mounted in names
