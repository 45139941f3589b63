"""A thousand authorization servers that are gone: each is asked once, all together then only a few times a second."""

from __future__ import annotations

from collections import Counter
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.authorization_server import AuthorizationServer, respond
from tests.support.deadline import awaiting
from tests.support.stage import Stage

if TYPE_CHECKING:
    from pathlib import Path

DEAD = 1_000
RETRIES = 120
PER_SECOND = 20


class Crowded(Stage):
    """A stage with so many connections more, each of them with a server of its own that `dead` stands for."""

    def __init__(self, dead: AuthorizationServer) -> None:
        super().__init__({"c0": {}}, {"log": {"access": False}, "limits": {"definitions": DEAD + 1}})
        self._dead = dead

    def definitions(self) -> dict[str, Any]:
        found = super().definitions()
        # What all have in common stands once: a file may have no more than 10,000 nodes.
        found["defaults"] = {
            "iclient": {
                "grant_type": "client_credentials",
                "allow_insecure": True,
                "client_secret": {"env": "CLIENT_SECRET"},
            },
            "connection": {"base_url": "http://127.0.0.1:9"},
        }
        found["connections"] |= {f"d{number}": self._gone(number) for number in range(DEAD)}
        return found

    def _gone(self, number: int) -> dict[str, Any]:
        authority = f"127.1.{number // 250}.{number % 250 + 1}:{self._dead.port}"
        return {"iclient": {"token_url": f"http://{authority}/token", "client_id": f"d{number}"}}


@pytest.mark.case("T-408", "R-370")
@pytest.mark.timeout(120)
async def test_a_thousand_dead_servers_are_retried_twenty_times_a_second_and_the_living_notice_nothing(tmp_path: Path):
    async with AsyncExitStack() as after:
        dead = await after.enter_async_context(AuthorizationServer(host="0.0.0.0", default=respond(503)))
        stage = Crowded(dead)
        stage.tokens.members["c0"] = {"expires_in": 2}
        await stage.start(tmp_path)
        after.push_async_callback(stage.close)
        case = await stage.case("c0")
        after.push_async_callback(case.close)
        client = await case.connect()
        statuses: Counter[int] = Counter()
        async with awaiting("the retries", 60):
            while dead.T < DEAD + RETRIES:
                await dead.was_asked(dead.T + 1)
                statuses[(await client.ask(case.request())).status] += 1

        asked_before: set[str | None] = set()
        retries = []
        for asked in dead.asked:
            if asked.basic in asked_before:
                retries.append(asked.arrived)
            asked_before.add(asked.basic)
        assert (len(asked_before), len(retries)) == (DEAD, RETRIES)
        assert max(sum(first <= other < first + 1 for other in retries) for first in retries) <= PER_SECOND
        assert set(statuses) == {200}
        assert statuses[200] == case.upstream_requests
        # Its own renewals ahead of time did not wait in that line: more of them than a token that is used lasts for.
        assert case.token_requests >= (retries[-1] - retries[0]) // 2
