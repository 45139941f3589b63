import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.definitions.json_path import MISSING, PathError, compile_path

DOCUMENT = {
    "access_token": "flat",
    "data": [{"token": "first"}, {"token": "second"}],
    "odd.key": {"in ner": "quoted"},
    'say "hi"': 1,
    "0": "by number",
    "empty": "",
    "null": None,
    "ключ": "name of another script",
}


@pytest.mark.case("T-80")
@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("access_token", "flat"),
        ("data.0.token", "first"),
        ("data[1].token", "second"),
        ('["odd.key"]["in ner"]', "quoted"),
        ('["say \\"hi\\""]', 1),
        ("0", "by number"),
        ("[0]", "by number"),
        ("$", DOCUMENT),
        ("$.data[0].token", "first"),
        ('$["odd.key"]["in ner"]', "quoted"),
        ("empty", ""),
        ("null", None),
        ("ключ", "name of another script"),
    ],
)
def test_a_path_leads_to_one_place(path, found):
    assert compile_path(path).find(DOCUMENT) == found


@pytest.mark.case("T-80")
@pytest.mark.parametrize(
    "path",
    [
        "nothing",
        "data.token",
        "data.2.token",
        "data.-1",
        "data[999999999]",
        "access_token.0",
        "access_token.deeper",
        "null.deeper",
        "data.0.token.deeper",
        "odd.key",
        "data.٣",
        "data.1e0",
    ],
)
def test_a_missing_level_is_missing_and_no_exception(path):
    assert compile_path(path).find(DOCUMENT) is MISSING


def test_an_index_leads_into_a_list_at_the_root():
    assert compile_path("[1].token").find(DOCUMENT["data"]) == "second"


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "a.",
        ".a",
        "a..b",
        "a[",
        "a[]",
        "a[x]",
        "a[-1]",
        'a["b',
        "a]b",
        "$a",
        "a b",
        "a['b']",
        'a["\\x"]',
        "a[0]b",
    ],
)
def test_what_is_no_path_is_refused_with_the_place(text):
    with pytest.raises(PathError):
        compile_path(text)


@given(
    st.text(max_size=30),
    st.recursive(
        st.none() | st.text(max_size=3), lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=3), inner)
    ),
)
def test_no_path_and_no_document_raise_anything_but_path_errors(text, document):
    try:
        path = compile_path(text)
    except PathError:
        return
    assert path.text == text
    assert path.find(document) is MISSING or path.steps or text.startswith("$")


@given(st.text(min_size=1, max_size=20))
def test_every_key_can_be_reached_by_quoting_it(key):
    assert compile_path(f"[{json.dumps(key)}]").find({key: "there"}) == "there"
