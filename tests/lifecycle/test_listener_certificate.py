"""The certificate of a listener is renewed under its path: new streams get it, open ones live on, nobody restarts."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio
import trustme

from tests.support.client import Client
from tests.support.deadline import eventually
from tests.support.scripts import OK_BODY
from tests.support.stage import Stage

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    Open = Callable[..., Awaitable["Scene"]]

AUTHORITY = trustme.CA()
BIND = "127.0.0.1:0"
RENEWALS = 5


def put(folder: Path, name: str, content: bytes) -> None:
    """Write beside and rename, as who renews certificates does."""
    beside = folder / f".{name}.new"
    beside.touch(0o600)
    beside.write_bytes(content)
    beside.rename(folder / name)


def client_side(issuer: trustme.CA | None = None) -> ssl.SSLContext:
    """Return the TLS of a client, with a certificate of its own from `issuer`."""
    context = ssl.create_default_context()
    AUTHORITY.configure_trust(context)
    if issuer is not None:
        issuer.issue_cert("app@example.com").configure_cert(context)
    return context


class Scene:
    """The product behind TLS, and the folder that its certificate is renewed in."""

    def __init__(self, folder: Path, client_ca: trustme.CA | None) -> None:
        self.folder = folder
        self.clients: list[Client] = []
        self.renew()
        tls = {"cert": str(folder / "chain.pem"), "key": str(folder / "key.pem")}
        listener: dict[str, Any] = {"bind": BIND, "tls": tls}
        if client_ca is not None:
            put(folder, "clients.pem", client_ca.cert_pem.bytes())
            listener["auth"] = {"client_ca": str(folder / "clients.pem")}
        self.stage = Stage({"c0": {}}, {"listeners": {"reverse": listener, "admin": {"bind": "127.0.0.1:0"}}})

    async def start(self) -> None:
        await self.stage.start(self.folder)
        self.case = await self.stage.case("c0")

    @property
    def process(self) -> Any:
        return self.stage.process

    def renew(self) -> bytes:
        """Put another certificate and key in place; return the certificate in DER."""
        issued = AUTHORITY.issue_cert("localhost")
        put(self.folder, "key.pem", issued.private_key_pem.bytes())
        put(self.folder, "chain.pem", b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        return ssl.PEM_cert_to_DER_cert(issued.cert_chain_pems[0].bytes().decode())

    async def renewed(self, times: int = 1) -> None:
        """Wait until so many renewals are in force."""
        await self.process.until_logged("reload", times, outcome="applied", certificates=BIND)

    async def connect(self, tls: ssl.SSLContext | None = None) -> Client:
        client = await Client.connect(self.process.reverse, tls=tls or client_side())
        self.clients.append(client)
        return client

    async def ask(self, client: Client) -> tuple[int, bytes]:
        answered = await client.ask(self.case.request())
        return answered.status, answered.body

    async def close(self) -> None:
        for client in self.clients:
            await client.close()
        await self.case.close()


@pytest_asyncio.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Open]:
    async with AsyncExitStack() as after:

        async def start(client_ca: trustme.CA | None = None) -> Scene:
            opened = Scene(tmp_path, client_ca)
            await opened.start()
            after.push_async_callback(opened.stage.close)
            after.push_async_callback(opened.close)
            return opened

        yield start


@pytest.mark.case("C-24", "D-125")
async def test_new_streams_get_the_renewed_certificate_and_open_ones_live_on(scene: Open):
    on = await scene()
    before = await on.connect()
    assert await on.ask(before) == (200, OK_BODY)
    certificate = on.renew()
    await on.renewed()
    after = await on.connect()

    assert after.certificate == certificate != before.certificate
    assert await on.ask(after) == await on.ask(before) == (200, OK_BODY)
    assert on.case.token_requests == 1
    assert len(on.case.upstream.streams) == 1  # the pool of the connection lives on, too


@pytest.mark.case("C-24")
async def test_a_broken_pair_is_refused_with_its_place_and_the_old_one_stays_until_it_is_mended(scene: Open):
    on = await scene()
    before = await on.connect()
    put(on.folder, "key.pem", AUTHORITY.issue_cert("localhost").private_key_pem.bytes())
    line = await on.process.until_logged("reload", outcome="rejected")
    still = await on.connect()

    assert "tls_certificate_mismatch" in line["faults"]
    assert "definitions.yaml:" in line["faults"]
    assert "listeners.reverse.tls.key" in line["faults"]
    assert await on.process.metric("config_last_reload_successful") == 0
    assert still.certificate == before.certificate
    assert await on.ask(still) == (200, OK_BODY)

    certificate = on.renew()
    await on.renewed()
    assert (await on.connect()).certificate == certificate
    assert await on.process.metric("config_last_reload_successful") == 1


@pytest.mark.case("C-24")
async def test_another_authority_of_clients_is_in_force_for_streams_that_come_then(scene: Open):
    first, second = trustme.CA(), trustme.CA()
    on = await scene(first)
    before = await on.connect(client_side(first))
    assert await on.ask(before) == (200, OK_BODY)
    put(on.folder, "clients.pem", second.cert_pem.bytes())
    await on.renewed()
    after = await on.connect(client_side(second))
    turned_away = await on.connect(client_side(first))  # in TLS 1.3 a client is refused after its handshake
    await turned_away.send(on.case.request())

    assert b"200" not in await turned_away.read_rest()
    assert await on.ask(after) == await on.ask(before) == (200, OK_BODY)


@pytest.mark.case("C-25")
async def test_renewals_lose_no_stream_of_a_crowd_that_comes_and_goes(scene: Open):
    on = await scene()
    done = asyncio.Event()
    seen: list[tuple[int, bytes]] = []
    shown: set[bytes] = set()

    async def application() -> None:
        while not done.is_set():
            client = await Client.connect(on.process.reverse, tls=client_side())
            shown.add(client.certificate)
            seen.append(await on.ask(client))
            await client.close()

    applications = [asyncio.create_task(application()) for _ in range(4)]
    certificates = []
    for number in range(1, RENEWALS + 1):
        certificates.append(on.renew())
        await on.renewed(number)
        wanted = certificates[-1]
        await eventually("a stream with the new certificate", lambda wanted=wanted: wanted in shown)
    done.set()
    await asyncio.gather(*applications)

    assert set(seen) == {(200, OK_BODY)}
    assert set(certificates) <= shown
    assert on.case.token_requests == 1
