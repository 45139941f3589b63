"""Every definition of a page is loaded, every command is run somewhere or has its reason, every option exists."""

import json
import os
import re

import pytest
import trustme
import yaml

from proxy.definitions.connections import CONNECTION
from proxy.definitions.iclients import ICLIENT
from proxy.definitions.load import load
from proxy.definitions.table import TOP
from proxy.sealing import new_key
from tests.celigo.exports import connection, iclient
from tests.clients.stage import shell
from tests.docs.page import ROOT, blocks, pages

DEFINITIONS = [block for page in pages() for block in blocks(page, "yaml")]
COMMANDS = [block for page in pages() for block in blocks(page, "sh", "shell")]
# YAML that is not the proxy's, or that another test has.
NOT_HERE = {
    "docs/tutorial.md": "tests/docs/test_tutorial.py types it, mistakes included",
    "docs/guides/kubernetes.md": "tests/docs/test_kubernetes.py",
    "docs/guides/prometheus.md": "Prometheus's own; tests/clients/test_prometheus.py runs it",
}
NOT_RUN = {
    "README.md-1": "make demo: tests/docs/test_tutorial.py; make test: this",
    "README.md-4": "tests/docs/test_tutorial.py has the same, with an API that there is",
    "README.md-5": "tests/clients/test_guides.py",
    "CONTRIBUTING.md-1": "they are how this is run",
    "docs/authorize.md-1": "a human answers; tests/cli/test_consent.py and tests/browser play one",
    "docs/authorize.md-2": "no cluster here",
    "docs/authorize.md-3": "a human answers; tests/cli/test_consent.py plays one",
    "docs/chaos.md-1": "an hour; tests/chaos has small runs of each part",
    "docs/fuzzing.md-1": "minutes; tests/fuzz has short forms",
    "docs/mutants.md-1": "hours; tests/mutants tests the runner",
    "docs/performance.md-1": "an hour; tests/bench",
    "docs/performance.md-2": "needs a compiler; tests/house/test_distribution.py builds both wheels",
    "docs/scoreboard.md-1": "minutes, and until Ctrl-C; tests/bench/test_scoreboard.py, tests/demo/test_faults.py",
    "docs/workers.md-2": "minutes, and control groups; tests/bench",
}
SECRETS = (
    "ACME_SECRET", "CLIENT_SECRET", "EU_SECRET", "US_SECRET", "LISTENER_TOKEN", "ZENDESK_SECRET", "DEMO_CLIENT_SECRET",
)  # fmt: skip
REST = """
connections:
  acme:
    base_url: https://api.example.com
"""
ICLIENT_REST = """
    iclient:
      grant_type: client_credentials
      token_url: https://auth.example.com/oauth/token
      client_id: my-app
      client_secret: {env: CLIENT_SECRET}
"""


def whole(text):
    """Return a fragment of a definition with what it lacks to be one."""
    keys = {key.value for key, _ in yaml.compose(text).value}
    if keys <= set(TOP.keys):
        return text if "connections" in keys else text + REST + ICLIENT_REST
    indented = re.sub("^", "    ", text, flags=re.MULTILINE)
    assert keys <= set(CONNECTION.keys) | set(ICLIENT.keys)
    return REST + indented + "\n" + ICLIENT_REST


@pytest.mark.parametrize("block", [each for each in DEFINITIONS if each.page not in NOT_HERE], ids=str)
def test_a_definition_of_a_page_can_be_loaded(block, tmp_path):
    authority = trustme.CA()
    certificate = authority.issue_cert("redis.example")
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    certificate.cert_chain_pems[0].write_to_path(str(tmp_path / "client.pem"))
    certificate.private_key_pem.write_to_path(str(tmp_path / "client.key"))
    (tmp_path / "client.key").chmod(0o600)
    file = tmp_path / "iclient-proxy.yaml"
    file.write_text(whole(block.text).replace("/etc/redis", str(tmp_path)))
    environ = dict.fromkeys(SECRETS, "canary") | {
        "STORE_KEY": new_key(os.urandom),
        "REDIS_URL": "rediss://redis.example",
        "EGRESS_PROXY": "http://user:canary@proxy.corp.example:3128",
        "ICLIENT_PROXY_STATE": str(tmp_path / "state"),
    }

    loaded = load([file], environ, with_authority=False)

    assert loaded.definitions.connections


def run_here():
    """Return the blocks of pages outside the guides and the tutorial that are run below."""
    apart = ("docs/guides/", "docs/tutorial.md")
    return {str(each) for each in COMMANDS if each.language == "sh" and not each.page.startswith(apart)} - set(NOT_RUN)


def block(name):
    [found] = [each for each in COMMANDS if str(each) == name]
    return found


def test_no_command_is_forgotten_and_no_reason_is_left_over():
    ran = {"docs/values.md-1", "docs/auth-errors.md-3", "docs/integrator-io.md-1", "README.md-3"}

    assert run_here() == ran
    assert set(NOT_RUN) - {str(each) for each in COMMANDS} == set()


@pytest.mark.needs("sh")
async def test_a_secret_is_sealed_as_the_page_on_values_says(tmp_path):
    said = await shell(block("docs/values.md-1").text, tmp_path, SECRET="canary")

    assert said.status == 0, said
    assert re.fullmatch(r'\{sealed: "sealed-v1\.[0-9a-f]{8}\.[\w-]+"\}\n', said.out)


@pytest.mark.needs("sh")
async def test_what_integrator_io_knows_is_imported_as_the_page_says(tmp_path):
    (tmp_path / "iclients.json").write_text(json.dumps([iclient({})]))
    (tmp_path / "connections.json").write_text(json.dumps([connection()]))

    said = await shell(block("docs/integrator-io.md-1").text, tmp_path)

    assert said.status == 0, said
    assert "acme-crm:" in (tmp_path / "iclient-proxy.yaml").read_text()


@pytest.mark.needs("sh")
async def test_a_refused_response_is_judged_as_the_page_on_auth_errors_says(tmp_path):
    fetching, _, judging = block("docs/auth-errors.md-3").text.partition("\n")
    (tmp_path / "iclient-proxy.yaml").write_text(whole("allow_inline_secrets: false\n"))
    (tmp_path / "refused.http").write_text("HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n")

    said = await shell(judging, tmp_path, CLIENT_SECRET="canary")

    assert fetching.endswith("> refused.http")
    assert said.status == 0, said
    assert "status-401" in said.out


@pytest.mark.needs("sh")
async def test_the_first_definition_is_checked_as_the_readme_says(tmp_path):
    (tmp_path / "iclient-proxy.yaml").write_text(blocks(ROOT / "README.md", "yaml")[0].text)
    lines = block("README.md-3").text.replace(".venv/bin/", "").replace("…", "what-the-server-gave-you").splitlines()

    said = await shell("\n".join(lines[:2]), tmp_path)

    assert lines[2] == "iclient-proxy run"  # the tutorial runs it
    assert (said.status, said.err) == (0, "Next: iclient-proxy run\n")
    assert said.out.startswith("The definitions are fine")


def written_options():
    """Yield page, verb and option of each command line of the product that stands in a block."""
    for each in COMMANDS:
        for line in each.text.splitlines():
            for command in re.findall(r"(?<![/\w-])iclient-proxy ([^|;)#\n]+)", line):
                verb, *rest = command.split()
                yield from ((str(each), verb, word) for word in ["", *rest] if not word or word.startswith("-"))


def test_every_verb_and_option_in_a_block_is_one_of_the_command_line():
    reference = (ROOT / "docs/reference/command-line.md").read_text(encoding="utf-8")
    parts = dict(re.findall(r"^## ([a-z]+)\n(.*?)(?=^## |\Z)", reference, re.MULTILINE | re.DOTALL))
    unknown = [
        (page, verb, option)
        for page, verb, option in written_options()
        if verb not in parts or not re.search(rf"(?<![\w-]){re.escape(option)}(?![\w-])", parts[verb])
    ]

    assert unknown == []
