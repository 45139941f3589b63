"""`provider`, `api`, `params`: lays what a preset says under what the operator wrote, before anything is read.

A node of a preset stands at the key `provider`, and its path begins with `presets.`: it is nobody's own key.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from proxy.definitions.grants import GRANTS, ICLIENT_KEYS, goes_with
from proxy.definitions.notation.nodes import Mapping, Node, Scalar, Sequence, described, shown
from proxy.definitions.notation.reading import UnreadableError
from proxy.definitions.notation.values import Value
from proxy.definitions.templates.placeholders import TemplateError, compile_template, references

if TYPE_CHECKING:
    from collections.abc import Iterable

    from proxy.definitions.notation.nodes import Place
    from proxy.definitions.notation.reading import Reading
    from proxy.definitions.notation.shapes import Block
    from proxy.definitions.providers import Api, Param, Preset

PARAMS: Final = ("connection", "params")
# Seeds and assertions go with a token endpoint whether the provider speaks of them or not.
_ANYWHERE: Final = frozenset({"refresh_token", "self_signed_jwt"})
_REQUESTS: Final = ("access_token_request", "refresh_token_request", "revocation_request")
_STAND_IN: Final = "https://api.example.com"


@dataclass(frozen=True, slots=True)
class Chosen:
    """The provider that an iClient names, where it does so; `preset` is None where there is no such one."""

    node: Node
    preset: Preset | None = None
    api: Api | None = None
    given: frozenset[str] = field(default_factory=frozenset)  # names of the params at the iClient


def expanded_iclient(block: Block, node: Node, reading: Reading) -> tuple[Node, Chosen | None]:
    """Return an iClient with its preset laid under it, and which one that is."""
    if not isinstance(node, Mapping) or (named := node.entries.get("provider")) is None:
        return node, None
    from proxy.definitions import providers

    if not isinstance(named, Scalar) or named.is_null:
        reading.fault(named, "wrong_type", f"expected the name of a provider, found {described(named)}")
        return node, Chosen(named)
    preset = providers.preset(named.text)
    if preset is None:
        reading.fault(named, "unknown_provider", _unknown("provider", named.text, providers.names()))
        return node, Chosen(named)
    api = next(iter(preset.apis.values()))
    if (asked := node.entries.get("api")) is not None:
        found = preset.apis.get(asked.text) if isinstance(asked, Scalar) else None
        if found is None:
            word = asked.text if isinstance(asked, Scalar) else described(asked)
            reading.fault(asked, "unknown_api", _unknown(f"API of {preset.name}", word, tuple(preset.apis)))
            return node, Chosen(named)
        api = found
    if preset.verified is None:
        reading.note(
            named, "provider_unverified",
            f"what is known of {preset.title} is not verified; see iclient-proxy providers show {preset.name}",
        )  # fmt: skip
    chosen = Chosen(named, preset, api, _names(node.entries.get("params")))
    under = _under(block, preset, api, node, reading)
    placed = _placed(under, named.place, f"presets.{preset.name}")
    if (domains := _domains(placed, node, preset, reading)) is None:
        return node, Chosen(named)
    return block.merge(domains, node), chosen


def expanded_connection(block: Block, node: Node, chosen: Chosen) -> Node:
    """Return a connection with what the preset of its iClient says of connections laid under it."""
    if not isinstance(node, Mapping):
        return node
    if chosen.preset is None or chosen.api is None:
        # Of a provider that there is not nobody knows what it would have brought; the rest is checked all the same.
        said: dict[str, Node] = {"base_url": Scalar(_STAND_IN, False, chosen.node.place, "presets.base_url")}
        return block.merge(Mapping(said, node.place, node.path), node)
    given = chosen.given | _names(node.entries.get("params"))
    entries = dict(chosen.api.connection.entries)
    if isinstance(headers := entries.get("headers"), Mapping):
        kept = {name: leaf for name, leaf in headers.entries.items() if not _open(leaf, chosen.preset, given)}
        entries["headers"] = replace(headers, entries=kept)
    own = node.entries.get("base_url")
    if isinstance(own, Scalar) and "{{" not in own.text:
        entries.pop("hosts", None)  # they are those of the base_url that does not hold here
    said_here = Mapping(entries, node.place, chosen.api.connection.path)
    return block.merge(_placed(said_here, chosen.node.place, f"presets.{chosen.preset.name}"), node)


def expected(param: Param) -> str:
    """Return what is asked, for a message."""
    return f"{param.title}: {param.help}, as in {param.example}"


def _under(block: Block, preset: Preset, api: Api, node: Mapping, reading: Reading) -> Mapping:
    """Return what a preset says for the grant that is meant."""
    grant = next(iter(preset.grants))
    written = node.entries.get("grant_type")
    if isinstance(written, Scalar):
        grant = written.text
        if grant in GRANTS and grant not in preset.grants and grant not in _ANYWHERE:
            reading.warn(
                written, "provider_grant",
                f"{preset.title} is not known to offer {grant}; known are {', '.join(preset.grants)}",
            )  # fmt: skip
    merged: Node = preset.iclient
    for over in (preset.grants.get(grant), api.iclient):
        if over is not None:
            merged = block.merge(merged, over)
    entries = dict(merged.entries) if isinstance(merged, Mapping) else {}
    entries.setdefault("grant_type", Scalar(grant, False, node.place, "grant_type"))
    if grant in GRANTS:
        entries = {key: leaf for key, leaf in entries.items() if key not in ICLIENT_KEYS or goes_with(key, grant)}
    asserts = "jwt" in node.entries and "jwt" not in entries and grant == "client_credentials"
    if asserts and "client_secret" not in node.entries:
        entries.pop("client_auth", None)  # the assertion says who the client is
    for key in _REQUESTS:
        _reconcile(entries, key, node)
    return Mapping(entries, node.place, "")


def _reconcile(entries: dict[str, Node], key: str, node: Mapping) -> None:
    """Keep `body` and `extra` of a request apart, where the preset has one and the operator the other."""
    under, over = entries.get(key), node.entries.get(key)
    if not isinstance(under, Mapping) or not isinstance(over, Mapping):
        return
    if "body" in over.entries:
        entries[key] = replace(under, entries={name: leaf for name, leaf in under.entries.items() if name != "extra"})


def _domains(under: Mapping, node: Mapping, preset: Preset, reading: Reading) -> Mapping | None:
    """Put params of the iClient into `valid_domains`, which bounds where its requests go; None if one is missing."""
    listed = under.entries.get("valid_domains")
    if not isinstance(listed, Sequence) or "valid_domains" in node.entries:
        return under
    answers = node.entries.get("params")
    items: list[Node] = []
    for written in listed.items:
        item = written
        for asked in _asked(written):
            param = preset.params[asked]
            answer = answers.entries.get(asked) if isinstance(answers, Mapping) else None
            value = param.default if answer is None else _value(answer, reading)
            if value is None and answer is None:
                message = f"it decides where tokens are asked for, so it stands at the iClient; {expected(param)}"
                reading.fault(
                    node, "missing_key", f"params.{asked} is missing; {message}", f"{node.path}.params.{asked}"
                )
                return None
            if value is None or not param.fits(value):
                value = param.example  # the fault is told where the params are read
            item = _answered(item, asked, value)
        items.append(item)
    return replace(under, entries={**under.entries, "valid_domains": replace(listed, items=tuple(items))})


def _answered(item: Node, param: str, value: str) -> Node:
    placeholder = f"{{{{{{{'.'.join(PARAMS)}.{param}}}}}}}"
    return replace(item, text=item.text.replace(placeholder, value)) if isinstance(item, Scalar) else item


def _value(node: Node, reading: Reading) -> str | None:
    try:
        return Value().read(node, reading)
    except UnreadableError:
        return None


def _open(leaf: Node, preset: Preset, given: frozenset[str]) -> bool:
    """Tell whether a header needs an answer that need not be given, and is not."""
    return any(
        name not in given and preset.params[name].default is None and not preset.params[name].required
        for name in _asked(leaf)
        if name in preset.params
    )


def _asked(leaf: Node) -> Iterable[str]:
    """Return the params that a template names."""
    if not isinstance(leaf, Scalar) or "{{" not in leaf.text:
        return ()
    try:
        template = compile_template(leaf.text)
    except TemplateError:
        return ()
    return tuple(
        reference.steps[2]
        for reference in references(template)
        if reference.steps[:2] == PARAMS and len(reference.steps) > 2
    )


def _names(params: Node | None) -> frozenset[str]:
    return frozenset(params.entries) if isinstance(params, Mapping) else frozenset()


def _placed(node: Mapping, place: Place, path: str) -> Mapping:
    """Return a node of a preset as it stands in the operator's file: at `place`, at `path`."""
    entries = {name: _moved(child, place, f"{path}.{name}") for name, child in node.entries.items()}
    return Mapping(entries, place, path)


def _moved(node: Node, place: Place, path: str) -> Node:
    if isinstance(node, Mapping):
        return _placed(node, place, path)
    if isinstance(node, Sequence):
        items = tuple(_moved(item, place, f"{path}[{index}]") for index, item in enumerate(node.items))
        return Sequence(items, place, path)
    return replace(node, place=place, path=path)


def _unknown(what: str, word: str, choices: tuple[str, ...]) -> str:
    from proxy.definitions.providers import near

    found = near(word, choices)
    if len(found) == 1:
        advice = f" (did you mean {found[0]}?)"
    elif found:
        advice = f"; near it are {', '.join(found)}"
    elif len(choices) <= 8:
        advice = f"; there are {', '.join(choices)}"
    else:
        advice = "; iclient-proxy providers list names them"
    return f"there is no {what} {shown(word)}{advice}"
