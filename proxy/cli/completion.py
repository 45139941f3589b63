"""`iclient-proxy completion`: what a shell needs to complete our command lines, and what it then asks for."""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer
from typer.completion import get_completion_inspect_parameters, shell_complete

from proxy.cli.failures import UsageError
from proxy.cli.verbs import COMPLETES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

PROGRAM: Final = "iclient-proxy"


class Shell(StrEnum):
    """Shells that are served."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


def completion(
    ctx: typer.Context,
    shell: Annotated[Shell | None, typer.Argument(help="Whose; without it that of $SHELL.")] = None,
) -> None:
    """Print what a shell needs to complete verbs, options, and the names of connections and providers.

    In ~/.bashrc, and in ~/.zshrc below compinit, write: source <(iclient-proxy completion bash), or zsh.
    For fish: iclient-proxy completion fish > ~/.config/fish/completions/iclient-proxy.fish

    Example: iclient-proxy completion bash
    """
    meant = shell.value if shell is not None else Path(os.environ.get("SHELL", "")).name
    if meant not in {each.value for each in Shell}:
        raise UsageError(f"whose completion? Name one: {PROGRAM} completion {'|'.join(Shell)}")
    know_shells()
    shell_complete(ctx.find_root().command, {}, PROGRAM, COMPLETES, f"source_{meant}")


def know_shells() -> None:
    """Have typer know its shells, which it learns when its own completion options are made."""
    get_completion_inspect_parameters()


def connections(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the names of connections that begin so.

    The definitions are read, not checked: what is wrong elsewhere in them, and secrets that this shell does not have,
    hide no name.
    """
    from proxy.definitions.notation import sources
    from proxy.definitions.notation.nodes import Mapping
    from proxy.definitions.notation.reader import read
    from proxy.definitions.places import config_paths

    names: list[str] = []
    written = [Path(each) for each in ctx.params.get("config") or ()]
    found, _ = sources.find(config_paths(written, os.environ))
    for source in found:
        data = sources.load(source)
        root = read(data, str(source.path))[0] if isinstance(data, bytes) else None
        block = root.entries.get("connections") if isinstance(root, Mapping) else None
        names += block.entries if isinstance(block, Mapping) else ()
    return _beginning(names, incomplete)


def providers(incomplete: str) -> list[str]:
    """Return the names of providers that begin so."""
    from proxy.definitions.providers import names

    return _beginning(names(), incomplete)


def provider_words(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return whom `providers show` can show; nothing for a word that is looked for."""
    return providers(incomplete) if ctx.params.get("action") == "show" else []


def _beginning(names: Iterable[str], incomplete: str) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]


# What the verbs that do without typer take, said once more for it. A test holds them together.


class _Format(StrEnum):
    TEXT = "text"
    JSON = "json"


def _run(config: Annotated[list[Path] | None, typer.Option("--config", "-c")] = None) -> None:
    """Run the proxy."""


def _health(
    ready: Annotated[bool, typer.Option("--ready")] = False, admin: Annotated[str | None, typer.Option()] = None
) -> None:
    """Ask whether it is alive."""


def _version(format: Annotated[_Format, typer.Option()] = _Format.TEXT) -> None:  # noqa: A002
    """Print the version."""


LEAN: Final[dict[str, Callable[..., None]]] = {"run": _run, "health": _health, "version": _version}
