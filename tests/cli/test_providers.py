"""`iclient-proxy providers`, and the page that lists them."""

import json
import re

import pytest
import yaml

from proxy.cli.providers import definition, described
from proxy.definitions.load import load
from proxy.definitions.providers import names, preset
from tests.cli.command import iclient_proxy
from tests.definitions.test_presets import ENVIRON
from tests.house import tree

PAGE = (tree.ROOT / "docs" / "providers.md").read_text(encoding="utf-8")


def row(known):
    """Return the line of a provider in the table of the page."""
    asks = ", ".join(f"`{name}`" for name, param in known.params.items() if param.required and param.default is None)
    grants = ", ".join(f"`{grant}`" for grant in known.grants)
    return f"| `{known.name}` | {known.title} | {grants} | {asks} | {known.verified or 'not verified'} |"


def test_the_page_lists_every_provider_as_it_is():
    listed = re.findall(r"^\| `.*$", PAGE, flags=re.MULTILINE)

    assert listed == [row(preset(name)) for name in names()]


def test_the_definition_of_the_page_can_be_loaded(tmp_path):
    (tmp_path / "f.yaml").write_text(re.search(r"^```yaml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)[1])

    (helpdesk,) = load([tmp_path / "f.yaml"], {"ZENDESK_SECRET": "canary"}).definitions.connections

    assert helpdesk.base_url == "https://acme.zendesk.com"


async def test_list_and_search_tell_what_is_verified(tmp_path):
    every = await iclient_proxy("providers", "list", "--format", "json", cwd=tmp_path)
    found = await iclient_proxy("providers", "search", "HUBSPOT", cwd=tmp_path)
    gong = await iclient_proxy("providers", "search", "gong", cwd=tmp_path)

    assert [one["name"] for one in json.loads(every.out)] == list(names())
    assert re.search(r"^hubspot +HubSpot CRM .*20\d\d-\d\d", found.out, re.MULTILINE)
    assert "not verified" in gong.out


async def test_show_tells_what_is_asked_and_what_is_peculiar(tmp_path):
    text = await iclient_proxy("providers", "show", "exact-online", cwd=tmp_path)
    data = await iclient_proxy("providers", "show", "exact-online", "--format", "json", cwd=tmp_path)

    assert "not verified" in text.out
    assert re.search(r"tld: Country, .*as in nl", text.out)
    assert "a refresh earlier than 30 seconds before the end is refused" in text.out
    content = json.loads(data.out)
    assert content["verified"] is None
    assert content["iclient"]["refresh_ahead"] == "20s"
    assert content["params"]["tld"]["required"] is True


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("show", "zendsk"), "near it: zendesk"),
        (("show",), "show what"),
        (("search", "quux"), "no provider is about"),
        (("list", "x"), "nothing more"),
        (("fetch",), "list, search, show"),
    ],
)
async def test_what_there_is_not_ends_with_2(arguments, said, tmp_path):
    done = await iclient_proxy("providers", *arguments, cwd=tmp_path)

    assert (done.status, done.out) == (2, "")
    assert said in done.err


@pytest.mark.parametrize("name", names())
def test_the_definition_that_show_prints_is_one(name, tmp_path):
    lines = definition(described(preset(name)))
    (tmp_path / "f.yaml").write_text("\n".join(lines))
    secrets = dict.fromkeys(("CLIENT_SECRET", "PASSWORD", "SAML_ASSERTION"), "canary-value")
    secrets["PRIVATE_KEY"] = ENVIRON["KEY"]

    loaded = load([tmp_path / "f.yaml"], secrets)

    assert [connection.name for connection in loaded.definitions.connections] == [name.removeprefix("x-")]
    assert loaded.warnings == ()
    assert list(yaml.safe_load("\n".join(lines))) == ["connections"]
