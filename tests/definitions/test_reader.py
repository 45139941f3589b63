"""YAML as a notation for mappings, lists and text: what is refused before anything is built."""

import tracemalloc

import pytest
import yaml

from proxy.definitions.notation import reader
from proxy.definitions.notation.nodes import Mapping, Scalar
from tests.definitions.written import ONE, codes, said

case = pytest.mark.case

BOMB = "a0: &a0 {k: v}\n" + "".join(f"a{n}: &a{n} {{<<: [*a{n - 1}, *a{n - 1}]}}\n" for n in range(1, 23))
LAUGHS = 'a0: &a0 ["lol"]\n' + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 30))


@case("C-4", "C-5")
@pytest.mark.parametrize("bomb", [BOMB, LAUGHS], ids=["merge keys", "aliases"])
def test_a_bomb_is_refused_at_its_first_fuses_and_nothing_is_built(folder, bomb):
    data = bomb.encode()
    tracemalloc.start()
    try:
        root, faults = reader.read(data, "f.yaml")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert root is None
    assert {fault.code for fault in faults} == {"yaml_alias_forbidden"}
    assert len(faults) == reader.MAX_REFUSALS
    assert peak < 16 * 1024 * 1024
    assert set(codes(folder, bomb)) == {"yaml_alias_forbidden"}


@case("C-6")
def test_an_alias_to_itself_is_refused_like_any_other():
    root, faults = reader.read(b"a: &a [*a]", "f.yaml")

    assert root is None
    assert [fault.code for fault in faults] == ["yaml_alias_forbidden", "yaml_alias_forbidden"]


@case("C-7")
@pytest.mark.parametrize("text", ["[" * 3000, "a: " + "{b: " * 3000, "- " * 3000, "? " * 3000])
def test_nesting_past_32_levels_is_refused_without_recursion(folder, text):
    assert codes(folder, text) in (["yaml_too_deep"], ["yaml_syntax"])
    assert codes(folder, "[" * 3000) == ["yaml_too_deep"]


def test_32_levels_are_read():
    root, faults = reader.read(("[" * 32 + "]" * 32).encode(), "f.yaml")

    assert faults == []
    assert root is not None


@case("C-8")
def test_a_file_of_more_than_a_mebibyte_or_ten_thousand_nodes_is_refused(folder):
    assert said(folder, "# " + "x" * 1024 * 1024) == [
        "config_too_large f.yaml: the file is larger than 1 MiB; split it into several in one folder"
    ]
    assert said(folder, "x-list: [" + "a, " * 10_000 + "a]") == [
        "config_too_large f.yaml:1:30001: the file has more than 10,000 nodes; split it into several in one folder"
    ]


@case("C-8")
def test_more_connections_than_the_limit_are_refused_unless_it_is_raised(folder):
    many = "connections:\n" + "".join(f"  c{n}: {{base_url: https://c{n}.acme.com}}\n" for n in range(1001))

    (line,) = said(folder, many)
    assert line == (
        "config_too_large f.yaml:1:1: connections: "
        "there are 1,001 connections, more than limits.definitions: 1000; raise it"
    )
    assert codes(folder, "limits: {definitions: 1001}\n" + many) == []


@case("C-10")
@pytest.mark.parametrize(
    ("data", "line"),
    [
        (b"a: 1\nb: \xff\n", "yaml_syntax f.yaml:2:4: the file is not UTF-8 here; save it as UTF-8"),
        (
            "a: 1\n".encode("utf-16"),
            "yaml_syntax f.yaml:1:1: the file is not UTF-8 here; save it as UTF-8",
        ),
        (b"a: 1\nb: x\0y\n", "yaml_syntax f.yaml:2:5: the control character U+0000 is not allowed; remove it"),
        (b"a: 1\nb: x\x1b[0m\n", "yaml_syntax f.yaml:2:5: the control character U+001B is not allowed; remove it"),
        (b"a:\n\tb: 1\n", "yaml_syntax f.yaml:2:1: the line is indented with a tab; indent with spaces"),
        (b'a: "x\\0y"\n', "yaml_syntax f.yaml:1:4: an escape stands for NUL or for half a character; remove it"),
    ],
)
def test_what_is_not_text_is_refused_with_its_place(folder, data, line):
    # A refusal inside a value carries the path of what it stands in, so only the end of the line is the same.
    assert said(folder, data)[0] == line


@case("C-10")
def test_a_byte_order_mark_is_accepted(folder):
    assert codes(folder, b"\xef\xbb\xbf" + ONE.encode()) == []


@case("C-13")
def test_a_number_of_five_thousand_digits_is_a_fault_and_no_traceback(folder):
    assert said(folder, "limits: {tunnels: " + "9" * 5000 + "}") == [
        "yaml_syntax f.yaml:1:19: limits: a number of 5,000 digits; quote the value if it is text"
    ]


def test_scalars_keep_their_source_text():
    root, faults = reader.read(b"a: 0012\nb: off\nc: 1_000\nd: 2026-01-01\ne: '0x1F'\n", "f.yaml")

    assert faults == []
    assert isinstance(root, Mapping)
    texts = [node.text for node in root.entries.values() if isinstance(node, Scalar)]
    assert texts == ["0012", "off", "1_000", "2026-01-01", "0x1F"]


def test_a_value_is_said_to_stand_at_its_key_and_an_item_at_itself():
    root, _ = reader.read(b"a:\n  b: [x, {c: 1}]\n", "f.yaml")

    assert isinstance(root, Mapping)
    listed = root.entries["a"].entries["b"]
    places = {node.path: str(node.place) for node in (listed, *listed.items, listed.items[1].entries["c"])}
    assert places == {"a.b": "f.yaml:2:3", "a.b[0]": "f.yaml:2:7", "a.b[1]": "f.yaml:2:10", "a.b[1].c": "f.yaml:2:11"}


@pytest.mark.parametrize("text", [BOMB, "[" * 3000, "a: 1\n---\nb: 2\n", "a: !!str x\n", "a: {b\n", ONE])
def test_the_parser_written_in_python_is_read_alike(text, monkeypatch):
    fast = reader.read(text.encode(), "f.yaml")
    monkeypatch.setattr(reader, "LOADER", yaml.SafeLoader)
    slow = reader.read(text.encode(), "f.yaml")

    assert slow[0] == fast[0]
    assert [(fault.line, fault.code) for fault in slow[1]] == [(fault.line, fault.code) for fault in fast[1]]


@pytest.mark.parametrize(
    "text", ["a: {b: 1", "a: [1, 2", 'a: "x', "a: b: c", "- a\nb: c", "%YAML 9.9\n---\na: 1", "a: @x", "a: `x`"]
)
def test_broken_yaml_is_one_fault_with_a_line(folder, text):
    (line,) = said(folder, text)

    assert line.startswith("yaml_syntax f.yaml:")
