"""The local authority from the command line: made once, exported for clients, explained."""

import asyncio
import base64
import json
import re
import ssl
import stat

import pytest
from cryptography import x509

from proxy.sealing import Keyring
from tests.cli.command import iclient_proxy

KEY = base64.b64encode(b"k" * 32).decode()
DEFINITION = """
state_dir: state
connections:
  acme: {base_url: "https://api.eu.acme.co.uk/v1"}
  many: {base_url: "https://many.example", hosts: ["*.shop.many.example", "127.0.0.1", localhost]}
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "iclient-proxy.yaml").write_text(DEFINITION)
    return tmp_path


async def ca(folder, *arguments, status=0, **environment):
    done = await iclient_proxy("ca", *arguments, cwd=folder, environment=environment)
    assert done.status == status, done.err
    return done


def cert(folder):
    return x509.load_pem_x509_certificate((folder / "state" / "ca" / "cert.pem").read_bytes())


@pytest.mark.parametrize("verb", ["init", "export", "install-hint"])
async def test_each_of_its_verbs_shows_an_example(verb, tmp_path):
    assert re.search(rf"Example: iclient-proxy ca {verb}", (await ca(tmp_path, verb, "--help")).out)


async def test_init_makes_an_authority_for_the_registered_domains_of_all_claimed_hosts(folder):
    done = await ca(folder, "init", "--format", "json")

    content = json.loads(done.out)
    assert content["domains"] == ["acme.co.uk", "many.example", "127.0.0.1", "localhost"]
    assert content["cert"] == str(folder / "state" / "ca" / "cert.pem")
    assert content["not_covered"] == []
    permitted = cert(folder).extensions.get_extension_for_class(x509.NameConstraints).value.permitted_subtrees
    assert [str(each.value) for each in permitted] == ["acme.co.uk", "many.example", "localhost", "127.0.0.1/32"]
    assert stat.S_IMODE((folder / "state" / "ca" / "key.pem").stat().st_mode) == 0o600
    assert stat.S_IMODE((folder / "state" / "ca").stat().st_mode) == 0o700


async def test_init_says_where_it_is_for_whom_until_when_and_what_comes_next(folder):
    done = await ca(folder, "init", "--domains", "*.acme.co.uk,example.org", "--domains", "Example.org.")

    assert str(folder / "state" / "ca" / "key.pem") in done.out
    assert "Signs for    acme.co.uk, example.org\n" in done.out
    assert "SHA-256      " in done.out
    assert "ca install-hint" in done.out
    assert "warning: *.shop.many.example is claimed, but not covered" in done.err
    assert "PRIVATE KEY" not in done.out + done.err


async def test_an_authority_that_is_there_is_replaced_only_by_force(folder):
    await ca(folder, "init")
    first = cert(folder)

    refused = await ca(folder, "init", status=2)
    assert "is there already; --force replaces it" in refused.err
    assert cert(folder) == first
    await ca(folder, "init", "--force")
    assert cert(folder) != first


async def test_a_key_alone_is_not_overwritten_either(folder):
    await ca(folder, "init")
    (folder / "state" / "ca" / "cert.pem").unlink()

    assert "key.pem is there already" in (await ca(folder, "init", status=2)).err


async def test_with_a_key_in_the_environment_the_private_key_is_sealed(folder):
    done = await ca(folder, "init", "--format", "json", ICLIENT_PROXY_KEY=KEY)

    text = (folder / "state" / "ca" / "key.pem").read_text().strip()
    assert json.loads(done.out)["sealed"] is True
    assert Keyring(KEY).open(text, "local authority").startswith("-----BEGIN PRIVATE KEY-----")


async def test_a_key_in_the_environment_that_is_none_makes_nothing(folder):
    refused = await ca(folder, "init", status=78, ICLIENT_PROXY_KEY="short")

    assert "key 1 " in refused.err
    assert not (folder / "state").exists()


async def test_without_definitions_the_domains_are_named_and_the_environment_says_where(tmp_path):
    nothing = await ca(tmp_path, "init", status=2, HOME=str(tmp_path))
    await ca(tmp_path, "init", "--domains", "acme.com", ICLIENT_PROXY_STATE=str(tmp_path / "s"))

    assert "--domains acme.com" in nothing.err
    assert (tmp_path / "s" / "ca" / "key.pem").exists()


async def test_where_nothing_says_where_it_lies_that_is_said(tmp_path):
    refused = await ca(tmp_path, "init", "--domains", "acme.com", status=71)

    assert "set ICLIENT_PROXY_STATE" in refused.err


@pytest.mark.parametrize("domain", ["com", "co.uk", "github.io", "acme com", "", "*", "0x7f.1"])
async def test_a_domain_as_wide_as_a_registry_is_refused(domain, folder):
    refused = await ca(folder, "init", "--domains", f"acme.com,{domain}", status=2)

    assert "--domains" in refused.err
    assert not (folder / "state").exists()


async def test_export_prints_the_certificate_and_nothing_of_the_key(folder):
    await ca(folder, "init")

    done = await ca(folder, "export")

    assert done.out == (folder / "state" / "ca" / "cert.pem").read_text()


async def test_the_bundle_is_the_roots_of_the_system_and_ours(folder):
    await ca(folder, "init")
    done = await ca(folder, "export", "--format", "bundle", "-o", "bundle.pem")

    context = ssl.create_default_context(cafile=folder / "bundle.pem")
    subjects = [dict(pair[0] for pair in each["subject"]).get("commonName", "") for each in context.get_ca_certs()]
    count = int(re.fullmatch(r"bundle.pem: (\d+) certificates\n", done.out)[1])
    assert count > 50
    assert sum(subject.startswith("iclient-proxy local CA ") for subject in subjects) == 1


async def test_roots_of_ones_own_take_the_place_of_the_system_s(folder):
    await ca(folder, "init")
    (folder / "roots.pem").write_text((await ca(folder, "export", "--format", "bundle")).out.partition("-----END")[0])
    await ca(folder, "export", "-o", "own.pem")

    only = await ca(folder, "export", "--format", "bundle", "--roots", "own.pem", "-o", "bundle.pem")
    none = await ca(folder, "export", "--format", "bundle", "--roots", "roots.pem", status=71)

    assert only.out == "bundle.pem: 1 certificate\n"
    assert "there are no certificates in roots.pem" in none.err


@pytest.mark.needs("keytool")
async def test_the_p12_is_a_trust_store_of_java(folder):
    await ca(folder, "init")
    await ca(folder, "export", "--format", "p12", "-o", "store.p12", "--password", "six six")

    listing = await asyncio.create_subprocess_exec(
        *("keytool", "-list", "-keystore", "store.p12", "-storepass", "six six"),
        cwd=folder,
        stdout=asyncio.subprocess.PIPE,
    )
    shown = (await listing.communicate())[0].decode()

    assert "\niclient-proxy, " in shown
    assert shown.count("trustedCertEntry") > 50


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (("export",), 78, "`iclient-proxy ca init` makes one"),
        (("install-hint",), 78, "`iclient-proxy ca init` makes one"),
        (("install-hint", "toaster"), 2, "no hint for 'toaster'; there are debian"),
        (("export", "--password", "x"), 2, "--password is for --format p12"),
        (("export", "--format", "key"), 2, ""),
        ((), 2, ""),
    ],
)
async def test_what_can_not_be_done_is_said_with_its_exit_status(arguments, status, said, folder):
    assert said in (await ca(folder, *arguments, status=status)).err


async def test_a_file_that_can_not_be_written_is_named(folder):
    await ca(folder, "init")

    assert (
        "nowhere/bundle.pem can't be written" in (await ca(folder, "export", "-o", "nowhere/bundle.pem", status=71)).err
    )


async def test_hints_name_the_certificate_and_the_way_back(folder):
    await ca(folder, "init")
    every = (await ca(folder, "install-hint")).out
    node = (await ca(folder, "install-hint", "node")).out

    assert f"export NODE_EXTRA_CA_CERTS={folder}/state/ca/cert.pem\n" in node
    assert node.count("\n") == 3
    assert every.count("undo: ") >= 10
    assert "{" not in every
