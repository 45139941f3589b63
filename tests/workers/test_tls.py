"""TLS of workers: the certificate of a listener and its renewal, upstreams over TLS, a client certificate of ours."""

from __future__ import annotations

import os
import signal
import ssl
from base64 import b64encode
from collections import Counter
from typing import TYPE_CHECKING

import pytest
import trustme

from tests.lifecycle.test_listener_certificate import put
from tests.support.interception import TRUST, UPSTREAM, demanding_tls, server_tls
from tests.support.scripts import OK_BODY
from tests.workers.conftest import SIZE, all_of, kill

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.client import Client
    from tests.workers.conftest import Play, WithWorkers

pytestmark = pytest.mark.timeout(120)

AUTHORITY = trustme.CA()
BIND = "127.0.0.1:0"


def client_side() -> ssl.SSLContext:
    context = ssl.create_default_context()
    AUTHORITY.configure_trust(context)
    return context


def renew(folder: Path) -> bytes:
    """Put another certificate and key in place; return the certificate in DER."""
    issued = AUTHORITY.issue_cert("localhost")
    put(folder, "key.pem", issued.private_key_pem.bytes())
    put(folder, "chain.pem", b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    return ssl.PEM_cert_to_DER_cert(issued.cert_chain_pems[0].bytes().decode())


async def secured(play: Play, folder: Path) -> WithWorkers:
    """Start the product with workers behind TLS."""
    tls = {"cert": str(folder / "chain.pem"), "key": str(folder / "key.pem")}
    return await play(listeners={"reverse": {"bind": BIND, "tls": tls}, "admin": {"bind": BIND}})


async def assert_all_show(made: WithWorkers, certificate: bytes) -> list[Client]:
    """Assert that each worker shows this certificate and serves; return the streams."""
    clients = list((await made.streams_of_all(client_side())).values())
    assert {client.certificate for client in clients} == {certificate}
    for client in clients:
        assert (await client.ask(made.case.request())).body == OK_BODY
    return clients


async def test_a_renewed_certificate_is_shown_by_every_worker_and_by_those_that_begin_later(play: Play, tmp_path: Path):
    first = renew(tmp_path)
    made = await secured(play, tmp_path)
    before = await assert_all_show(made, first)
    second = renew(tmp_path)
    await made.process.until_logged("reload", outcome="applied", certificates=BIND)

    await assert_all_show(made, second)
    for client in before:
        assert (await client.ask(made.case.request())).body == OK_BODY
    kill(made.pids()[2], signal.SIGKILL)
    await made.process.until_logged("worker", 2, outcome="serving", number=2)
    await assert_all_show(made, second)
    assert made.case.token_requests == 1


async def test_a_pair_that_does_not_fit_changes_no_worker_not_even_one_that_begins_then(play: Play, tmp_path: Path):
    first = renew(tmp_path)
    made = await secured(play, tmp_path)
    put(tmp_path, "key.pem", AUTHORITY.issue_cert("localhost").private_key_pem.bytes())
    assert "tls_certificate_mismatch" in (await made.process.until_logged("reload", outcome="rejected"))["faults"]

    await assert_all_show(made, first)
    kill(made.pids()[1], signal.SIGKILL)
    await made.process.until_logged("worker", 2, outcome="serving", number=1)
    await assert_all_show(made, first)


async def test_callers_that_speak_no_tls_or_leave_in_the_middle_of_it_cost_nobody_anything(play: Play, tmp_path: Path):
    certificate = renew(tmp_path)
    made = await secured(play, tmp_path)
    for number in range(40):
        client = await made.case.connect()
        await client.send(made.case.request() if number % 2 else b"\x16\x03\x01\x02\x00\x01")
        if number % 2:
            assert b"HTTP/1.1 200" not in await client.read_rest()
        else:
            client.reset()

    await assert_all_show(made, certificate)
    clients = [await made.case.connect(tls=client_side()) for _ in range(16)]
    shares = Counter(await all_of(*(made.worker_of(client) for client in clients)))
    assert len(shares) == SIZE
    assert not made.process.logged("library")
    assert not made.process.logged("worker", outcome="ended")


async def test_every_worker_speaks_tls_with_the_upstream_and_keeps_its_streams(play: Play):
    made = await play({"base_url": "https://localhost:PORT", "tls": TRUST}, tls=server_tls())
    streams = await made.streams_of_all()

    for _ in range(3):
        for client in streams.values():
            assert (await client.ask(made.case.request())).body == OK_BODY

    assert {each.token for each in made.case.upstream.requests} == {made.case.token()}
    assert len(made.case.upstream.streams) == SIZE


async def test_an_upstream_that_is_not_known_is_refused_by_every_worker(play: Play):
    made = await play({"base_url": "https://localhost:PORT", "tls": TRUST}, tls=server_tls(issuer=trustme.CA()))
    streams = await made.streams_of_all()

    answers = await all_of(*(client.ask(made.case.request()) for client in streams.values()))

    assert {(each.status, each.code) for each in answers} == {(502, "tls_certificate_error")}
    assert made.case.upstream_requests == 0


async def test_every_worker_has_the_certificate_that_the_upstream_wants(play: Play):
    ours = UPSTREAM.issue_cert("client@example.com")
    own = {
        "client_cert": ours.cert_chain_pems[0].bytes().decode(),
        "client_key": ours.private_key_pem.bytes().decode(),
    }
    made = await play(
        {"base_url": "https://localhost:PORT", "tls": {**TRUST, **own}}, tls=demanding_tls(), allow_inline_secrets=True
    )

    for client in (await made.streams_of_all()).values():
        assert (await client.ask(made.case.request())).body == OK_BODY


async def test_a_listener_on_a_unix_socket_with_a_credential_is_shared_too(play: Play, tmp_path: Path):
    bearer = b64encode(os.urandom(16)).decode()
    path = str(tmp_path / "door.sock")
    made = await play(
        listeners={
            "reverse": [{"bind": BIND}, {"bind": f"unix:{path}", "auth": {"bearer": {"env": "BEARER"}}}],
            "admin": {"bind": BIND},
        },
        environment={"BEARER": bearer},
    )
    clients = [await made.case.connect(path) for _ in range(8)]
    lines = (b"GET /c0/x HTTP/1.1", b"Host: localhost")
    credential = b"Authorization: Bearer " + bearer.encode()

    answers = await all_of(*(client.ask(made.case.raw(*lines, credential)) for client in clients))
    strangers = [await made.case.connect(path) for _ in range(8)]
    refused = await all_of(*(client.ask(made.case.raw(*lines)) for client in strangers))

    assert {each.status for each in answers} == {200}
    assert {each.status for each in refused} == {401}
    assert {each.token for each in made.case.upstream.requests} == {made.case.token()}
    assert not any(bearer.encode() in each.head for each in made.case.upstream.requests)
