"""Interception by workers: each makes its own leaves, all sign with the authority that the main process has opened."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
from base64 import b64encode
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509

from proxy.ca import authority
from proxy.clock import SystemClock
from proxy.definitions.settings import AuthorityFiles
from proxy.sealing import Keyring
from tests.cli.command import iclient_proxy
from tests.support.deadline import eventually
from tests.support.interception import TRUST, LocalAuthority, at, connected, listeners, server_tls
from tests.support.scripts import OK_BODY
from tests.workers.conftest import SIZE, kill, memory_of, shown_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from tests.support.client import Client
    from tests.workers.conftest import Play, WithWorkers

    Intercepting = Callable[..., Awaitable[WithWorkers]]

pytestmark = pytest.mark.timeout(120)

AUTHORITY = LocalAuthority("localhost")
OVER_TLS: dict[str, Any] = {"base_url": "https://localhost:PORT", "tls": TRUST}


@pytest.fixture
def intercepting(play: Play, tmp_path: Path) -> Intercepting:
    """Start the product with workers that intercept what goes to the upstream."""

    async def start(intercept: dict[str, Any] | None = None, **settings: Any) -> WithWorkers:
        intercept = intercept or AUTHORITY.write(tmp_path)
        return await play(OVER_TLS, tls=server_tls(), listeners=listeners(intercept=intercept), **settings)

    return start


async def inside(made: WithWorkers, by: LocalAuthority = AUTHORITY) -> Client:
    client = await connected(made.case)
    await client.secure(by.trusting(), "localhost")
    return client


async def inside_each(made: WithWorkers, by: LocalAuthority = AUTHORITY) -> list[Client]:
    """Return an intercepted stream of each worker: they show different leaves."""
    found: dict[bytes, Client] = {}

    async def another() -> bool:
        client = await inside(made, by)
        found.setdefault(client.certificate, client)
        return len(found) == SIZE

    await eventually("a leaf of each worker", another, 60.0)
    return list(found.values())


def request(made: WithWorkers, *fields: bytes, line: bytes = b"GET /x HTTP/1.1", body: bytes = b"") -> bytes:
    return made.case.raw(line, b"Host: " + at(made.case), *fields, body=body)


async def test_each_worker_speaks_for_the_host_with_a_key_of_its_own_and_all_take_one_token(
    intercepting: Intercepting,
):
    made = await intercepting()
    clients = await inside_each(made)

    answers = [await client.ask(request(made)) for client in clients for _ in range(3)]

    assert {(each.status, each.body) for each in answers} == {(200, OK_BODY)}
    assert {each.token for each in made.case.upstream.requests} == {made.case.token()}
    assert made.case.token_requests == 1
    leaves = [x509.load_der_x509_certificate(client.certificate) for client in clients]
    assert len({leaf.public_key().public_numbers() for leaf in leaves}) == SIZE  # type: ignore[union-attr]
    assert len({leaf.issuer for leaf in leaves}) == 1
    assert (await made.process.admin_get("/ca.pem")).body.decode() == AUTHORITY.certificate


async def test_a_refusal_inside_is_replayed_by_whichever_worker_and_renewed_once(intercepting: Intercepting):
    made = await intercepting()
    clients = await inside_each(made)
    for client in clients:
        assert (await client.ask(request(made))).status == 200
    made.case.upstream.refused_tokens.add(made.case.token())
    post = request(made, b"Content-Length: 5", line=b"POST /x HTTP/1.1", body=b"again")

    answers = await asyncio.gather(*(client.ask(post) for client in clients))

    assert [each.status for each in answers] == [200] * SIZE
    assert made.case.token_requests == 2
    assert {each.body for each in made.case.upstream.requests if each.token == made.case.token(2)} == {b"again"}


async def test_another_authority_is_taken_over_by_every_worker_and_by_those_that_begin_later(
    intercepting: Intercepting, tmp_path: Path
):
    made = await intercepting()
    old = await inside_each(made)
    following = LocalAuthority("localhost")
    following.write(tmp_path)
    made.process.signal(signal.SIGHUP)
    await made.process.until_logged("reload", outcome="applied")

    for client in [*await inside_each(made, following), *old]:
        assert (await client.ask(request(made))).status == 200
    kill(made.pids()[1], signal.SIGKILL)
    await made.process.until_logged("worker", 2, outcome="serving", number=1)
    for client in await inside_each(made, following):
        assert (await client.ask(request(made))).status == 200


async def test_a_worker_begins_anew_with_the_authority_in_force_whatever_has_become_of_its_files(
    intercepting: Intercepting, tmp_path: Path
):
    made = await intercepting()
    (tmp_path / "ca" / "key.pem").write_text("no key any more\n")
    await made.process.until_logged("reload", outcome="rejected")

    kill(made.pids()[1], signal.SIGKILL)
    await made.process.until_logged("worker", 2, outcome="serving", number=1)

    for client in await inside_each(made):
        assert (await client.ask(request(made))).status == 200


@pytest.mark.skipif(os.geteuid() != 0, reason="the memory of a process that is closed is shown to root alone")
async def test_a_sealed_key_is_opened_by_the_main_process_and_what_opens_it_is_in_no_worker(
    intercepting: Intercepting, tmp_path: Path
):
    key = b64encode(os.urandom(32)).decode()
    files = AuthorityFiles(cert=tmp_path / "ca" / "cert.pem", key=tmp_path / "ca" / "key.pem")
    trusted, signer = authority.make(["localhost"], SystemClock(), os.urandom)
    authority.write(files, trusted, signer, lambda text, purpose: Keyring(key).seal(text, purpose, os.urandom))
    made = await intercepting(
        {"enabled": True, "ca": {"cert": str(files.cert), "key": str(files.key)}},
        store={"kind": "file", "path": str(tmp_path / "grants")},
        environment={"ICLIENT_PROXY_KEY": key},
    )
    by = LocalAuthority("localhost")
    by.certificate = trusted
    for client in await inside_each(made, by):
        assert (await client.ask(request(made))).status == 200

    for pid in made.pids().values():
        held = memory_of(pid)
        assert made.case.token().encode() in held  # it would be seen
        assert key.encode() not in held
        assert key.encode() not in shown_of(pid, "environ")
    assert key.encode() in memory_of(made.process.pid)


@pytest.mark.needs("curl")
async def test_an_application_with_the_lines_of_env_reaches_every_worker(intercepting: Intercepting, tmp_path: Path):
    made = await intercepting()
    host, port = made.process.listening["forward"][0]
    definitions = json.loads(made.file.read_text())
    definitions["listeners"]["forward"]["bind"] = f"{host}:{port}"
    elsewhere = tmp_path / "for-env"
    elsewhere.mkdir()
    (elsewhere / "definitions.yaml").write_text(json.dumps(definitions))
    words = ("--config", str(elsewhere / "definitions.yaml"))
    environment = {"HOME": str(tmp_path), "CLIENT_SECRET": "canary-secret"}
    bundle = ("--format", "bundle", "--output", str(tmp_path / "ca" / "bundle.pem"))
    exported = await iclient_proxy("ca", "export", *bundle, *words, environment=environment)
    assert exported.status == 0, exported.err
    printed = await iclient_proxy("env", "--runtime", "curl", *words, environment=environment)
    script = 'eval "$LINES_OF_ENV"; for i in 1 2 3 4 5 6 7 8; do curl -sS --fail "$URL"; done'

    def ask() -> subprocess.CompletedProcess[bytes]:
        url = f"https://{at(made.case).decode()}/x"
        environ = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "LINES_OF_ENV": printed.out, "URL": url}
        return subprocess.run(["sh", "-euc", script], env=environ, capture_output=True, check=False)

    done = await asyncio.to_thread(ask)
    pac = (await made.process.admin_get("/proxy.pac")).body

    assert (done.returncode, done.stdout, done.stderr) == (0, OK_BODY * 8, b"")
    assert {each.token for each in made.case.upstream.requests} == {made.case.token()}
    assert f"PROXY {host}:{port}".encode() in pac
