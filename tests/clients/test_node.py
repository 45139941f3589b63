"""Node programs of many habits, under the script that `env` has loaded before them: nobody can change them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.clients.api import ORDERS, Api
from tests.clients.stage import ClientStage

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.needs("node")]

URLS = {"orders": "https://api.example.com"}
GET = """
import http from "node:http";
import https from "node:https";
const got = (module, ...words) => new Promise((resolve, reject) => {
  module.get(...words, (response) => {
    let text = "";
    response.on("data", (piece) => { text += piece; });
    response.on("end", () => resolve(text));
  }).on("error", (error) => reject(error));
});
"""
HABITS = {
    "a URL": 'console.log(await got(http, "http://api.example.com/v1/orders"));',
    "a URL object": 'console.log(await got(http, new URL("http://api.example.com/v1/orders")));',
    "options": 'console.log(await got(http, { hostname: "api.example.com", path: "/v1/orders" }));',
    "an agent of its own": (
        "const agent = new http.Agent({ keepAlive: true });"
        'for (const n of [1, 2]) console.log(await got(http, "http://api.example.com/v1/orders", { agent }));'
        "agent.destroy();"
    ),
    "no agent": 'console.log(await got(http, "http://api.example.com/v1/orders", { agent: false }));',
    "headers of its own": (
        'console.log(await got(http, "http://api.example.com/v1/orders", { headers: { "X-Own": "1" } }));'
    ),
    "fetch, many at once": (
        'const all = await Promise.all([1, 2, 3].map(() => fetch("http://api.example.com/v1/orders")));'
        "for (const each of all) console.log(await each.text());"
    ),
    "fetch of a Request": (
        'const request = new Request("http://api.example.com/v1/orders", { headers: { "X-Own": "1" } });'
        "console.log(await (await fetch(request)).text());"
    ),
}


async def ran(stage: ClientStage, folder: Path, program: str, *options: str):
    (folder / "app.mjs").write_text(GET + program)
    return await stage.run("node app.mjs", "node", *options, folder=folder)


@pytest.mark.parametrize("habit", HABITS)
async def test_a_program_gets_through_whatever_its_habit(habit: str, api: Api, stage: ClientStage, tmp_path: Path):
    before = api.answered

    said = await ran(stage, tmp_path, HABITS[habit])

    assert said.status == 0, said
    assert set(said.lines) == {ORDERS.decode()}
    assert api.answered - before == len(said.lines)


@pytest.mark.parametrize("by", ["fetch(url).then((response) => response.text())", "got(http, url)"])
async def test_a_host_that_goes_past_the_proxy_is_asked_directly(by: str, stage: ClientStage, tmp_path: Path):
    url = "http://{}:{}/livez".format(*stage.process.admin)

    said = await ran(stage, tmp_path, f'const url = "{url}"; console.log(await {by});')

    assert (said.status, said.out) == (0, "ok\n\n"), said


@pytest.mark.parametrize("by", ["fetch(url)", "got(https, url)"])
async def test_a_tunnel_that_is_refused_is_an_error_and_no_silence(by: str, stage: ClientStage, tmp_path: Path):
    said = await ran(
        stage, tmp_path, f'const url = "https://nobody.invalid/"; await {by}.catch((e) => console.log(e.cause ?? e));'
    )

    assert said.status == 0, said
    assert "the proxy answered CONNECT nobody.invalid:443 with 502" in said.out
