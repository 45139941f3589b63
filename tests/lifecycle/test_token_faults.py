"""Authorization servers that fail in every way, and what applications, operators and logs of the process get of it."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from tests.support.authorization_server import AuthorizationServer, End, error, raw, respond, say, token
from tests.support.stage import Case, Stage

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.authorization_server import Answer

# Nobody waits for a second attempt: it is three seconds away at least, and the first may take one of them.
LIMITS = {"token_total": "1s", "token_wait": "1500ms", "backoff": {"min": "6s", "max": "8s"}}


class Fault(NamedTuple):
    """What a server answers; what the application gets, the code operators see, the range of `Retry-After`."""

    answer: Answer
    problem: str
    code: str
    least: int
    most: int


FAULTS = {
    "t-54": Fault(raw(End.STALL), "token_unavailable", "token_endpoint_timeout", 1, 6),
    "t-56": Fault(raw(End.RESET), "token_unavailable", "token_endpoint_reset", 1, 6),
    "t-57": Fault(
        raw(b'HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{"access_token": "t"}', End.CLOSE),
        "token_unavailable", "token_response_incomplete", 1, 6,
    ),
    "t-61": Fault(error("invalid_grant"), "token_unavailable", "invalid_grant", 3, 8),
    "t-62": Fault(error("invalid_client", 401), "client_rejected", "invalid_client", 290, 300),
    "t-63": Fault(error("invalid_scope"), "client_rejected", "invalid_scope", 290, 300),
    "t-64": Fault(respond(429, retry_after="30"), "token_unavailable", "token_rate_limited", 25, 33),
    "t-65": Fault(respond(503, retry_after="1000000000"), "token_unavailable", "token_server_error", 290, 330),
    "t-66": Fault(respond(502, b"<html>", "text/html"), "token_unavailable", "token_server_error", 1, 6),
    "t-68": Fault(say(200, {"error": "invalid_grant"}), "token_unavailable", "invalid_grant", 3, 8),
    "t-406": Fault(
        say(400, {"error": "x" * 100_000, "error_description": "\x1b[2J\r\nforged: line"}),
        "token_unavailable", "token_error_other", 1, 6,
    ),
    "t-407": Fault(
        say(400, {"error": "use_dpop_nonce", "error_uri": "https://evil.example/"}, dpop_nonce="n"),
        "client_rejected", "dpop_unsupported", 290, 300,
    ),
    "t-410": Fault(respond(503, set_cookie="session=1"), "token_unavailable", "token_server_error", 1, 6),
}  # fmt: skip


def client_of(server: AuthorizationServer) -> dict[str, Any]:
    return {
        "grant_type": "client_credentials",
        "token_url": server.url,
        "client_id": "app",
        "client_secret": {"env": "CLIENT_SECRET"},
        "valid_domains": [server.authority],
        "allow_insecure": True,
    }


async def fails_as_told(case: Case, server: AuthorizationServer, fault: Fault) -> None:
    """Ask twice while the server fails, then once more when it is well."""
    process = case.stage.process
    for _ in range(2):
        refused = await case.ask(case.request())
        problem = refused.problem()
        assert (refused.status, problem["code"], problem["origin"]) == (503, fault.problem, "authorization_server")
        assert fault.code in problem["detail"]
        assert "evil" not in problem["detail"]
        assert fault.least <= int(refused.values(b"retry-after")[0]) <= fault.most
    assert server.T == 1
    line = await process.until_logged("renewal", connection=case.name)
    assert (line["level"], line["code"]) == ("warning", fault.code)
    said = line.get("said", "")
    assert len(said) <= 250
    assert said.isascii()
    assert said.isprintable() or not said
    server.default = token(f"canary-{case.name}")
    renewed = await process.admin_post(f"/api/connections/{case.name}/renew")
    if fault.code in {"token_rate_limited", "token_server_error"} and fault.least > 4:
        assert (renewed.status >= 400, server.T) == (
            True,
            1,
        )  # what a server asks for, operators do not undercut either
        return
    served = await case.ask(case.request())
    assert (served.status, server.T, case.upstream_requests) == (200, 2, 1)
    assert [asked.target for asked in server.asked] == ["/token"] * 2
    assert server.asked[1].values("cookie") == []


@pytest.mark.case(
    "T-54", "T-56", "T-57", "T-61", "T-62", "T-63", "T-64", "T-65", "T-66", "T-68", "T-406", "T-407", "T-410", "R-364"
)  # fmt: skip
async def test_every_failure_has_its_answer_its_pause_and_its_line_and_costs_one_token_request(tmp_path: Path):
    async with AsyncExitStack() as after:
        servers = {
            name: await after.enter_async_context(AuthorizationServer(default=fault.answer))
            for name, fault in FAULTS.items()
        }
        connections = {name: {"iclient": client_of(server)} for name, server in servers.items()}
        stage = Stage(connections, {"limits": LIMITS})
        await stage.start(tmp_path)
        after.push_async_callback(stage.close)
        cases = {name: await stage.case(name) for name in FAULTS}
        for case in cases.values():
            after.push_async_callback(case.close)

        ends = await asyncio.gather(
            *(fails_as_told(cases[name], servers[name], fault) for name, fault in FAULTS.items()),
            return_exceptions=True,
        )

        wrong = {name: end for name, end in zip(FAULTS, ends, strict=True) if end is not None}
        assert wrong == {}
