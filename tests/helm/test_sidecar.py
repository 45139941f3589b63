"""The sidecar in somebody else's chart: where it is put, what it brings along, and what is refused."""

import copy
from pathlib import Path

import pytest
import yaml

from proxy.cli.env import rendered, way
from proxy.cli.environment import Runtime
from proxy.definitions.load import load
from tests.helm.charts import (
    CLASSIC,
    EXAMPLES,
    NEWEST,
    VERSIONS,
    Refused,
    built,
    helm,
    not_restricted,
    objects,
    one,
    pod_of,
    proxy_of,
    text,
    valid,
)
from tests.helm.pod import proxy_says

pytestmark = pytest.mark.needs("helm")


def names(found):
    return [each["name"] for each in found]


def definitions_of(found, folder, *, authority=False):
    """Load the definitions of the rendered ConfigMap, beside the secret that they name; make their authority first."""
    for name, content in one(found, "ConfigMap")["data"].items():
        (folder / name).write_text(content)
    (folder / "client-secret").write_text("canary-of-a-good-length")
    if authority:
        proxy_says("ca", "init", "--config", folder)
    return load([folder], {}).definitions


def test_helm_finds_nothing_in_the_examples(shop, export):
    assert "2 chart(s) linted, 0 chart(s) failed" in helm("lint", "--strict", shop, export)


@pytest.mark.parametrize("version", VERSIONS)
def test_from_1_29_it_is_an_init_container_that_goes_on_running(shop, version):
    found = objects(shop, None, version)
    pod = pod_of(one(found, "Deployment"))

    valid(found, version)
    assert names(pod["initContainers"]) == ["iclient-proxy"]
    assert proxy_of(pod)["restartPolicy"] == "Always"
    assert names(pod["containers"]) == ["shop"]
    assert not_restricted(pod) == []


@pytest.mark.parametrize("version", CLASSIC)
def test_before_that_it_is_a_container_beside_the_others(shop, version):
    found = objects(shop, None, version)
    pod = pod_of(one(found, "Deployment"))

    valid(found, version)
    assert "initContainers" not in pod
    assert "restartPolicy" not in proxy_of(pod)
    assert names(pod["containers"]) == ["shop", "iclient-proxy"]
    assert not_restricted(pod) == []


@pytest.mark.parametrize(
    ("native", "version", "place"), [(True, "1.28", "initContainers"), (False, NEWEST, "containers")]
)
def test_the_values_may_know_better(shop, native, version, place):
    pod = pod_of(one(objects(shop, {"iclient-proxy": {"sidecar": {"native": native}}}, version), "Deployment"))

    assert "iclient-proxy" in names(pod[place])


def test_it_is_the_same_container_in_both_places_and_mounts_the_volume_that_comes_along(shop):
    native = pod_of(one(objects(shop), "Deployment"))
    classic = pod_of(one(objects(shop, None, "1.28"), "Deployment"))

    assert proxy_of(classic) == {key: value for key, value in proxy_of(native).items() if key != "restartPolicy"}
    assert names(native["volumes"]) == names(proxy_of(native)["volumeMounts"]) == ["iclient-proxy"]


def test_the_definitions_listen_on_the_pods_loopback_and_only_probes_reach_it_from_outside(shop, tmp_path):
    definitions = definitions_of(objects(shop), tmp_path)

    assert [each.bind.host for each in definitions.listeners.reverse] == ["127.0.0.1"]
    assert definitions.listeners.forward.bind.host == "127.0.0.1"
    assert definitions.listeners.admin.bind.host == "0.0.0.0"
    assert names(proxy_of(pod_of(one(objects(shop), "Deployment")))["ports"]) == ["iclient-admin"]


def test_the_applications_environment_is_what_the_command_prints(shop, tmp_path):
    found = objects(shop)
    definitions = definitions_of(found, tmp_path)
    printed = yaml.safe_load("\n".join(rendered(Runtime.K8S, way(definitions, None, None, None, ()))))
    given = pod_of(one(found, "Deployment"))["containers"][0]["env"]

    assert [each for each in given if each["name"] in names(printed)] == printed
    assert {"name": "ICLIENT_PROXY_URL", "value": "http://127.0.0.1:7480"} in given
    assert {"name": "ICLIENT_PROXY_ADMIN", "value": "http://127.0.0.1:7489"} in given


INTERCEPTION = {"iclient-proxy": {"interception": {"existingSecret": "shop-authority", "trustConfigMap": "shop-trust"}}}


def test_with_interception_the_application_is_told_whom_to_trust_as_the_command_says(shop, tmp_path):
    found = objects(shop, INTERCEPTION)
    pod = pod_of(one(found, "Deployment"))
    [volume] = [each for each in pod["volumes"] if each["name"] == "iclient-proxy-trust"]
    application = pod["containers"][0]
    [mount] = application["volumeMounts"]
    definitions = definitions_of(found, tmp_path, authority=True)
    printed = yaml.safe_load(
        "\n".join(rendered(Runtime.K8S, way(definitions, None, None, Path(mount["mountPath"]), ())))
    )

    valid(found, NEWEST)
    assert volume["configMap"] == {"name": "shop-trust"}
    assert mount["name"] == volume["name"]
    assert [each for each in application["env"] if each["name"] in names(printed)] == printed


def test_interception_without_trust_is_refused(shop):
    with pytest.raises(Refused, match=r"set interception\.trustConfigMap"):
        text(shop, {"iclient-proxy": {"interception": {"existingSecret": "shop-authority"}}})


def test_without_a_forward_listener_applications_are_told_no_proxy(shop):
    closed = {"iclient-proxy": {"definitions": {"listeners": {"forward": False}}}}
    given = pod_of(one(objects(shop, closed), "Deployment"))

    assert names(given["containers"][0]["env"]) == ["ICLIENT_PROXY_ADMIN", "ICLIENT_PROXY_URL", "API_URL"]


def test_a_platform_that_gives_user_ids_is_told_none(shop):
    pod = pod_of(one(objects(shop, {"iclient-proxy": {"runAsUser": None, "runAsGroup": None}}), "Deployment"))

    assert {"runAsUser", "runAsGroup"} & set(proxy_of(pod)["securityContext"]) == set()
    assert not_restricted(pod) == []


def test_the_parent_gets_no_gateway_along_with_it(shop):
    assert sorted(each["kind"] for each in objects(shop)) == ["ConfigMap", "Deployment"]


def test_two_of_them_under_aliases_have_definitions_of_their_own(tmp_path):
    chart = built("shop", tmp_path)
    meta = yaml.safe_load((chart / "Chart.yaml").read_text())
    values = yaml.safe_load((chart / "values.yaml").read_text())
    [dependency] = meta["dependencies"]
    meta["dependencies"] = [{**dependency, "alias": "crm"}, {**dependency, "alias": "erp"}]
    own = values.pop("iclient-proxy")
    (chart / "Chart.yaml").write_text(yaml.safe_dump(meta))
    (chart / "values.yaml").write_text(yaml.safe_dump({**values, "crm": own, "erp": copy.deepcopy(own)}))
    template = chart / "templates" / "deployment.yaml"
    template.write_text(template.read_text().replace('dict "ctx" $ "rep', 'dict "ctx" $ "chart" "erp" "rep'))
    (chart / "templates" / "NOTES.txt").unlink()
    helm("dependency", "update", chart)

    found = objects(chart)

    assert [each["metadata"]["name"] for each in found if each["kind"] == "ConfigMap"] == ["shop-crm", "shop-erp"]
    [volume] = pod_of(one(found, "Deployment"))["volumes"]
    assert volume["projected"]["sources"][0] == {"configMap": {"name": "shop-erp"}}


def changed(shop, folder, old, new):
    """Return a copy of the example whose template says something else."""
    import shutil

    chart = shutil.copytree(shop, folder / "shop")
    template = chart / "templates" / "deployment.yaml"
    assert old in template.read_text()
    template.write_text(template.read_text().replace(old, new))
    return chart


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('merge (dict "at" "initContainers") $sidecar', "$sidecar", "say where it is included"),
        ('dict "ctx" $ "replicas"', 'dict "ctx" $ "chart" "crm" "replicas"', "chart shop has no dependency named crm"),
        ('"iclient-proxy.volumes" $sidecar', '"iclient-proxy.volumes" $', "its templates take a dict"),
    ],
)
def test_a_template_that_is_called_wrongly_says_how(shop, tmp_path, old, new, said):
    with pytest.raises(Refused) as refused:
        text(changed(shop, tmp_path, old, new))

    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (
            {
                "gateway": {"enabled": True},
                "definitions": {"listeners": {"reverse": {"bind": "127.0.0.1:7480"}, "forward": False}},
            },
            "set iclient-proxy.gateway.enabled: false",
        ),
        ({"definitions": None, "existingSecrets": []}, "there are no definitions"),
        ({"definitions": {"listeners": {"reverse": {"bind": "0.0.0.0:7480"}}}}, "open to the cluster"),
        ({"gatway": {}}, "Additional property gatway is not allowed"),
    ],
)
def test_values_that_would_not_work_are_refused(shop, values, said):
    with pytest.raises(Refused) as refused:
        text(shop, {"iclient-proxy": values})

    assert said in str(refused.value)


def test_many_pods_with_a_humans_grant_need_redis(shop):
    iclient = {"provider": "hubspot", "client_id": "a", "client_secret": {"file": "client-secret"}}
    values = {"replicas": 2, "iclient-proxy": {"definitions": {"connections": {"crm": {"iclient": iclient}}}}}

    with pytest.raises(Refused, match="2 replicas can't share the grant of connection crm"):
        text(shop, values)
    assert objects(shop, {**values, "replicas": 1})


def test_the_parents_notes_say_who_waits_for_a_human(shop, tmp_path):
    import shutil

    chart = shutil.copytree(shop, tmp_path / "shop")
    (chart / "templates" / "said.yaml").write_text(
        'said: {{ include "iclient-proxy.notes" (dict "ctx" $) | toJson }}\n'
    )
    iclient = {"provider": "hubspot", "client_id": "a", "client_secret": {"file": "client-secret"}}
    values = {"iclient-proxy": {"definitions": {"connections": {"crm": {"iclient": iclient}}}}}

    said = yaml.safe_load(text(chart, values, NEWEST, "shop", "--show-only", "templates/said.yaml"))["said"]

    assert "port-forward deploy/shop 7489:7489" in said
    assert "iclient-proxy authorize crm --admin http://127.0.0.1:7489" in said


@pytest.mark.parametrize("version", [*CLASSIC, *VERSIONS])
@pytest.mark.parametrize("schedule", ["", "17 3 * * *"])
def test_a_job_is_valid_and_ends_a_sidecar_only_where_kubernetes_does_not(export, version, schedule):
    found = objects(export, {"schedule": schedule}, version)
    job = one(found, "CronJob" if schedule else "Job")
    [script] = next(each["args"] for each in pod_of(job)["containers"] if each["name"] == "export")

    valid(found, version)
    assert not_restricted(pod_of(job)) == []
    assert ("/quitquitquit" in script) == (version in CLASSIC)


@pytest.mark.parametrize("name", ["gateway", "injection"])
def test_the_values_of_the_examples_render_valid_objects(name):
    from tests.helm.charts import CHART

    values = yaml.safe_load((EXAMPLES / f"{name}.values.yaml").read_text())

    found = objects(CHART, values)

    valid(found, NEWEST)
    assert {each["kind"] for each in found} >= (
        {"Deployment", "HorizontalPodAutoscaler"} if name == "gateway" else {"MutatingAdmissionPolicy"}
    )
