"""The gateway: what helm renders for many values, what Kubernetes says of it, and what is refused, in helpful words."""

import copy
import shutil
import subprocess
import tomllib

import pytest
import yaml

from tests.docs.page import ROOT
from tests.helm.charts import (
    CHART,
    CLASSIC,
    GATEWAY,
    NEWEST,
    ORDERS,
    VERSIONS,
    Refused,
    helm,
    not_restricted,
    objects,
    one,
    pod_of,
    proxy_of,
    text,
    valid,
)
from tests.helm.pod import ENTRYPOINT, Pod

pytestmark = pytest.mark.needs("helm")

HUMAN = {"provider": "hubspot", "client_id": "my-app", "client_secret": {"file": "client-secret"}}
REDIS = {"existingSecret": "gateway-redis"}


def with_(**changes):
    """Return the values of a gateway with these changes; a key of several parts is written with double underscores."""
    values = copy.deepcopy(GATEWAY)
    for path, value in changes.items():
        *above, last = path.split("__")
        block = values
        for key in above:
            block = block.setdefault(key, {})
        block[last] = value
    return values


MATRIX = {
    "plain": GATEWAY,
    "one replica": with_(gateway__replicas=1),
    "forward, too": with_(
        definitions__listeners__forward={"proxy_auth": {"username": "apps", "password": {"file": "gateway-token"}}}
    ),
    "forward only": with_(
        definitions__listeners={
            "reverse": False,
            "forward": {"proxy_auth": {"username": "apps", "password": {"file": "gateway-token"}}},
        }
    ),
    "two reverse listeners": with_(
        definitions__listeners__reverse=[
            {"bind": "0.0.0.0:7480", "auth": {"bearer": {"file": "gateway-token"}}},
            {"bind": "0.0.0.0:7481", "auth": {"basic": {"username": "a", "password": {"file": "gateway-token"}}}},
        ]
    ),
    "IPv6": with_(
        definitions__listeners={
            "admin": {"bind": "[::]:7489"},
            "reverse": {"bind": "[::]:7480", "auth": {"bearer": {"file": "gateway-token"}}},
        }
    ),
    "redis": with_(redis=REDIS, definitions__connections__crm={"iclient": HUMAN}),
    "scaled": with_(autoscaling={"enabled": True, "maxReplicas": 9}),
    "by digest": with_(
        image={"digest": f"sha256:{'0' * 64}", "pullPolicy": "Always"}, imagePullSecrets=[{"name": "r"}]
    ),
    "everything off": with_(
        networkPolicy={"enabled": False}, podDisruptionBudget={"enabled": False}, serviceAccount={"create": False}
    ),
    "placed": with_(
        gateway={
            "nodeSelector": {"kubernetes.io/arch": "amd64"},
            "tolerations": [{"key": "a", "operator": "Exists"}],
            "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
                {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a"]}]}
            ]}}},
            "topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway"}],
            "priorityClassName": "high",
            "annotations": {"a": "b"},
            "podAnnotations": {"a": "b"},
            "podLabels": {"a": "b"},
        }
    ),
    "every source": with_(
        files={"more.yaml": "connections: {more: {base_url: 'https://more.example.com', headers: {X-A: null}}}"},
        existingConfigMaps=[{"name": "theirs", "keys": {"iclient-proxy.yaml": "theirs.yaml"}, "optional": True}],
        env=[{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}, {"name": "B", "value": "b"}],
        envFrom=[{"secretRef": {"name": "s"}}],
        extraVolumes=[{"name": "ca", "configMap": {"name": "ca"}}],
        extraVolumeMounts=[{"name": "ca", "mountPath": "/etc/ca", "readOnly": True}],
    ),
    "the platform's user": with_(runAsUser=None, runAsGroup=None),
    "who may call": with_(
        networkPolicy={"from": [{"namespaceSelector": {}}], "metricsFrom": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]},
        service={"type": "LoadBalancer", "annotations": {"a": "b"}},
    ),
}  # fmt: skip


@pytest.mark.parametrize("values", MATRIX.values(), ids=MATRIX.keys())
def test_helm_finds_nothing_in_the_chart(values, tmp_path):
    (tmp_path / "values.yaml").write_text(yaml.safe_dump(values))

    assert "0 chart(s) failed" in helm("lint", "--strict", CHART, "--values", tmp_path / "values.yaml")


def test_the_chart_is_of_the_products_version():
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    product = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]

    assert (chart["version"], chart["appVersion"]) == (product, product)


@pytest.mark.parametrize(("name", "values"), MATRIX.items(), ids=MATRIX.keys())
def test_every_arrangement_is_valid_in_each_kubernetes_and_passes_the_strictest_policy(name, values):
    # Two have all there is between them; the others need not be tried with each version.
    thorough = name in ("plain", "every source")
    for version in (*CLASSIC, *VERSIONS) if thorough else (CLASSIC[0], VERSIONS[0], NEWEST):
        found = objects(values=values, version=version)

        valid(found, version)
        deployment = one(found, "Deployment")
        assert not_restricted(pod_of(deployment)) == []
        assert pod_of(deployment)["automountServiceAccountToken"] is False
        assert "restartPolicy" not in proxy_of(pod_of(deployment))


@pytest.mark.parametrize("values", MATRIX.values(), ids=MATRIX.keys())
def test_the_definitions_of_every_arrangement_pass_check(values, tmp_path):
    found = objects(values=values)
    key = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
    secrets = {
        "gateway-iclient": {"client-secret": "canary-of-a-secret", "gateway-token": "canary-of-a-secret"},
        "gateway-redis": {"url": "redis://127.0.0.1", "key": key},
        "s": {"k": "canary-of-a-secret"},
    }
    theirs = {"theirs": {"iclient-proxy.yaml": "log: {format: json}\n"}}
    config_maps = {one(found, "ConfigMap")["metadata"]["name"]: one(found, "ConfigMap")["data"], **theirs}
    pod = Pod(pod_of(one(found, "Deployment")), tmp_path, config_maps=config_maps, secrets=secrets)

    checked = subprocess.run(
        [*ENTRYPOINT, "check", "--strict", "--config", pod.volumes["iclient-proxy"].folder],
        env={"PYTHONPATH": str(ROOT), **pod.environment("iclient-proxy")},
        capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert ", 0 warnings" in checked.stdout


@pytest.mark.parametrize("values", MATRIX.values(), ids=MATRIX.keys())
def test_service_policy_and_container_speak_of_the_same_ports(values):
    found = objects(values=values)
    ports = {each["name"]: each["containerPort"] for each in proxy_of(pod_of(one(found, "Deployment")))["ports"]}
    service = {each["targetPort"]: each["port"] for each in one(found, "Service")["spec"]["ports"]}

    assert service == ports
    for policy in (each for each in found if each["kind"] == "NetworkPolicy"):
        assert {port["port"] for rule in policy["spec"]["ingress"] for port in rule["ports"]} == set(ports.values())


def test_the_probes_ask_the_pages_that_answer_a_node_on_the_admin_port_of_the_pod():
    container = proxy_of(pod_of(one(objects(values=GATEWAY), "Deployment")))
    [admin] = [port["containerPort"] for port in container["ports"] if port["name"] == "iclient-admin"]

    assert {name: container[name]["httpGet"] for name in ("startupProbe", "readinessProbe", "livenessProbe")} == {
        "startupProbe": {"path": "/startupz", "port": "iclient-admin"},
        "readinessProbe": {"path": "/readyz", "port": "iclient-admin"},
        "livenessProbe": {"path": "/livez", "port": "iclient-admin"},
    }
    document = yaml.safe_load(one(objects(values=GATEWAY), "ConfigMap")["data"]["00-values.yaml"])
    assert document["listeners"]["admin"]["bind"] == f"0.0.0.0:{admin}"


def test_a_pod_costs_what_is_promised_and_has_no_limit_of_cpu():
    container = proxy_of(pod_of(one(objects(values=GATEWAY), "Deployment")))

    assert container["resources"] == {"requests": {"cpu": "20m", "memory": "64Mi"}, "limits": {"memory": "192Mi"}}


def test_its_user_is_a_number_and_it_can_write_nowhere():
    context = proxy_of(pod_of(one(objects(values=GATEWAY), "Deployment")))["securityContext"]

    assert (context["runAsUser"], context["runAsGroup"]) == (65532, 65532)
    assert context["readOnlyRootFilesystem"] is True


def test_a_pod_has_time_to_drain():
    found = objects(values=with_(definitions__shutdown={"drain_delay": "5s", "grace": "25s"}))

    assert pod_of(one(found, "Deployment"))["terminationGracePeriodSeconds"] > 5 + 25


def test_all_sources_come_into_one_folder_beside_each_other():
    pod = pod_of(one(objects(values=MATRIX["every source"]), "Deployment"))
    volume = next(each for each in pod["volumes"] if each["name"] == "iclient-proxy")
    sources = volume["projected"]["sources"]

    assert [(kind, source["name"]) for each in sources for kind, source in each.items()] == [
        ("configMap", "shop-iclient-proxy"), ("configMap", "theirs"), ("secret", "gateway-iclient"),
    ]  # fmt: skip
    assert sources[1]["configMap"]["items"] == [{"key": "iclient-proxy.yaml", "path": "theirs.yaml"}]
    assert sources[1]["configMap"]["optional"] is True
    assert volume["projected"]["defaultMode"] == 0o444


def test_a_setting_that_a_running_proxy_cannot_take_over_replaces_the_pods_and_a_connection_does_not():
    def sum_of(values):
        deployment = one(objects(values=values), "Deployment")
        return deployment["spec"]["template"]["metadata"]["annotations"]["iclient-proxy/fixed"]

    assert sum_of(with_(definitions__connections__more=ORDERS)) == sum_of(GATEWAY)
    assert sum_of(with_(definitions__shutdown={"grace": "9s"})) != sum_of(GATEWAY)
    assert sum_of(with_(redis=REDIS)) != sum_of(GATEWAY)


def test_the_disruption_budget_and_the_autoscaler_are_for_the_deployment():
    found = objects(values=MATRIX["scaled"])
    deployment = one(found, "Deployment")

    assert "replicas" not in deployment["spec"]
    assert one(found, "HorizontalPodAutoscaler")["spec"]["scaleTargetRef"]["name"] == deployment["metadata"]["name"]
    assert one(found, "PodDisruptionBudget")["spec"]["selector"] == deployment["spec"]["selector"]


REFUSED = {
    "no definitions": ({}, "there are no definitions"),
    "an open reverse listener": (
        {"definitions": {"connections": {"orders": ORDERS}}},
        "Set definitions.listeners.reverse.auth",
    ),
    "an open reverse listener in a list": (
        with_(definitions__listeners__reverse=[{"bind": "127.0.0.1:7480"}, {"bind": "10.0.0.1:7481"}]),
        "the reverse listener (10.0.0.1:7481) is open to the cluster without a credential",
    ),
    "an open forward listener": (
        with_(definitions__listeners__forward={}),
        "Set definitions.listeners.forward.proxy_auth",
    ),
    "no admin listener": (with_(definitions__listeners__admin=False), "definitions.listeners.admin can't be false"),
    "listeners in a file": (
        with_(files={"a.yaml": "listeners: {forward: {}}"}),
        "write listeners.forward under definitions",
    ),
    "a file that is no YAML": (with_(files={"a.yaml": "a: ["}), "files.a.yaml is not YAML"),
    "replicas with a human's grant": (
        with_(definitions__connections__crm={"iclient": {**HUMAN, "provider": "hubspot"}}),
        "2 replicas can't share the grant of connection crm (authorization_code) without Redis",
    ),
    "replicas with a rotating grant": (
        with_(definitions={**GATEWAY["definitions"], "defaults": {"iclient": {"grant_type": "refresh_token"}},
              "connections": {"crm": {"base_url": "https://a.example.com", "iclient": "crm"}},
              "iclients": {"crm": {"client_id": "a"}}}),
        "connection crm (refresh_token)",
    ),
    "more replicas by scaling": (
        with_(gateway={"replicas": 1}, autoscaling={"enabled": True}, definitions__connections__crm={"iclient": HUMAN}),
        "6 replicas can't share",
    ),
    "a human's grant in a file": (
        with_(files={"a.yaml": "connections: {crm: {iclient: {provider: hubspot}}}"}),
        "the grant of connection crm (authorization_code)",
    ),
    "two stores": (with_(redis=REDIS, definitions__store={"kind": "file"}), "definitions.store.kind is file; keep one"),
    "a misspelt key": (with_(gatway={}), "Additional property gatway is not allowed"),
    "a misspelt key of a part": (with_(networkPolicy={"enable": True}), "Additional property enable is not allowed"),
    "a misspelt key of a definition": (
        with_(definitions__connections__orders={**ORDERS, "bas_url": "x"}),
        "Additional property bas_url is not allowed",
    ),
    "a wrong type": (with_(gateway__replicas="two"), "Invalid type. Expected: integer, given: string"),
    "a folder in a file's name": (
        with_(existingSecrets=[{"name": "a", "keys": {"k": "a/b"}}]),
        "Does not match pattern",
    ),
    "the chart's own file": (with_(files={"00-values.yaml": "x-a: 1"}), "files"),
    "injection where there is none": (with_(injection={"enabled": True}), "injection needs Kubernetes 1.34"),
}  # fmt: skip


@pytest.mark.parametrize(("values", "said"), REFUSED.values(), ids=REFUSED.keys())
def test_what_would_not_work_is_refused_with_what_to_do(values, said):
    with pytest.raises(Refused) as refused:
        text(values=values, version="1.33")

    assert said in str(refused.value)


def test_one_replica_may_have_any_grant_and_so_may_many_with_redis():
    human = {"definitions__connections__crm": {"iclient": HUMAN}}

    assert one(objects(values=with_(gateway__replicas=1, **human)), "Deployment")
    assert one(objects(values=with_(redis=REDIS, **human)), "Deployment")


def test_redis_comes_by_a_secret_and_is_reached_through_the_policy():
    found = objects(values=MATRIX["redis"])
    container = proxy_of(pod_of(one(found, "Deployment")))
    environment = {each["name"]: each["valueFrom"]["secretKeyRef"] for each in container["env"]}
    store = yaml.safe_load(one(found, "ConfigMap")["data"]["00-values.yaml"])["store"]

    assert environment[store["url"]["env"]] == {"name": "gateway-redis", "key": "url"}
    assert environment[store["key"]["env"]] == {"name": "gateway-redis", "key": "key"}
    assert store["namespace"] == "default-shop-iclient-proxy"
    assert {"ports": [{"protocol": "TCP", "port": 6379}]} in one(found, "NetworkPolicy")["spec"]["egress"]


def notes(values, folder):
    """Return what `helm install` says in the end: `helm template` leaves it out, so a copy of the chart includes it."""
    chart = shutil.copytree(CHART, folder / "chart")
    (chart / "templates" / "said.yaml").write_text(
        'said: {{ include (print $.Template.BasePath "/NOTES.txt") . | toJson }}\n'
    )
    return yaml.safe_load(text(chart, values, NEWEST, "shop", "--show-only", "templates/said.yaml"))["said"]


def test_the_notes_say_which_connections_wait_for_a_human_and_how_to_authorize_them(tmp_path):
    values = with_(
        redis=REDIS,
        definitions__connections={
            "orders": ORDERS,
            "crm": {"iclient": HUMAN},
            "mail": {"iclient": "mail", "base_url": "https://mail.example.com"},
            "seeded": {"iclient": "mail", "base_url": "https://a.example.com", "refresh_token": {"file": "seed"}},
        },
        definitions__iclients={"mail": {"grant_type": "device_code"}},
    )

    said = notes(values, tmp_path)

    assert "port-forward deploy/shop-iclient-proxy 7489:7489" in said
    assert "iclient-proxy authorize crm --admin http://127.0.0.1:7489" in said
    assert "iclient-proxy authorize mail --admin" in said
    assert "authorize orders" not in said
    assert "authorize seeded" not in said


def test_the_notes_of_machines_own_grants_ask_for_nothing(tmp_path):
    said = notes(GATEWAY, tmp_path)

    assert "http://shop-iclient-proxy.default.svc:7480/CONNECTION" in said
    assert "human" not in said


def test_the_test_of_a_release_is_a_pod_that_asks_whether_the_gateway_is_ready():
    [pod] = [
        each for each in yaml.safe_load_all(text(values=GATEWAY))
        if each and "helm.sh/hook" in each["metadata"].get("annotations", {})
    ]  # fmt: skip

    valid([pod], NEWEST)
    assert not_restricted(pod["spec"]) == []
    assert pod["spec"]["containers"][0]["args"] == ["health", "--ready", "--admin", "http://shop-iclient-proxy:7489"]
