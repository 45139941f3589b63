"""Sealed values from the command line into the definitions, and on to the next key."""

import base64
import json
import re
import stat

import pytest

from proxy.sealing import Keyring
from tests.cli.command import iclient_proxy

OLD = base64.b64encode(b"o" * 32).decode()
NEW = base64.b64encode(b"n" * 32).decode()
DEFINITION = """# ä comment\r
connections:
  acme:
    base_url: https://api.acme.example
    iclient:
      grant_type: client_credentials
      token_url: https://auth.acme.example/oauth/token
      client_id:   my-app   # spaces stay
      client_secret: SEALED
"""


async def sealed(text, key=OLD):
    done = await iclient_proxy("seal", environment={"ICLIENT_PROXY_KEY": key}, stdin=text)
    assert (done.status, done.err) == (0, "")
    return done.out.strip()


async def test_what_seal_prints_is_a_value_of_the_definitions(tmp_path):
    (tmp_path / "iclient-proxy.yaml").write_text(DEFINITION.replace("SEALED", await sealed("canary-secret\n")))

    known = await iclient_proxy("check", environment={"ICLIENT_PROXY_KEY": f"{NEW},{OLD}"}, cwd=tmp_path)
    unknown = await iclient_proxy("check", environment={"ICLIENT_PROXY_KEY": NEW}, cwd=tmp_path)

    assert (known.status, known.err) == (0, "Next: iclient-proxy run\n")
    assert unknown.status == 78
    assert re.search(r"yaml:9:7: .*it was sealed with the key 347672fa", unknown.out)


@pytest.mark.parametrize(("typed", "kept"), [("canary-secret", "canary-secret"), ("a\n\n", "a\n"), ("a\r\n", "a")])
async def test_one_line_end_is_cut_as_of_a_file(typed, kept):
    value = re.search(r'"(.*)"', await sealed(typed))[1]

    assert Keyring(OLD).open(value, "definitions") == kept


async def test_a_fresh_key_seals(tmp_path):
    key = (await iclient_proxy("seal", "--new-key")).out.strip()
    data = await iclient_proxy(
        "seal", "--format", "json", environment={"ICLIENT_PROXY_KEY": key}, stdin="canary-secret"
    )

    content = json.loads(data.out)
    assert Keyring(key).open(content["sealed"], "definitions") == "canary-secret"
    assert content["key"] == Keyring(key).first


async def test_to_rotate_changes_the_sealed_values_and_not_one_byte_beside(tmp_path):
    path = tmp_path / "conf" / "acme.yaml"
    path.parent.mkdir()
    path.write_bytes(DEFINITION.replace("SEALED", await sealed("canary-secret")).encode())
    path.chmod(0o640)
    other = path.with_name("other.yaml")
    other.write_bytes(b"x-note: nothing sealed here\n")
    environment = {"ICLIENT_PROXY_KEY": f"{NEW},{OLD}"}

    done = await iclient_proxy("seal", "--rotate", "conf", environment=environment, cwd=tmp_path)

    assert (done.status, done.err) == (0, "")
    assert "conf/acme.yaml: 1 sealed anew" in done.out
    head, tail = DEFINITION.encode().split(b"SEALED")
    text = path.read_bytes()
    assert text.startswith(head)
    assert text.endswith(tail)
    value = re.search(rb'"(.*)"', text)[1].decode()
    assert Keyring(NEW).open(value, "definitions") == "canary-secret"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert sorted(each.name for each in path.parent.iterdir()) == ["acme.yaml", "other.yaml"]
    again = await iclient_proxy("seal", "--rotate", "conf", environment=environment, cwd=tmp_path)
    assert "sealed anew" not in again.out
    assert path.read_bytes() == text


async def test_no_file_is_touched_while_one_value_of_any_does_not_open(tmp_path):
    good, bad = tmp_path / "a.yaml", tmp_path / "b.yaml"
    good.write_text(f"x-a: {await sealed('canary-secret')}\n")
    bad.write_text(f"\nx-b: {(await sealed('canary-secret'))[:-9]}\n")
    before = good.read_bytes()

    done = await iclient_proxy(
        "seal", "--rotate", "a.yaml", "b.yaml", environment={"ICLIENT_PROXY_KEY": f"{NEW},{OLD}"}, cwd=tmp_path
    )

    assert done.status == 78
    assert done.err.startswith("b.yaml:2:16: it was changed or cut")
    assert good.read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "environment", "status", "said"),
    [
        ((), {}, 78, "there is no key for sealed values: set ICLIENT_PROXY_KEY or ICLIENT_PROXY_KEY_FILE"),
        ((), {"ICLIENT_PROXY_KEY": "short"}, 78, "key 1 "),
        ((), {"ICLIENT_PROXY_KEY_FILE": "nowhere"}, 78, "nowhere does not exist"),
        ((), {"ICLIENT_PROXY_KEY": OLD}, 2, "the secret is empty"),
        (("canary-secret",), {"ICLIENT_PROXY_KEY": OLD}, 2, "write `seal`"),
        (("--rotate",), {"ICLIENT_PROXY_KEY": OLD}, 2, "seal --rotate FILE…"),
        (("--rotate", "nowhere.yaml"), {"ICLIENT_PROXY_KEY": OLD}, 78, "nowhere.yaml: the file can't be read"),
    ],
)
async def test_what_can_not_be_done_is_said_with_its_exit_status(arguments, environment, status, said, tmp_path):
    done = await iclient_proxy("seal", *arguments, environment=environment, cwd=tmp_path, stdin="\n")

    assert (done.status, done.out) == (status, "")
    assert said in done.err
