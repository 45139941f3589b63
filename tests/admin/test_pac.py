import json
import subprocess

import pytest

from proxy.admin.pac import Forward, script
from tests.conftest import program

# A browser evaluates the script on its own, with a few functions beside it that ours does not use.
ASK = """
const context = require('node:vm').createContext({});
require('node:vm').runInContext(process.argv[1], context);
const hosts = JSON.parse(process.argv[2]);
const ways = hosts.map((host) => context.FindProxyForURL(`https://${host}/`, host));
console.log(JSON.stringify(Object.fromEntries(hosts.map((host, n) => [host, ways[n]]))));
"""


def ways(forward, *hosts):
    """Ask Node, for each host, where the script leads."""
    done = subprocess.run(
        [program("node"), "--eval", ASK, script(forward).decode("ascii"), json.dumps(hosts)],
        capture_output=True, text=True, check=True, timeout=30,
    )  # fmt: skip
    return json.loads(done.stdout)


@pytest.mark.needs("node")
def test_claimed_hosts_go_through_the_proxy_and_no_others():
    forward = Forward("127.0.0.1:3128", ["api.example.com", "*.shop.example", "192.0.2.1", "[2001:db8::1]"])
    through = ("api.example.com", "API.Example.COM", "api.example.com.", "eu.shop.example", "a.b.shop.example",
               "192.0.2.1", "2001:db8::1", "iclient-proxy.internal")  # fmt: skip
    direct = ("example.com", "xapi.example.com", "api.example.com.evil.net", "shop.example", "eushop.example",
              ".shop.example", "192.0.2.10", "localhost", "constructor", "__proto__", "")  # fmt: skip

    found = ways(forward, *through, *direct)

    assert {found[host] for host in through} == {"PROXY 127.0.0.1:3128"}
    assert {found[host] for host in direct} == {"DIRECT"}


@pytest.mark.needs("node")
def test_without_a_forward_listener_everything_is_direct():
    assert set(ways(None, "api.example.com", "iclient-proxy.internal").values()) == {"DIRECT"}


@pytest.mark.needs("node")
def test_whatever_a_claim_holds_the_script_stays_a_script():
    odd = ['"; throw 1; //', "</script>", "\u2028", "*.\\", "{}"]

    assert set(ways(Forward("[::1]:3128", odd), *odd[:3]).values()) == {"PROXY [::1]:3128"}


@pytest.mark.case("A-348")
async def test_the_script_is_behind_the_guard_and_bears_its_media_type(admin):
    await admin.start()
    admin.running.listener = Forward("127.0.0.1:3128", ["api.example.com"])
    good = await admin.ask(b"/proxy.pac")

    assert (good.status, good.body) == (200, script(admin.running.listener))
    assert good.values(b"content-type") == [b"application/x-ns-proxy-autoconfig"]
    assert (await admin.ask(b"/proxy.pac", host=b"attacker.example")).code == "misdirected_request"
    assert (await admin.ask(b"/proxy.pac", method=b"POST")).code == "method_not_allowed"
