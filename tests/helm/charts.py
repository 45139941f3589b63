"""The charts as their users render them: values in, objects out, by the real helm; and what Kubernetes says of them."""

import json
import shutil
import subprocess
from functools import cache
from tempfile import NamedTemporaryFile

import kubernetes_validate
import yaml

from tests.conftest import program
from tests.docs.page import ROOT

CHART = ROOT / "helm" / "iclient-proxy"
EXAMPLES = ROOT / "examples" / "kubernetes"
# From the first with native sidecars to the newest that the validator knows.
VERSIONS = [f"1.{minor}" for minor in range(29, 38)]
NEWEST = VERSIONS[-1]
# Older ones have the classic sidecar.
CLASSIC = ["1.25", "1.28"]

ORDERS = {
    "base_url": "https://api.example.com",
    "iclient": {
        "grant_type": "client_credentials",
        "token_url": "https://auth.example.com/oauth/token",
        "client_id": "my-app",
        "client_secret": {"file": "client-secret"},
    },
}
GATEWAY = {
    "definitions": {
        "listeners": {"reverse": {"auth": {"bearer": {"file": "gateway-token"}}}},
        "connections": {"orders": ORDERS},
    },
    "existingSecrets": [{"name": "gateway-iclient"}],
}
SIDECAR = {
    "gateway": {"enabled": False},
    "definitions": {"connections": {"orders": ORDERS}},
    "existingSecrets": [{"name": "shop-iclient"}],
}


class Refused(Exception):
    """What helm said instead of rendering."""


def helm(*words):
    """Run helm to its end; return its standard output, raise `Refused` with its standard error."""
    done = subprocess.run([program("helm"), *map(str, words)], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Refused(done.stderr)
    return done.stdout


def text(chart=CHART, values=None, version=NEWEST, release="shop", *words):
    """Return what `helm template` prints for these values."""
    return _text(chart, json.dumps(values), version, release, words)


@cache
def _text(chart, values, version, release, words):
    with NamedTemporaryFile("w", suffix=".json") as file:
        file.write(values if values != "null" else "{}")
        file.flush()
        return helm("template", release, chart, "--kube-version", version, "--values", file.name, *words)


def loaded(manifests):
    """Return the documents of a YAML text; the loader in C, since there are thousands of them."""
    return list(yaml.load_all(manifests, yaml.CSafeLoader))


def objects(chart=CHART, values=None, version=NEWEST, release="shop", *words):
    """Return the objects that helm renders, without the test's pod."""
    found = [each for each in loaded(text(chart, values, version, release, *words)) if each]
    return [each for each in found if "helm.sh/hook" not in each["metadata"].get("annotations", {})]


def one(found, kind):
    """Return the only object of that kind."""
    [only] = [each for each in found if each["kind"] == kind]
    return only


def pod_of(workload):
    """Return the spec of the pods that a workload makes."""
    spec = workload["spec"]
    if workload["kind"] == "Pod":
        return spec
    return (spec["jobTemplate"]["spec"] if "jobTemplate" in spec else spec)["template"]["spec"]


def containers(pod):
    return [*pod.get("initContainers", ()), *pod["containers"]]


def proxy_of(pod):
    """Return the container of the proxy."""
    [found] = [each for each in containers(pod) if each["name"] == "iclient-proxy"]
    return found


def valid(objects_, version):
    """Hold the objects against the schema of that version of Kubernetes, where every unknown key is a fault."""
    for each in objects_:
        _valid(json.dumps(each), version)


@cache
def _valid(text, version):
    kubernetes_validate.validate(json.loads(text), version, strict=True)


def built(example, folder):
    """Copy an example chart with the chart it depends on, and fetch that into it; return where it is."""
    shutil.copytree(CHART, folder / "helm" / "iclient-proxy", dirs_exist_ok=True)
    chart = folder / "examples" / "kubernetes" / example
    shutil.copytree(EXAMPLES / example, chart, ignore=shutil.ignore_patterns("charts", "Chart.lock"))
    helm("dependency", "update", chart)
    return chart


def not_restricted(pod):
    """Return what the strictest of the Pod Security Standards ("restricted") forbids in this pod."""
    found = [key for key in ("hostNetwork", "hostPID", "hostIPC") if pod.get(key)]
    own = pod.get("securityContext", {})
    for volume in pod.get("volumes", ()):
        kinds = set(volume) - {"name"}
        if not kinds <= {
            "configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret",
        }:  # fmt: skip
            found.append(f"volume {volume['name']}: {kinds}")
    for each in containers(pod):
        context = {**own, **each.get("securityContext", {})}
        capabilities = context.get("capabilities", {})
        rules = {
            "allowPrivilegeEscalation": context.get("allowPrivilegeEscalation") is False,
            "capabilities.drop": capabilities.get("drop") == ["ALL"],
            "capabilities.add": set(capabilities.get("add", ())) <= {"NET_BIND_SERVICE"},
            "privileged": not context.get("privileged"),
            "runAsNonRoot": context.get("runAsNonRoot") is True,
            "runAsUser": context.get("runAsUser") != 0,
            "seccompProfile": context.get("seccompProfile", {}).get("type") in ("RuntimeDefault", "Localhost"),
            "hostPort": not any("hostPort" in port for port in each.get("ports", ())),
        }
        found += [f"{each['name']}: {rule}" for rule, kept in rules.items() if not kept]
    return found
