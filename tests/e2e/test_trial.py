"""The product as a new user tries it: its own command, real clients, a real upstream, an authorization server not ours.

U is read from nginx's access log, T from the authorization server's events.
"""

import hashlib
import json
import os
import subprocess

import pytest

from tests.conftest import program
from tests.e2e.conftest import SECRETS
from tests.e2e.peers import SECONDS, Proxy, command, curl

pytestmark = [pytest.mark.needs("curl", "nginx", "node", "oidc-provider"), pytest.mark.timeout(120)]

FETCH = """
const [url, size] = process.argv.slice(1);
const body = Buffer.alloc(Number(size), 'node');
const response = await fetch(url, { method: 'POST', body, headers: { 'X-Client': 'fetch' } });
console.log(JSON.stringify({ status: response.status, sent: await response.json() }));
"""


def asked(nginx, target):
    """Return what nginx saw for one target, in order."""
    return [line for line in nginx.seen() if line["request"].split()[1] == target]


def tokens(authorization_server, client):
    """Return T of one client: how many token requests came of it to a token, over all grants."""
    issued = authorization_server.counts()["issued"]
    return sum(count for name, count in issued.items() if name.split()[0] == client)


def echoed(sent, field):
    """Return the values of a header field as the API saw them."""
    pairs = zip(sent["headers"][::2], sent["headers"][1::2], strict=True)
    return [value for name, value in pairs if name.lower() == field]


def bearer(line):
    scheme, token = line["authorization"].split(" ")
    assert scheme == "Bearer"
    return token


def test_curl_without_a_credential_gets_through_to_an_api_that_wants_a_token(proxy, nginx):
    direct = curl(f"{nginx.url}/v1/first", "--cacert", proxy.file.with_name("ca.pem"))
    through = curl(f"{proxy.url}/orders/v1/first")

    assert (direct.status, through.status) == (401, 200)
    assert through.json()["method"] == "GET"
    assert [line["status"] for line in asked(nginx, "/v1/first")] == [401, 200]


def test_many_requests_use_one_token(proxy, nginx, authorization_server):
    before = tokens(authorization_server, "basic-app")
    replies = [curl(f"{proxy.url}/orders/v1/many/{number}") for number in range(5)]

    assert [reply.status for reply in replies] == [200] * 5
    assert len({line["authorization"] for number in range(5) for line in asked(nginx, f"/v1/many/{number}")}) == 1
    assert tokens(authorization_server, "basic-app") == before


def test_requests_that_arrive_cold_together_make_one_token_request(proxy, authorization_server):
    addresses = [f"{proxy.url}/cold/v1/together/{number}" for number in range(20)]
    outputs = [word for _ in addresses for word in ("--output", os.devnull)]

    done = subprocess.run(
        [program("curl"), "--disable", "--silent", "--noproxy", "*", "--parallel", "--parallel-immediate",
         "--write-out", "%{http_code}\n", *outputs, *addresses],
        capture_output=True, text=True, check=True, timeout=SECONDS,
    )  # fmt: skip

    assert done.stdout.split() == ["200"] * 20
    assert tokens(authorization_server, "cold-app") == 1


def test_the_secret_can_go_in_the_body_of_the_token_request(proxy, authorization_server):
    reply = curl(f"{proxy.url}/billing/v1/invoices")

    assert reply.status == 200
    assert authorization_server.counts()["issued"]["post-app client_credentials"] == 1


def test_a_target_reaches_the_upstream_as_it_was_written(proxy, nginx):
    target = "/v1/a%2Fb;p=1/%7Euser?x=%20&y&z=1,2&x=+"

    reply = curl(f"{proxy.url}/orders{target}")

    assert reply.json()["url"] == target
    assert len(asked(nginx, target)) == 1


def test_a_credential_of_the_application_is_replaced(proxy, nginx):
    reply = curl(
        f"{proxy.url}/orders/v1/own", "-H", "authorization: Basic b3duOm9uZQ==", "-H", "AUTHORIZATION: Bearer mine"
    )

    assert reply.status == 200
    assert echoed(reply.json(), "authorization") == [asked(nginx, "/v1/own")[0]["authorization"]]
    assert "mine" not in reply.body.decode()


def test_fetch_of_node_sends_a_body_through_unchanged(proxy):
    done = subprocess.run(
        [program("node"), "--input-type=module", "--eval", FETCH, f"{proxy.url}/orders/v1/upload", "1000000"],
        capture_output=True, text=True, check=True, timeout=SECONDS,
    )  # fmt: skip

    said = json.loads(done.stdout)
    assert said["status"] == 200
    assert said["sent"]["sha256"] == hashlib.sha256(b"node" * 250_000).hexdigest()
    assert echoed(said["sent"], "x-client") == ["fetch"]


def test_large_bodies_pass_in_both_directions(proxy, nginx, tmp_path):
    content = os.urandom(8 << 20)
    (nginx.files / "large").write_bytes(content)
    (tmp_path / "large").write_bytes(content)

    down = curl(f"{proxy.url}/orders/files/large")
    up = curl(f"{proxy.url}/orders/v1/large", "--upload-file", tmp_path / "large")
    chunked = curl(f"{proxy.url}/orders/v1/chunked", "--upload-file", "-", "-H", "Content-Length:")

    assert down.body == content
    assert up.json()["sha256"] == hashlib.sha256(content).hexdigest()
    assert chunked.json()["length"] == 0


def test_a_token_revoked_at_the_authorization_server_is_renewed_and_the_request_sent_again(
    proxy, nginx, authorization_server
):
    curl(f"{proxy.url}/orders/v1/before")
    old = bearer(asked(nginx, "/v1/before")[0])
    before = tokens(authorization_server, "basic-app")
    authorization_server.revoke(old, "basic-app", SECRETS["BASIC_SECRET"])

    reply = curl(f"{proxy.url}/orders/v1/after", "--data", "a body that is sent twice")

    assert reply.status == 200
    assert reply.json()["sha256"] == hashlib.sha256(b"a body that is sent twice").hexdigest()
    first, second = asked(nginx, "/v1/after")
    assert (first["status"], second["status"]) == (401, 200)
    assert bearer(first) == old
    assert bearer(second) != old
    assert tokens(authorization_server, "basic-app") == before + 1


def test_a_body_too_large_to_keep_is_not_sent_twice_but_the_next_request_gets_through(
    proxy, nginx, authorization_server
):
    curl(f"{proxy.url}/large/v1/large-before")
    old = bearer(asked(nginx, "/v1/large-before")[0])
    authorization_server.revoke(old, "large-app", SECRETS["BASIC_SECRET"])

    refused = curl(f"{proxy.url}/large/v1/large-after", "--data", "x" * 100_000, "-H", "Expect:")
    following = curl(f"{proxy.url}/large/v1/large-next")

    assert refused.status == 401
    assert refused.json() == {"error": "invalid_token"}
    assert "auth-retry-not-replayable" in refused.fields["proxy-status"]
    assert len(asked(nginx, "/v1/large-after")) == 1
    assert following.status == 200
    assert tokens(authorization_server, "large-app") == 2


def test_a_password_gets_the_first_token_and_the_refresh_token_the_next(proxy, nginx, authorization_server):
    first = curl(f"{proxy.url}/alice/v1/alice-first")
    authorization_server.forget(bearer(asked(nginx, "/v1/alice-first")[0]))
    second = curl(f"{proxy.url}/alice/v1/alice-second")

    issued = authorization_server.counts()["issued"]
    assert (first.status, second.status) == (200, 200)
    assert issued["alice-app password"] == 1
    assert issued["alice-app refresh_token"] == 1


def test_a_grant_that_is_gone_is_replaced_by_the_password_before_the_application_notices(
    proxy, nginx, authorization_server
):
    curl(f"{proxy.url}/alice/v1/alice-before")
    before = authorization_server.counts()
    authorization_server.revoke(bearer(asked(nginx, "/v1/alice-before")[-1]), "alice-app", SECRETS["BASIC_SECRET"])

    reply = curl(f"{proxy.url}/alice/v1/alice-after")

    after = authorization_server.counts()
    assert reply.status == 200
    assert [line["status"] for line in asked(nginx, "/v1/alice-after")] == [401, 200]
    assert after["refused"]["alice-app refresh_token"] == 1
    assert after["issued"]["alice-app password"] == before["issued"]["alice-app password"] + 1


def test_a_client_that_the_authorization_server_rejects_is_told_in_words_and_asked_for_once(
    proxy, authorization_server
):
    before = authorization_server.counts()["requests"]

    replies = [curl(f"{proxy.url}/rejected/v1/x") for _ in range(3)]

    assert [reply.status for reply in replies] == [503] * 3
    assert replies[0].fields["content-type"] == "application/problem+json"
    assert [reply.json()["code"] for reply in replies] == ["client_rejected"] * 3
    assert replies[0].json()["origin"] == "authorization_server"
    assert authorization_server.counts()["requests"] == before + 1


def test_an_upstream_whose_certificate_nobody_vouches_for_gets_no_token(proxy, nginx):
    reply = curl(f"{proxy.url}/strange/v1/strange")

    assert (reply.status, reply.json()["code"]) == (502, "tls_certificate_error")
    assert asked(nginx, "/v1/strange") == []


def test_each_request_leaves_one_line_without_its_query(proxy):
    curl(f"{proxy.url}/orders/v1/logged?card=4111")

    line = proxy.until_line("exchange", "/orders/v1/logged")

    assert (line["connection"], line["method"], line["status"], line["attempts"]) == ("orders", "GET", 200, 1)
    assert "4111" not in proxy.output


def test_the_counts_agree_with_those_of_the_upstream(proxy):
    curl(f"{proxy.url}/orders/v1/counted")

    page = curl(f"{proxy.admin}/metrics").body.decode()

    assert 'iclient_proxy_requests_total{connection="orders",code="200"}' in page
    assert 'iclient_proxy_token_requests_total{connection="orders"' in page
    assert [secret for secret in SECRETS.values() if secret in page] == []


def test_the_commands_beside_a_running_proxy_answer(proxy, nginx):
    admin = ("--admin", proxy.admin)

    status = json.loads(proxy.say("status", "--format", "json", *admin))
    proxy.say("renew", "orders", *admin)
    token = proxy.say("token", "orders", "--config", proxy.file).strip()

    assert {entry["name"]: entry["state"] for entry in status}["orders"] in {"valid", "due"}
    accepted = curl(
        f"{nginx.url}/v1/by-hand", "--cacert", proxy.file.with_name("ca.pem"), "-H", f"Authorization: Bearer {token}"
    )
    assert accepted.status == 200


def test_definitions_are_checked_with_every_fault_at_once(folder, definitions, proxy, tmp_path):
    (tmp_path / "ca.pem").write_bytes((folder / "ca.pem").read_bytes())
    (tmp_path / "other.pem").write_bytes((folder / "other.pem").read_bytes())
    good, bad = tmp_path / "good.yaml", tmp_path / "bad.yaml"
    good.write_text(definitions)
    bad.write_text(
        definitions.replace("grant_type: password", "grant_type: pasword").replace("required: true", "requird: true")
    )

    command("check", "--config", good, folder=tmp_path, environment=SECRETS)
    faults = command("check", "--config", bad, folder=tmp_path, environment=SECRETS, status=78)

    assert "did you mean password" in faults
    assert "did you mean required" in faults
    assert f"{bad}:" in faults or "bad.yaml:" in faults


@pytest.mark.usefixtures("proxy")
def test_a_proxy_that_is_told_to_stop_ends_with_0(folder, definitions):
    second = Proxy(folder, definitions, SECRETS)
    assert curl(f"{second.url}/orders/v1/last").status == 200

    assert second.stop() == 0
