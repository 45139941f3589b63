"""Providers: what is known of an API and its authorization server, a YAML file each, read by name when asked for.

The files are data of this package, with a format of their own; `expand` lays what they say under what operators write.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any, Final

from proxy.definitions.grants import GRANTS
from proxy.definitions.notation.kinds import Choice, Flag, Kind, Text
from proxy.definitions.notation.nodes import Mapping, Node, Scalar, described
from proxy.definitions.notation.reader import read
from proxy.definitions.notation.reading import Reading
from proxy.definitions.notation.shapes import Block, Fields, Key, ListOf, as_mapping
from proxy.definitions.notation.spelling import nearest

if TYPE_CHECKING:
    from collections.abc import Collection
    from importlib.resources.abc import Traversable

FOLDER: Final = "presets"
_SUFFIX: Final = ".yaml"
# What a preset may say about a connection; `auth_errors` belongs to the iClient, where the connection takes it from.
CONNECTION_KEYS: Final = ("base_url", "hosts", "headers", "ping", "replay")
_NEAR: Final = 5


class PresetError(ValueError):
    """A file of this package is not what it should be: a mistake of ours, never of the operator."""


@dataclass(frozen=True, slots=True)
class Param:
    """One question that a preset asks: `pattern` covers the whole answer; one that is not `required` may stay open."""

    name: str
    title: str
    help: str
    pattern: re.Pattern[str]
    example: str
    required: bool = True
    default: str | None = None

    def fits(self, value: str) -> bool:
        """Tell whether `value` can be an answer."""
        return self.pattern.fullmatch(value) is not None


@dataclass(frozen=True, slots=True)
class Api:
    """One of a provider's APIs: what it says about the connection, and where it differs, about the iClient."""

    name: str
    title: str
    connection: Mapping
    iclient: Mapping


@dataclass(frozen=True, slots=True)
class Preset:
    """What is known of one provider. `verified` is the month of that, None where nobody has looked it up.

    `grants` are those it offers, the usual one first, each with what differs there; the nodes point into the preset.
    """

    name: str
    title: str
    category: str
    verified: str | None
    docs: str | None
    params: dict[str, Param]
    iclient: Mapping
    grants: dict[str, Mapping]
    apis: dict[str, Api]
    token: dict[str, str] = field(default_factory=dict)
    quirks: tuple[str, ...] = ()


def names() -> tuple[str, ...]:
    """Return the names of all providers, sorted."""
    return _names()


@cache
def preset(name: str) -> Preset | None:
    """Return what is known of a provider, None where there is none of this name.

    Raises `PresetError` where the file of this package has a mistake.
    """
    if name not in _names():
        return None
    data = (_folder() / f"{name}{_SUFFIX}").read_bytes()
    return parsed(name, data)


def parsed(name: str, data: bytes) -> Preset:
    """Return the preset that the YAML `data` is. Raises `PresetError` with everything that is wrong with it."""
    file = f"{FOLDER}/{name}{_SUFFIX}"
    root, faults = read(data, file)
    reading = Reading({}, {}, 0.0)
    reading.faults.update(dict.fromkeys(faults))
    fields = PRESET.read(root, reading) if isinstance(root, Mapping) else None
    if reading.faults or fields is None:
        raise PresetError("; ".join(map(str, reading.faults)) or f"{file}: no mapping")
    values = fields.values
    empty = Mapping({}, fields.node.place, "iclient")
    return Preset(
        name=name,
        title=values["title"],
        category=values["category"],
        verified=None if values["verified"] == "unverified" else values["verified"],
        docs=values.get("docs"),
        params={one: _param(one, asked) for one, asked in values.get("params", {}).items()},
        iclient=values.get("iclient", empty),
        grants=values["grants"],
        apis={one: _api(one, block) for one, block in values["apis"].items()},
        token={key: text for key, text in values["token"].values.items() if text} if "token" in values else {},
        quirks=values.get("quirks", ()),
    )


def near(word: str, choices: Collection[str]) -> tuple[str, ...]:
    """Return the choices that `word` may have meant: misspelt ones, else those that share a part with it."""
    if (found := nearest(word, choices)) is not None:
        return (found,)
    parts = {part for part in re.split(r"[^a-z0-9]+", word.lower()) if len(part) > 2}
    sharing = [name for name in sorted(choices) if parts & set(re.split(r"[^a-z0-9]+", name))]
    beginning = [name for name in sorted(choices) if len(word) > 3 and name.startswith(word.lower()[:4])]
    return tuple(dict.fromkeys([*sharing, *beginning]))[:_NEAR]


@cache
def _names() -> tuple[str, ...]:
    found = (entry.name for entry in _folder().iterdir())
    return tuple(sorted(name.removesuffix(_SUFFIX) for name in found if name.endswith(_SUFFIX)))


def _folder() -> Traversable:
    return resources.files("proxy.definitions") / FOLDER


def _param(name: str, fields: Fields) -> Param:
    values = fields.values
    return Param(
        name=name,
        title=values["title"],
        help=values["help"],
        pattern=re.compile(values["pattern"]),
        example=values["example"],
        required=values.get("required", True),
        default=values.get("default"),
    )


def _api(name: str, fields: Fields) -> Api:
    node = fields.node
    said: dict[str, Node] = {key: node.entries[key] for key in CONNECTION_KEYS if key in node.entries}
    return Api(
        name=name,
        title=fields.values["title"],
        connection=Mapping(said, node.place, node.path),
        iclient=fields.values.get("iclient", Mapping({}, node.place, node.path)),
    )


@dataclass(frozen=True)
class _Raw(Kind[Mapping]):
    """A mapping that is read later, as part of what the operator writes."""

    def read(self, node: Node, reading: Reading) -> Mapping:
        return as_mapping(node, reading)

    def schema(self) -> dict[str, Any]:
        return {"type": "object"}


@dataclass(frozen=True)
class _Any(Kind[Node]):
    """A key of the connection, read as part of it."""

    def read(self, node: Node, reading: Reading) -> Node:
        return node

    def schema(self) -> dict[str, Any]:
        return {}


@dataclass(frozen=True)
class _MapTo(Kind[dict[str, Any]]):
    """A map from names, those in `only` if it says any, to things of one kind."""

    item: Kind[Any]
    only: Collection[str] = ()

    def read(self, node: Node, reading: Reading) -> dict[str, Any]:
        entries = as_mapping(node, reading).entries
        for name, child in entries.items():
            if (self.only and name not in self.only) or not re.fullmatch(r"[a-z0-9][a-z0-9_-]*", name):
                reading.fault(child, "unknown_key", f"{name} is not a name that is known here")
        return {name: self.item.read(child, reading) for name, child in entries.items()}

    def schema(self) -> dict[str, Any]:
        return {"type": "object", "additionalProperties": self.item.schema()}


@dataclass(frozen=True)
class _Verbatim(Kind[str]):
    """Text that may hold braces: help, quirks and patterns are not templates."""

    def read(self, node: Node, reading: Reading) -> str:
        if not isinstance(node, Scalar) or not node.text.strip():
            raise reading.refused(node, "wrong_type", f"expected text, found {described(node)}")
        return node.text

    def schema(self) -> dict[str, Any]:
        return {"type": "string"}


def _month(text: str) -> tuple[str, str] | None:
    fits = text == "unverified" or re.fullmatch(r"20\d\d-\d\d", text)
    return None if fits else ("wrong_type", "expected a month such as 2026-11, or unverified")


def _regex(text: str) -> tuple[str, str] | None:
    try:
        re.compile(text)
    except re.error:
        return "wrong_type", "this is no regular expression"
    return None


def _link(text: str) -> tuple[str, str] | None:
    return None if re.fullmatch(r"https://[a-z0-9.-]+/\S*", text) else ("wrong_type", "expected a link")


PARAM: Final = Block(
    {
        "title": Key(_Verbatim(), "What it is called.", required=True),
        "help": Key(_Verbatim(), "Where to find it.", required=True),
        "pattern": Key(Text("a pattern", _regex), "Regular expression of the whole answer.", required=True),
        "example": Key(_Verbatim(), "An answer.", required=True),
        "required": Key(Flag(), "False: headers that need it are left out without it.", default=True),
        "default": Key(_Verbatim(), "What holds without an answer."),
    },
)
API: Final = Block(
    {
        "title": Key(_Verbatim(), "What it is called.", required=True),
        "iclient": Key(_Raw(), "Keys of the iClient that differ for this API."),
        **{key: Key(_Any(), f"{key} of the connection.", required=key == "base_url") for key in CONNECTION_KEYS},
    },
)
PRESET: Final = Block({
        "title": Key(_Verbatim(), "What it is called.", required=True),
        "category": Key(Choice((
            "accounting", "commerce", "communications", "crm", "data", "developer", "erp", "finance", "health", "hr",
            "idp", "marketing", "monitoring", "payments", "productivity", "service", "storage",
        )), "What it is for.", required=True),
        "verified": Key(Text("a month", _month), "When its facts were looked up, or unverified.", required=True),
        "docs": Key(Text("a link", _link), "Where the vendor says so."),
        "params": Key(_MapTo(PARAM), "What has to be asked."),
        "iclient": Key(_Raw(), "Keys of the iClient."),
        "grants": Key(_MapTo(_Raw(), tuple(GRANTS)), "Grants it offers, with what differs there.", required=True),
        "apis": Key(_MapTo(API), "Its APIs, the usual one first.", required=True),
        "token": Key(
            Block({
                    "lifetime": Key(_Verbatim(), "How long an access token lives."),
                    "refresh_token": Key(_Verbatim(), "How long a refresh token lives, and whether it changes."),
                },
            ),
            "Facts about its tokens, for people.",
        ),
        "quirks": Key(ListOf(_Verbatim()), "What surprises people."),
    },
)  # fmt: skip
