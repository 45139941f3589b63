"""What the chart renders starts the real proxy: files as the kubelet lays them out, variables, user id, probes."""

import asyncio
import os
import re
import shutil
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import pytest
import yaml

from proxy.sealing import new_key
from tests.conftest import program
from tests.helm.admission import admitted
from tests.helm.charts import CHART, Refused, objects, one, pod_of
from tests.helm.pod import ENTRYPOINT, POD_IP, Pod, folder_of_a_node, free_port, proxy_says, under
from tests.support.client import Client
from tests.support.deadline import eventually
from tests.support.redis_server import redis_server
from tests.support.scripts import OK_BODY
from tests.support.stage import SECRET, TokenEndpoint
from tests.support.upstream import Upstream, listen

pytestmark = pytest.mark.needs("helm")

STORE_KEY = new_key(os.urandom)
NEW_SECRET = "canary-secret-of-tomorrow"


class World:
    """The API and the authorization server, and what a definition says of them."""

    def __init__(self):
        self.tokens = TokenEndpoint()
        self.api = Upstream(listen())
        self.api_port = self.api.port

    def connection(self, client="orders", **more):
        return {
            "base_url": f"http://127.0.0.1:{self.api_port}",
            "required": True,
            "iclient": {
                "grant_type": "client_credentials",
                "token_url": self.tokens.url,
                "client_id": client,
                "client_secret": {"file": "client-secret"},
                "valid_domains": [self.tokens.authority],
                "allow_insecure": True,
            },
            **more,
        }


@pytest.fixture
async def world():
    built = World()
    await built.tokens.start()
    await built.api.start()
    yield built
    await built.tokens.close()
    await built.api.close()


@pytest.fixture
def node():
    folder = folder_of_a_node("pod")
    yield folder
    shutil.rmtree(folder)


def maps(found):
    return {each["metadata"]["name"]: each["data"] for each in found if each["kind"] == "ConfigMap"}


def pod_of_the_shop(found, node, kind="Deployment", **more):
    """Return the pod that this object of the rendered shop describes, with the secrets it has, and `more`."""
    secrets = {"shop-iclient": {"client-secret": SECRET}, **more}
    return Pod(pod_of(one(found, kind)), node, config_maps=maps(found), secrets=secrets)


@asynccontextmanager
async def started(pod):
    """Start the proxy of a pod; it has to end well."""
    process = await pod.start()
    try:
        yield process
    finally:
        assert await process.stop() == 0
    process.assert_clean()


async def get(address, head, *fields):
    """Send one request without a body on a stream of its own; return the response."""
    client = await Client.connect(address)
    try:
        return await client.ask("\r\n".join([head, *fields, "Connection: close", "", ""]).encode())
    finally:
        await client.close()


async def fetch(url, *fields):
    """Get a URL as an application does that was told it."""
    parts = urlsplit(url)
    return await get((parts.hostname, parts.port), f"GET {parts.path} HTTP/1.1", f"Host: {parts.netloc}", *fields)


def sidecar_values(world, **connections):
    """Return values of the example with ports that are free here."""
    return {"iclient-proxy": {"definitions": {
        "listeners": {
            "reverse": {"bind": f"127.0.0.1:{free_port()}"},
            "forward": {"bind": f"127.0.0.1:{free_port()}"},
            "admin": {"bind": f"0.0.0.0:{free_port()}"},
        },
        "shutdown": {"drain_delay": "200ms", "grace": "5s"},
        "connections": {"orders": world.connection(), **connections},
    }}}  # fmt: skip


async def test_the_sidecar_of_a_chart_serves_its_application_and_stops_as_kubernetes_wants(shop, world, node):
    found = objects(shop, sidecar_values(world))
    pod = pod_of_the_shop(found, node)
    async with started(pod) as process:
        await pod.until_good("startupProbe")
        await pod.until_good("readinessProbe")
        assert await pod.probe("livenessProbe")

        told = pod.environment("shop")
        reverse = await fetch(f"{told['API_URL']}/v1/orders")
        proxy = urlsplit(told["HTTP_PROXY"])
        host = f"127.0.0.1:{world.api_port}"
        forward = await get((proxy.hostname, proxy.port), f"GET http://{host}/v2 HTTP/1.1", f"Host: {host}")
        assert (reverse.status, reverse.body, forward.status) == (200, OK_BODY, 200)
        assert [each.token for each in world.api.requests] == ["canary-token-orders-1"] * 2
        for url in (told["API_URL"], told["HTTP_PROXY"]):  # only the pod itself may use its tokens
            with pytest.raises(ConnectionRefusedError):
                await Client.connect((POD_IP, urlsplit(url).port))

        process.signal()
        await eventually("a pod that is taken out of service", lambda: _is_not(pod.probe("readinessProbe")))
        assert await process.exit_status() == 0


async def _is_not(asked):
    return not await asked


@pytest.mark.case("C-24")
async def test_swapped_objects_are_taken_over_and_connections_that_did_not_change_keep_their_tokens(shop, world, node):
    values = sidecar_values(world)
    found = objects(shop, values)
    pod = pod_of_the_shop(found, node)
    async with started(pod) as process:
        await pod.until_good("readinessProbe")
        url = pod.environment("shop")["ICLIENT_PROXY_URL"]

        values["iclient-proxy"]["definitions"]["connections"]["more"] = world.connection("more", required=False)
        pod.config_maps = maps(objects(shop, values))
        pod.sync()
        await process.until_logged("reload", outcome="applied")
        assert [(await fetch(f"{url}/{name}/x")).status for name in ("more", "orders")] == [200, 200]
        assert world.tokens.asked == {"orders": 1, "more": 1}

        world.tokens.secrets = dict.fromkeys(("orders", "more"), NEW_SECRET)
        pod.secrets["shop-iclient"]["client-secret"] = NEW_SECRET
        pod.sync()
        await process.until_logged("reload", 2, outcome="applied")
        assert (await process.admin_post("/api/connections/orders/renew")).status == 200
        assert world.tokens.asked["orders"] >= 2

        pod.config_maps["shop-iclient-proxy"] = {"00-values.yaml": "connections: {orders: {base_ulr: x}}\n"}
        pod.sync()
        await process.until_logged("reload", outcome="rejected")
        assert (await fetch(f"{url}/orders/x")).status == 200
        assert await pod.probe("readinessProbe")

        asked = dict(world.tokens.asked)
        pod.config_maps = maps(objects(shop, values))
        pod.sync()
        await process.until_logged("reload", 3, outcome="applied")
        assert [(await fetch(f"{url}/{name}/x")).status for name in ("more", "orders")] == [200, 200]
        assert world.tokens.asked == asked


async def test_a_file_of_the_volume_can_be_read_by_the_containers_user_and_changed_by_nobody(shop, world, node):
    found = objects(shop, sidecar_values(world))
    pod = pod_of_the_shop(found, node)
    async with started(pod) as process:
        await pod.until_good("startupProbe")

        modes = {path.name: path.stat().st_mode & 0o777 for path in pod.volumes["iclient-proxy"].folder.glob("[!.]*")}
        assert modes == {"00-values.yaml": 0o444, "client-secret": 0o444}
        if under(65532, 65532):  # where this user may become another one, and that one may read the project
            assert re.search(r"^Uid:\s65532\s65532", process.status(), re.MULTILINE)
            assert re.search(r"^CapBnd:\s0+$", process.status(), re.MULTILINE)
        assert process.logged("definitions_warning") == []


def gateway_values(world, values=None):
    """Return values of a gateway, or those given, with ports that are free here."""
    listeners = {
        "reverse": {"bind": f"0.0.0.0:{free_port()}", "auth": {"bearer": {"file": "gateway-token"}}},
        "admin": {"bind": f"0.0.0.0:{free_port()}"},
    }
    definitions = {
        "listeners": listeners,
        "shutdown": {"drain_delay": "10ms"},
        "connections": {"orders": world.connection()},
    }
    return {**(values or {}), "definitions": definitions, "existingSecrets": [{"name": "gateway-iclient"}]}


async def test_the_gateway_answers_callers_that_have_its_credential_under_the_name_of_its_service(world, node):
    values = gateway_values(world)
    port = int(values["definitions"]["listeners"]["reverse"]["bind"].rpartition(":")[2])
    found = objects(CHART, values)
    secrets = {"gateway-iclient": {"client-secret": SECRET, "gateway-token": "canary-gateway"}}
    pod = Pod(pod_of(one(found, "Deployment")), node, config_maps=maps(found), secrets=secrets)
    async with started(pod):
        await pod.until_good("readinessProbe")
        service = f"Host: {one(found, 'Service')['metadata']['name']}.default.svc:{port}"
        credential = "Authorization: Bearer canary-gateway"

        async def ask(*fields):
            return (await get((POD_IP, port), "GET /orders/x HTTP/1.1", *fields)).status

        assert await ask(service, credential) == 200
        assert await ask(service) == 401
        assert await ask(service, "Authorization: Bearer canary-other") == 401
        assert await ask("Host: shop.example.com", credential) == 421
        assert [each.values(b"authorization") for each in world.api.requests] == [[b"Bearer canary-token-orders-1"]]

        words = arguments_of_the_test(values)
        assert await run(*ENTRYPOINT, *(word.replace("shop-iclient-proxy", POD_IP) for word in words)) == 0


@pytest.mark.needs("redis-server")
async def test_replicas_of_the_gateway_share_one_token_in_the_redis_that_the_secret_names(world, node):
    async with redis_server() as redis:
        values = gateway_values(world) | {"redis": {"existingSecret": "gateway-redis"}}
        pods, processes = [], []
        try:
            for number in range(2):
                # The same Deployment; only the ports differ, since these pods share this machine's loopback.
                found = objects(CHART, gateway_values(world, values))
                folder = node / str(number)
                folder.mkdir()
                secrets = {
                    "gateway-iclient": {"client-secret": SECRET, "gateway-token": "canary-gateway"},
                    "gateway-redis": {"url": redis.tcp_url, "key": STORE_KEY},
                }
                pods.append(Pod(pod_of(one(found, "Deployment")), folder, config_maps=maps(found), secrets=secrets))
                processes.append(await pods[-1].start(needing="redis.asyncio"))
                await processes[-1].until_listening()
                await pods[-1].until_good("readinessProbe")
            assert world.tokens.asked == {"orders": 1}
        finally:
            assert [await process.stop() for process in processes] == [0] * len(processes)
        for process in processes:
            process.assert_clean()


def arguments_of_the_test(values):
    """Return the arguments of the pod that `helm test` starts."""
    from tests.helm.charts import text

    return next(
        each["spec"]["containers"][0]["args"] for each in yaml.safe_load_all(text(CHART, values))
        if each and each["kind"] == "Pod"
    )  # fmt: skip


async def run(*words, environment=None):
    """Run a command to its end; return its exit status."""
    running = await asyncio.create_subprocess_exec(
        *words, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL,
        env={"PATH": "/usr/local/bin:/usr/bin:/bin", **(environment or {})},
    )  # fmt: skip
    async with asyncio.timeout(30):
        return await running.wait()


async def test_an_injected_sidecar_reads_the_config_map_that_the_annotation_names(world, node):
    rendered = objects(CHART, {"gateway": {"enabled": False}, "injection": {"enabled": True}})
    policy = one(rendered, "MutatingAdmissionPolicy")
    asks = {"iclient-proxy/inject": "theirs", "iclient-proxy/secret": "theirs", "iclient-proxy/env": "true"}
    before = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "app", "annotations": asks},
        "spec": {"containers": [{"name": "app", "image": "app"}]},
    }
    after = admitted(policy, before)
    # The policy's admin port is fixed; here it may be taken.
    port = free_port()
    after["metadata"]["annotations"]["iclient-proxy/admin"] = after["metadata"]["annotations"][
        "iclient-proxy/admin"
    ].replace("7489", str(port))
    [sidecar] = after["spec"]["initContainers"]
    sidecar["ports"][0]["containerPort"] = port
    definitions = {
        "listeners": {"reverse": {"bind": f"127.0.0.1:{free_port()}"}},
        "shutdown": {"drain_delay": "10ms"},
        "connections": {"orders": world.connection()},
    }
    pod = Pod(
        after["spec"], node, annotations=after["metadata"]["annotations"],
        config_maps={"theirs": {"iclient-proxy.yaml": yaml.safe_dump(definitions)}},
        secrets={"theirs": {"client-secret": SECRET}},
    )  # fmt: skip
    async with started(pod):
        await pod.until_good("startupProbe")
        await pod.until_good("readinessProbe")

        assert (await fetch(f"http://{definitions['listeners']['reverse']['bind']}/orders/x")).status == 200
        assert world.tokens.asked == {"orders": 1}


@pytest.mark.needs("curl")
async def test_an_application_that_calls_https_is_intercepted_by_an_authority_it_was_told_to_trust(
    shop, world, node, tmp_path
):
    values = sidecar_values(world)
    connection = values["iclient-proxy"]["definitions"]["connections"]["orders"]
    connection["base_url"] = f"http://localhost:{world.api_port}"
    values["iclient-proxy"]["interception"] = {"existingSecret": "shop-authority", "trustConfigMap": "shop-trust"}
    found = objects(shop, values)
    for name, text in maps(found)["shop-iclient-proxy"].items():
        (tmp_path / name).write_text(text)
    (tmp_path / "client-secret").write_text(SECRET)
    proxy_says("ca", "init", "--config", tmp_path)
    proxy_says("ca", "export", "--config", tmp_path, "--format", "bundle", "--output", tmp_path / "bundle.pem")
    authority = {name: (tmp_path / name).read_text() for name in ("ca.pem", "ca-key.pem")}
    pod = pod_of_the_shop(found, node, **{"shop-authority": authority})
    [mount] = pod.container("shop")["volumeMounts"]
    told = {key: text.replace(mount["mountPath"], str(tmp_path)) for key, text in pod.environment("shop").items()}
    async with started(pod):
        await pod.until_good("readinessProbe")

        url = f"https://localhost:{world.api_port}/v1/orders"
        assert await run(program("curl"), "--silent", "--fail", "--noproxy", "", url, environment=told) == 0
        assert (
            await run(
                program("curl"),
                "--silent",
                "--fail",
                "--noproxy",
                "",
                url,
                environment={key: text for key, text in told.items() if key not in ("CURL_CA_BUNDLE", "SSL_CERT_FILE")},
            )
            == 60
        )  # fmt: skip - "Peer certificate cannot be authenticated"
        assert [each.token for each in world.api.requests] == ["canary-token-orders-1"]


@pytest.mark.case("L-289")
@pytest.mark.needs("curl")
@pytest.mark.parametrize("path", ["/v1/orders", "/fails"])
async def test_the_script_of_a_job_with_a_classic_sidecar_waits_for_it_and_ends_it_whatever_became_of_the_job(
    export, world, node, path
):
    values = sidecar_values(world)
    values["iclient-proxy"]["definitions"]["listeners"]["forward"] = False
    values |= {"schedule": "", "path": path}
    if path == "/fails":
        world.api.always(_not_found)
    found = objects(export, values, "1.28")
    pod = pod_of_the_shop(found, node, "Job")
    job = pod.container("export")
    sh, *words = [program(job["command"][0]), *job["command"][1:], *job["args"]]
    # First the job: an ordinary container may be late.
    script = asyncio.create_task(run(sh, *words, environment=pod.environment("export")), name="the job")
    async with started(pod) as process:
        status = await script
        assert (status == 0) == (path == "/v1/orders")
        assert await process.exit_status() == 0
    assert [each.target.decode() for each in world.api.requests] == [path]
    process.assert_clean()


async def _not_found(request):
    await request.send(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")


def test_what_the_chart_refuses_the_proxy_would_refuse_too(node):
    """The rule on open listeners is the product's; the chart only says it before anything is installed."""
    from proxy.definitions.load import load
    from proxy.errors import DefinitionsError

    values = {
        "definitions": {
            "listeners": {"reverse": {"bind": "0.0.0.0:7480"}},
            "connections": {"a": {"base_url": "https://a.example.com"}},
        }
    }
    (node / "definitions.yaml").write_text(yaml.safe_dump(values["definitions"]))

    with pytest.raises(Refused, match="open to the cluster"):
        objects(CHART, values)
    with pytest.raises(DefinitionsError) as refused:
        load([node / "definitions.yaml"], {})
    assert [fault.code for fault in refused.value.faults] == ["listener_open"]
