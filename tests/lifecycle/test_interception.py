"""Interception over the life of the process: who is not covered, who is told apart, another authority, the end."""

from __future__ import annotations

import base64
import json
import signal
import ssl
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from tests.support.deadline import awaiting
from tests.support.interception import (
    TRUST,
    UPSTREAM,
    LocalAuthority,
    at,
    connect,
    connected,
    listeners,
    server_tls,
)
from tests.support.scripts import OK_BODY
from tests.support.stage import Case, Stage

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from tests.support.client import Client

    Play = Callable[..., Awaitable[Case]]

AUTHORITY = LocalAuthority("localhost")


@pytest_asyncio.fixture
async def play(tmp_path: Path) -> AsyncIterator[Play]:
    """Start the product with one connection over TLS, intercepted by `AUTHORITY` unless it is said otherwise."""
    async with AsyncExitStack() as after:

        async def start(
            connection: dict[str, Any] | None = None, forward: dict[str, Any] | None = None, **settings: Any
        ) -> Case:
            own = {"base_url": "https://localhost:PORT", "tls": TRUST, **(connection or {})}
            intercept = {"intercept": AUTHORITY.write(tmp_path)}
            stage = Stage({"c0": own}, {"listeners": listeners(**{**intercept, **(forward or {})}), **settings})
            await stage.start(tmp_path)
            after.push_async_callback(stage.close)
            case = await stage.case("c0", server_tls())
            after.push_async_callback(case.close)
            return case

        yield start


async def inside(case: Case, *fields: bytes, authority: LocalAuthority = AUTHORITY) -> Client:
    client = await connected(case, b"", *fields)
    await client.secure(authority.trusting(), "localhost")
    return client


def request(case: Case, target: bytes = b"/x") -> bytes:
    return case.raw(b"GET %s HTTP/1.1" % target, b"Host: " + at(case))


def trusting_upstream() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    UPSTREAM.configure_trust(context)
    return context


@pytest.mark.case("F-259")
async def test_a_claimed_host_that_is_not_covered_is_tunnelled_with_one_warning(play: Play, tmp_path: Path):
    only_elsewhere = LocalAuthority("elsewhere.example").write(tmp_path / "other")
    case = await play(forward={"intercept": only_elsewhere})

    for _ in range(2):
        client = await connected(case)
        await client.secure(trusting_upstream(), "localhost")  # the upstream itself
        assert (await client.ask(request(case))).status == 200

    process = case.stage.process
    assert [each.token for each in case.upstream.requests] == ["", ""]
    assert len(process.logged("blind_tunnel", host="localhost")) == 1
    [warned] = process.logged("definitions", warning="ca_does_not_cover")
    assert "may not sign for localhost" in warned["place"]


@pytest.mark.case("F-259")
async def test_where_blind_tunnels_are_rejected_a_host_that_is_not_covered_is_refused(play: Play, tmp_path: Path):
    only_elsewhere = LocalAuthority("elsewhere.example").write(tmp_path / "other")
    case = await play(forward={"intercept": only_elsewhere, "claimed_connect": "reject"})
    client = await case.connect(case.stage.process.listening["forward"][0])

    refused = await client.ask(connect(case))

    assert (refused.status, refused.code) == (403, "interception_required")
    assert case.upstream.streams == []


@pytest.mark.case("F-267")
async def test_a_credential_that_a_reload_takes_back_is_worth_nothing_inside_either(play: Play, tmp_path: Path):
    def forward(password: str) -> dict[str, Any]:
        return {"intercept": AUTHORITY.write(tmp_path), "proxy_auth": {"username": "app", "password": password}}

    def showing(password: str) -> bytes:
        return b"Proxy-Authorization: Basic " + base64.b64encode(b"app:" + password.encode())

    old, new = "canary-password-before", "canary-password-after"
    case = await play(forward=forward(old), allow_inline_secrets=True)
    client = await inside(case, showing(old))
    assert (await client.ask(request(case))).body == OK_BODY
    written = tmp_path / "definitions.yaml"
    written.write_text(written.read_text().replace(old, new))
    case.stage.process.signal(signal.SIGHUP)
    await case.stage.process.until_logged("reload", outcome="applied")

    refused = await client.ask(request(case))
    assert (refused.status, refused.code) == (421, "misdirected_request")
    assert (await (await inside(case, showing(new))).ask(request(case))).body == OK_BODY
    assert case.upstream_requests == 2


@pytest.mark.case("F-264")
async def test_a_crowd_of_new_names_is_refused_before_anything_is_dialled(play: Play):
    case = await play(connection={"hosts": ["*.localhost"]})
    address = case.stage.process.listening["forward"][0]
    clients = [await case.connect(address) for _ in range(300)]

    for number, client in enumerate(clients):
        await client.send(connect(case, at(case, f"h{number}.localhost")))
    statuses = [(await client.read_until(b"\r\n\r\n"))[9:12] for client in clients]

    assert set(statuses) == {b"200", b"503"}
    assert statuses[:50] == [b"200"] * 50
    assert case.upstream.streams == []


@pytest.mark.parametrize(("user", "name"), [("c0", "c0"), ("other", "other")])
async def test_the_user_name_of_the_connect_decides_for_all_requests_inside(user: str, name: str, tmp_path: Path):
    stage = Stage(
        {"c0": {"base_url": "https://localhost:PORT", "tls": TRUST}, "other": {}},
        {"listeners": listeners(intercept=AUTHORITY.write(tmp_path))},
    )
    written = stage.definitions()
    written["connections"]["other"].update(base_url=written["connections"]["c0"]["base_url"], tls=TRUST)
    stage.definitions = lambda: written  # type: ignore[method-assign]
    await stage.start(tmp_path)
    case = await stage.case("c0", server_tls())
    credential = {"c0": b"YzA6", "other": b"b3RoZXI6"}[user]  # "c0:" and "other:"
    try:
        client = await inside(case, b"Proxy-Authorization: Basic " + credential)
        answered = [await client.ask(request(case)) for _ in range(2)]
    finally:
        await case.close()
        await stage.close()

    assert [each.status for each in answered] == [200, 200]
    assert [each.token for each in case.upstream.requests] == [f"canary-token-{name}-1"] * 2
    assert case.upstream.requests[0].values(b"proxy-authorization") == []


async def test_another_authority_is_taken_over_by_a_reload_and_open_streams_go_on(play: Play, tmp_path: Path):
    case = await play()
    process = case.stage.process
    old = await inside(case)
    assert (await old.ask(request(case))).status == 200
    following = LocalAuthority("localhost")
    following.write(tmp_path)  # over the files of the first one

    process.signal(signal.SIGHUP)
    assert (await process.until_logged("reload"))["outcome"] == "applied"
    new = await inside(case, authority=following)

    assert (await new.ask(request(case))).status == 200
    assert (await old.ask(request(case))).status == 200
    assert (await process.admin_get("/ca.pem")).body.decode() == following.certificate


async def test_a_reload_without_interception_leaves_nothing_to_trust(play: Play, tmp_path: Path):
    case = await play()
    process = case.stage.process
    old = await inside(case)
    definitions = json.loads((tmp_path / "definitions.yaml").read_text())
    definitions["listeners"]["forward"]["intercept"]["enabled"] = False
    (tmp_path / "definitions.yaml").write_text(json.dumps(definitions))

    process.signal(signal.SIGHUP)
    assert (await process.until_logged("reload"))["outcome"] == "applied"
    client = await connected(case)
    await client.secure(trusting_upstream(), "localhost")

    assert (await process.admin_get("/ca.pem")).status == 404
    assert (await client.ask(request(case))).status == 200
    assert (await old.ask(request(case))).status == 200
    assert [each.token for each in case.upstream.requests] == ["", case.token()]


async def test_a_reload_whose_authority_can_not_be_used_changes_nothing(play: Play, tmp_path: Path):
    case = await play()
    process = case.stage.process
    (tmp_path / "ca" / "key.pem").chmod(0o644)

    process.signal(signal.SIGHUP)
    line = await process.until_logged("reload")

    assert line["outcome"] == "rejected"
    assert "ca_key_exposed" in line["faults"]
    assert (await (await inside(case)).ask(request(case))).body == OK_BODY
    (tmp_path / "ca" / "key.pem").chmod(0o600)


@pytest.mark.case("F-262")
async def test_a_client_that_never_shakes_hands_is_closed(play: Play):
    case = await play(limits={"head_timeout": "200ms"})
    silent, slow = await connected(case), await connected(case)

    await slow.send(b"\x16\x03\x01")

    assert await silent.is_closed()
    assert await slow.is_closed()


async def test_an_idle_stream_ends_with_the_process_and_says_so_within_tls(play: Play):
    case = await play()
    client = await inside(case)
    assert (await client.ask(request(case))).status == 200

    case.stage.process.signal()

    async with awaiting("the goodbye"):
        assert await client.is_closed()
    assert not client.was_reset
    assert await case.stage.process.exit_status() == 0


@pytest.mark.case("F-265")
@pytest.mark.parametrize("spoil", ["exposed", "missing", "mismatch"])
async def test_the_proxy_does_not_start_with_an_authority_that_can_not_be_used(spoil: str, tmp_path: Path):
    intercept = AUTHORITY.write(tmp_path)
    key = tmp_path / "ca" / "key.pem"
    match spoil:
        case "exposed":
            key.chmod(0o644)
        case "missing":
            key.unlink()
        case _:
            (tmp_path / "elsewhere").mkdir()
            LocalAuthority("localhost").write(tmp_path / "elsewhere")
            (tmp_path / "elsewhere" / "ca" / "key.pem").replace(key)
    stage = Stage({"c0": {}}, {"listeners": listeners(intercept=intercept)})

    await stage.start(tmp_path, serving=False)
    status = await stage.process.exit_status()
    said = stage.process.output
    await stage.close()

    assert status == 78
    assert "listeners.forward.intercept.ca.key: " in said
    assert {"exposed": "chmod 600", "missing": "ca init", "mismatch": "does not lead to"}[spoil] in said
