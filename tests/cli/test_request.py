"""One request through a running proxy, by the name of a connection."""

import json
import socket

import pytest
import pytest_asyncio

from tests.cli.command import iclient_proxy
from tests.support.process import Process
from tests.support.scripts import response
from tests.support.upstream import Upstream, listen

pytestmark = pytest.mark.asyncio(loop_scope="module")


class Running:
    """A proxy, an API behind it, and the folder with its definitions."""

    def __init__(self, folder):
        self.folder = folder
        self.api = Upstream(listen())
        self.bodies = []

    async def start(self):
        await self.api.start()
        self.api.always(self._answer)
        definitions = self._definitions(0)
        self.process = await Process.start(definitions, self.folder, {"LISTENER": "canary-listener"})
        await self.process.until_listening("reverse")
        host, port = self.process.reverse
        self.url = f"http://{host}:{port}"
        (self.folder / "iclient-proxy.yaml").write_text(json.dumps(self._definitions(port)))

    def _definitions(self, port):
        base = f"http://127.0.0.1:{self.api.port}/v1"
        return {
            "listeners": {
                "reverse": {"bind": f"127.0.0.1:{port}", "auth": {"bearer": {"env": "LISTENER"}}}, "admin": False,
            },
            "shutdown": {"drain_delay": "10ms", "grace": "2s"},
            "connections": {
                "api": {"base_url": base},
                "host": {"base_url": base, "route": {"prefix": "/", "host": "api.local"}},
                "none": {"base_url": base, "route": False},
            },
        }  # fmt: skip

    async def _answer(self, request):
        self.bodies.append(await request.read_body())
        status = b"404 Not Found" if b"missing" in request.target else b"200 OK"
        body = b"\xff\x00" if b"binary" in request.target else b'{"ok": true}\n'
        await request.send(response(body, b"X-Api: yes", status=status))

    async def ask(self, *arguments, **options):
        environment = {"LISTENER": "canary-listener"}
        return await iclient_proxy("request", *arguments, environment=environment, cwd=self.folder, **options)

    async def close(self):
        await self.process.stop()
        await self.api.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(tmp_path_factory):
    made = Running(tmp_path_factory.mktemp("request"))
    await made.start()
    yield made
    await made.close()


async def test_the_body_goes_to_standard_output_and_the_status_beside_it(running):
    done = await running.ask("api", "GET", "/x?y=z")

    assert (done.status, done.out, done.err) == (0, '{"ok": true}\n', "HTTP/1.1 200 OK\n")
    assert running.api.requests[-1].line == b"GET /v1/x?y=z HTTP/1.1"


async def test_with_i_status_and_fields_stand_before_the_body(running):
    done = await running.ask("api", "GET", "missing", "-i")

    assert done.status == 0
    head, _, body = done.out.partition("\r\n\r\n")
    assert head.startswith("HTTP/1.1 404 Not Found")
    assert "X-Api: yes" in head
    assert (body, done.err) == ('{"ok": true}\n', "")


async def test_fields_and_body_are_written_as_for_curl(running):
    (running.folder / "body.json").write_text('{"a": 1}')

    await running.ask("api", "POST", "/x", "-d", "a=b")
    form = running.api.requests[-1]
    done = await running.ask("api", "patch", "/x", "-d", "@body.json", "-H", "Content-Type: application/json")
    file = running.api.requests[-1]
    await running.ask("api", "PUT", "/x", "--data", "@-", stdin="from stdin")

    assert done.status == 0
    assert form.values(b"content-type") == [b"application/x-www-form-urlencoded"]
    assert (file.method, file.values(b"content-type")) == (b"PATCH", [b"application/json"])
    assert running.bodies[-3:] == [b"a=b", b'{"a": 1}', b"from stdin"]


async def test_a_virtual_host_is_named(running):
    done = await running.ask("host", "GET", "/x")

    assert (done.status, done.err) == (0, "HTTP/1.1 200 OK\n")


async def test_for_machines_it_is_json_and_bytes_that_are_no_text_are_base64(running):
    text = json.loads((await running.ask("api", "GET", "/x", "--format", "json")).out)
    data = json.loads((await running.ask("api", "GET", "/binary", "--format", "json")).out)

    assert (text["status"], text["body"]) == (200, '{"ok": true}\n')
    assert ["X-Api", "yes"] in text["headers"]
    assert data["body_base64"] == "/wA="


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("nobody", "GET", "/"), "no connection is called 'nobody'"),
        (("none", "GET", "/"), "has no route"),
        (("api", "GET", "/a b"), "percent-encode"),
        (("api", "GET", "/", "-H", "nothing"), "'Name: value'"),
        (("api", "GE T", "/"), "does not allow"),
        (("api", "POST", "/", "-d", "@nowhere"), "nowhere can't be read"),
    ],
)
async def test_what_is_no_request_ends_with_2_and_is_not_sent(arguments, said, running):
    before = len(running.api.requests)

    done = await running.ask(*arguments)

    assert (done.status, done.out) == (2, "")
    assert said in done.err
    assert len(running.api.requests) == before


async def test_without_a_proxy_it_ends_with_69(running):
    with socket.create_server(("127.0.0.1", 0)) as free:
        unused = f"http://127.0.0.1:{free.getsockname()[1]}"

    done = await running.ask("api", "GET", "/x", "--listener", unused)

    assert (done.status, done.out) == (69, "")
    assert f"no proxy answers at {unused}" in done.err
