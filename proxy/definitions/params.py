"""`params`: the answers to what a preset asks, those of the connection over those of its iClient."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from proxy.definitions.expand import expected
from proxy.definitions.notation.kinds import Kind
from proxy.definitions.notation.nodes import Node, Scalar, shown
from proxy.definitions.notation.spelling import hint
from proxy.definitions.templates.templated import child

if TYPE_CHECKING:
    from collections.abc import Collection

    from proxy.definitions.expand import Chosen
    from proxy.definitions.notation.reading import Reading
    from proxy.definitions.notation.shapes import Fields

Params = tuple[tuple[str, str], ...]
_PREFIX: Final = "connection.params."


@dataclass(frozen=True)
class Provider(Kind[str]):
    """The name of a preset; `expand` has looked it up by the time it is read."""

    def read(self, node: Node, reading: Reading) -> str:
        return node.text if isinstance(node, Scalar) else ""

    def schema(self) -> dict[str, Any]:
        from proxy.definitions.providers import names

        return {"enum": list(names())}


def check_params(fields: Fields, chosen: Chosen | None, paths: Collection[str], reading: Reading) -> None:
    """Check the params of an iClient or a connection; `paths` are those that its templates name."""
    if chosen is None and fields.own("api"):
        reading.fault(fields.nodes["api"], "no_effect", "api has no effect without a provider; remove it")
    preset = chosen.preset if chosen is not None else None
    if chosen is not None and preset is None:
        return
    named = _named(paths)
    for name, value in fields.values.get("params", ()):
        node = child(fields.nodes["params"], name)
        param = preset.params.get(name) if preset is not None else None
        if param is not None:
            if not param.fits(value):
                reading.fault(
                    node, "param_invalid", f"does not fit; {expected(param)} (pattern {param.pattern.pattern})"
                )
        elif name not in named and not node.path.startswith("defaults."):
            if preset is None:
                message = (
                    f"{name} has no effect: there is no provider, and no template names {_PREFIX}{name}; remove it"
                )
                reading.fault(node, "no_effect", message)
            else:
                asked = f"; it asks {', '.join(preset.params)}" if preset.params else "; it asks nothing"
                guess = hint(name, preset.params) or asked
                reading.fault(node, "unknown_key", f"{preset.name} does not ask {shown(name)}{guess}")


def resolved_params(
    fields: Fields, chosen: Chosen | None, inherited: Params, paths: Collection[str], reading: Reading
) -> Params:
    """Return the params of a connection; a fault where one is missing that a template names.

    `inherited` are those of its iClient; `paths` are those that the templates of both name.
    """
    preset = chosen.preset if chosen is not None else None
    asked = preset.params if preset is not None else {}
    answers = {name: param.default for name, param in asked.items() if param.default is not None}
    answers |= dict(inherited) | dict(fields.values.get("params", ()))
    if "params" in fields and "params" not in fields.values:
        return tuple(answers.items())  # one of them can't be read, and which is told already
    for name in sorted(_named(paths)):
        if name in answers or name not in asked:
            continue
        param = asked[name]
        reading.fault(
            fields.nodes["iclient"], "missing_key", f"params.{name} is missing; {expected(param)}",
            f"{fields.node.path}.params.{name}",
        )  # fmt: skip
        answers[name] = param.example  # so that the rest is checked
    return tuple(answers.items())


def _named(paths: Collection[str]) -> set[str]:
    return {path.removeprefix(_PREFIX).split(".")[0] for path in paths if path.startswith(_PREFIX)}
