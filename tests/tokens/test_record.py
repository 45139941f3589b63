"""The text that a store keeps of a connection: it comes back whole, opens at its place only, and tells no secret."""

import json

import pytest

from proxy.oauth.grant import Grant
from proxy.sealing import Keyring, SealError
from proxy.secret import Secret
from proxy.tokens.store.record import Record, opened, sealed
from proxy.tokens.stored import SharedToken, Stored

RAW = "a2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2s="
KEYS = Keyring(RAW)
PLACE = ("file", "crm")
GRANT = Grant(Secret("canary-refresh"), None, {"instance_url": "https://i"}, {"realmId": "7"})
TOKEN = SharedToken(Secret("canary-access"), 1_800_000_000.5, 3600.0, {"scope": "read"})


def kept(stored, fingerprint="f1"):
    return sealed(Record(fingerprint, stored), PLACE, KEYS, bytes)


@pytest.mark.parametrize(
    "stored",
    [
        Stored(3, GRANT, TOKEN, "an-intent", True),
        Stored(4, GRANT, None, None, False),
        Stored(5, None, TOKEN, None, False),
        Stored(6, None, None, "an-intent", False),
        Stored(7, Grant(None, None, {}, {}), SharedToken(Secret("canary-access"), 1.0, None, {}), None, True),
    ],
)
def test_a_record_comes_back_whole_and_shows_no_secret(stored):
    data = kept(stored)

    found = opened(data, PLACE, KEYS)
    assert found == Record("f1", stored)
    assert b"canary" not in data
    assert data.endswith(b"}\n")
    assert set(json.loads(data)) == {"schema", "grant"}
    assert json.loads(data)["schema"] == 2


@pytest.mark.parametrize(
    "place", [("file", "erp"), ("redis", "crm"), ("file", "crm", ""), ("filecrm",), ("file", "", "crm"), ()]
)
def test_a_record_opens_nowhere_but_at_its_place(place):
    with pytest.raises(SealError) as raised:
        opened(kept(Stored(3, GRANT, TOKEN, None, False)), place, KEYS)
    assert raised.value.code == "sealed_broken"


def test_no_two_places_have_one_purpose():
    data = sealed(Record("f1", Stored(1, GRANT)), ("a", "b"), KEYS, bytes)

    for place in (("a\x001:b",), ("a", "b", ""), ("ab",), ("", "a", "b"), ("b", "a")):
        with pytest.raises(SealError):
            opened(data, place, KEYS)


def of_the_first_schema(content):
    purpose = "store" + "".join(f"\x00{len(part)}:{part}" for part in ("1", *PLACE, "grant"))
    return json.dumps({"schema": 1, "grant": KEYS.seal(json.dumps(content), purpose, bytes)}).encode()


def test_a_record_of_the_first_schema_is_a_grant_of_version_one():
    content = {"fingerprint": "f1", "refresh_token": "canary-refresh", "fields": {"a": "b"}, "callback": {}}

    found = opened(of_the_first_schema(content), PLACE, KEYS)

    assert found == Record("f1", Stored(1, Grant(Secret("canary-refresh"), None, {"a": "b"}, {})))


@pytest.mark.parametrize(
    "data",
    [
        b"", b"{", b"null", b"[]", b"7", b"{}", b'{"schema": 2}', b'{"grant": "x"}', b'{"schema": 2, "grant": null}',
        b'{"schema": 3, "grant": "x"}', b'{"schema": 0, "grant": "x"}', b'{"schema": [], "grant": "x"}', b"[" * 100_000,
        b"\xff", of_the_first_schema({}), of_the_first_schema([]), of_the_first_schema({"fingerprint": "f1"}),
    ],
)  # fmt: skip
def test_what_is_no_record_is_refused_with_one_error(data):
    with pytest.raises(SealError) as raised:
        opened(data, PLACE, KEYS)
    assert raised.value.code == "sealed_broken"


@pytest.mark.parametrize("schema", [0, 3, "2"])
def test_a_record_of_another_version_is_not_guessed_at(schema):
    good = json.loads(kept(Stored(3, GRANT)))

    with pytest.raises(SealError, match="another version"):
        opened(json.dumps({**good, "schema": schema}).encode(), PLACE, KEYS)
