import asyncio
import json
import os
import re
import signal
import sys

import pytest

from proxy.definitions.load import load
from proxy.demo.definition import SECRET_VARIABLE, Ports, text
from proxy.demo.world import World
from tests.cli.command import ROOT, iclient_proxy
from tests.support.client import Client
from tests.support.deadline import awaiting


async def told(*arguments, tmp_path):
    done = await iclient_proxy("demo", "--format", "json", *arguments, cwd=tmp_path)
    return done, json.loads(done.out)


async def test_every_step_happens_and_is_counted_by_the_servers(tmp_path):
    done, steps = await told(tmp_path=tmp_path)

    assert (done.status, done.err) == (0, "")
    assert [step["name"] for step in steps] == ["definition", "first call", "many calls", "revocation", "metrics"]
    assert all(step["happened"] for step in steps)
    assert [step["verdict"] for step in steps][1:4] == [
        "token requests so far: 1",
        "token requests so far: still 1",
        "refused once, renewed once, replayed once",
    ]
    assert not re.search(r"demo-[0-9a-f]{8}", done.out)


@pytest.mark.parametrize(
    ("breakage", "step"),
    [("issuing", "first call"), ("renewal", "revocation"), ("revocation", "revocation"), ("replay", "revocation")],
)
async def test_a_step_that_does_not_happen_ends_the_demo_and_is_named(breakage, step, tmp_path):
    done, steps = await told("--break", breakage, tmp_path=tmp_path)

    assert done.status == 70
    assert (steps[-1]["name"], steps[-1]["happened"]) == (step, False)
    assert all(earlier["happened"] for earlier in steps[:-1])
    assert done.err.startswith(f"iclient-proxy demo: this step did not happen: {steps[-1]['title']}\n")
    assert '"event":"exchange"' in done.err


async def test_a_newcomer_reads_it_without_colours_where_there_is_no_terminal(tmp_path):
    done = await iclient_proxy("demo", cwd=tmp_path)

    assert done.status == 0
    assert "\x1b" not in done.out
    for number in range(1, 7):
        assert re.search(rf"^{number}  \S", done.out, re.MULTILINE)
    assert done.out.count("✓") == 5
    assert "client_secret: {env: DEMO_CLIENT_SECRET}" in done.out
    assert len(done.out.splitlines()) < 60


async def test_a_terminal_that_knows_ascii_only_is_no_reason_to_fail(tmp_path):
    done = await iclient_proxy("demo", environment={"PYTHONIOENCODING": "ascii"}, cwd=tmp_path)

    assert (done.status, done.err) == (0, "")
    assert done.out.count("\\u2713 ") == 5


async def test_it_takes_nothing_from_the_environment_that_could_lead_it_astray(tmp_path):
    astray = {
        "HTTP_PROXY": "http://127.0.0.1:9",
        "http_proxy": "http://127.0.0.1:9",
        "ICLIENT_PROXY_CONFIG": "/nowhere",
    }

    done = await iclient_proxy("demo", environment=astray, cwd=tmp_path)

    assert (done.status, done.err) == (0, "")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_it_can_be_kept_running_until_it_is_told_to_stop(number, tmp_path):
    running = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "proxy", "demo", "--keep"),
        stdout=asyncio.subprocess.PIPE,
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
    )
    try:
        written = b""
        async with awaiting("the last line of the demo"):
            while b"/metrics\n" not in written:
                line = await running.stdout.readline()
                assert line, f"the demo ended early: {written.decode()}"
                written += line
        host, port, path = re.search(r"curl http://([\d.]+):(\d+)(/crm\S*)", written.decode()).groups()

        client = await Client.connect((host, int(port)))
        response = await client.ask(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        await client.close()
        running.send_signal(number)
        rest, _ = await running.communicate()
    finally:
        if running.returncode is None:
            # Ctrl-C, so that the proxy it started ends with it.
            running.send_signal(signal.SIGINT)
            await running.wait()

    assert (response.status, json.loads(response.body)["name"]) == (200, "Ada Lovelace")
    assert (running.returncode, rest) == (0, b"")


def test_who_finds_the_usual_ports_taken_gets_others():
    with World(usual=True) as one, World(usual=True) as other:
        ports = [one.api_port, one.authorization_server_port, other.api_port, other.authorization_server_port]

    assert 0 not in ports
    assert len(set(ports)) == 4


def test_the_definition_on_show_is_the_one_that_runs():
    shown = (ROOT / "config" / "demo.yaml").read_text(encoding="utf-8")

    assert shown == text(Ports())


def test_the_definition_loads_and_warns_of_nothing_but_the_missing_tls():
    loaded = load([ROOT / "config" / "demo.yaml"], {SECRET_VARIABLE: "canary-secret-of-the-demo"})

    assert [connection.name for connection in loaded.definitions.connections] == ["crm"]
    assert {warning.code for warning in loaded.warnings} == {"insecure_url"}
