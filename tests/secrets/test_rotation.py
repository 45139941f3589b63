"""A secret that was replaced: nothing that the keeper can reach holds it, and no line shows it."""

import asyncio
import gc
import random
import types
from pathlib import Path

import pytest

from proxy.access_token import AccessToken
from proxy.definitions.models import Connection
from proxy.exchange.plan import Plan
from proxy.exchange.record import ConnectionCounters
from proxy.secret import Secret
from tests.support.authorization_server import AuthorizationServer, token
from tests.support.canaries import Canary, Scanner, assert_free, canary
from tests.support.stage import Stage
from tests.tokens.kept import connection_to, kept

ENTROPY = random.Random(327)
# What everything in a process is connected by; beyond these lies what is not the keeper's.
BEYOND = (
    types.ModuleType,
    type,
    types.FrameType,
    types.BuiltinFunctionType,
    asyncio.AbstractEventLoop,
    AuthorizationServer,
)


def texts_within(*roots):
    """Return all text and bytes that can be reached from these objects."""
    seen, waiting, texts = set(), list(roots), []
    while waiting:
        each = waiting.pop()
        if id(each) in seen or isinstance(each, BEYOND):
            continue
        seen.add(id(each))
        if isinstance(each, str | bytes | bytearray):
            texts.append(each if isinstance(each, str) else bytes(each).decode("latin-1"))
        elif isinstance(each, types.FunctionType):
            # Its globals are the module's: whatever is there belongs to everybody.
            waiting += [*(each.__closure__ or ()), each.__defaults__, each.__kwdefaults__]
        else:
            waiting += gc.get_referents(each)
    return "\n".join(texts).encode()


@pytest.mark.case("S-327")
async def test_after_a_rotation_the_keeper_reaches_neither_the_old_token_nor_the_old_refresh_token():
    words = [canary(f"{kind} {number}", ENTROPY) for number in (1, 2, 3) for kind in ("access", "refresh", "field")]
    texts = {word.name: word.text for word in words}
    # Of an access token the first twelve characters are kept, for the access log.
    scanner = Scanner(Canary(name, text[12:] if "access" in name else text) for name, text in texts.items())
    reached = []
    async with AuthorizationServer() as server:
        answers = (
            token(texts[f"access {n}"], refresh_token=texts[f"refresh {n}"], tenant=texts[f"field {n}"])
            for n in (1, 2, 3)
        )
        server.script(*answers)
        seed = {"refresh_token": Secret(canary("seed", ENTROPY).text)}
        crm = connection_to(server, written=seed, grant_type="refresh_token")
        async with kept(crm) as keeper:
            plan = Plan(crm, NoOrigins(), keeper, keeper, ConnectionCounters("crm"), lambda: None)
            for _ in range(3):
                await keeper.renew()
                taken = keeper.take()
                plan.injector.line(taken)
                hidden = plan.hidden(taken)
                del taken
                await asyncio.sleep(0)
                gc.collect()
                reached.append({hit.name for hit in scanner.scan(texts_within(keeper, plan.injector, hidden))})
            held = scanner.scan(texts_within(keeper, [texts["refresh 1"]]))

    for number, found in enumerate(reached, 1):
        assert found == {f"access {number}", f"refresh {number}", f"field {number}"}
    # Were an old one held anywhere, it would be found.
    assert "refresh 1" in {hit.name for hit in held}


def test_exchanges_that_end_late_do_not_make_a_line_forget_the_tokens_before():
    crm = Connection(name="crm", base_url="http://localhost")
    plan = Plan(crm, NoOrigins(), None, None, ConnectionCounters("crm"), lambda: None)
    old = [AccessToken(Secret(letter * 40), number) for number, letter in enumerate("abcd")]
    again = AccessToken(Secret("d" * 40), 5)
    new = AccessToken(Secret("e" * 40), 6)
    for each in (*old, again, None, again, new, again, old[3], new, again, new):
        hidden = plan.hidden(each)

    assert hidden[0] == b"e" * 40
    assert set(hidden[1:]) == {b"d" * 12, b"c" * 12, b"b" * 12}


class NoOrigins:
    """Origins for a plan that sends nothing."""

    def __getattr__(self, _name):
        return lambda *_, **__: None


@pytest.mark.case("S-307", "S-321")
async def test_a_line_shows_neither_the_token_of_its_exchange_nor_an_earlier_one(tmp_path: Path):
    stage = Stage({"c0": {}}, {})
    await stage.start(tmp_path)
    case = await stage.case("c0")
    try:
        words = []
        for generation in range(1, 4):
            assert (await case.ask(case.request())).status == 200
            words.append(Canary(f"token {generation}", case.token(generation)))
            for word in words:
                for target in (word.text, word.text + "%2Fx", "".join(f"%{byte:02x}" for byte in word.text.encode())):
                    assert (await case.ask(case.request(target=f"/x/{target}".encode()))).status == 200
            assert (await stage.process.admin_post("/api/connections/c0/renew")).status == 200
        await stage.process.until_logged("exchange", 3 + 3 * (1 + 2 + 3), status=200)
        paths = "\n".join(line["path"] for line in stage.process.logged("exchange"))
    finally:
        await case.close()
        await stage.close()

    assert paths.count("/c0/x/***") == 3 * (1 + 2 + 3)
    assert b"token" not in paths.encode()
    assert_free(Scanner(words), "the access log", paths.encode(), canary("control", ENTROPY))
