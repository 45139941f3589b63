"""`iclient-proxy init`: writes a first definition, with exactly the questions that are left."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.console import Console
from rich.prompt import Prompt

from proxy.cli.completion import providers
from proxy.cli.failures import UsageError

if TYPE_CHECKING:
    from proxy.cli.draft import Draft
    from proxy.definitions.providers import Preset

_INTERRUPTED: Final = 130  # what shells make of a process that was interrupted
_THERE: Final = "{} is there already; name another file, or remove it"
_SHOWN: Final = 12  # of the providers that fit a word


def init(
    provider: Annotated[
        str | None,
        typer.Option(
            "--provider",
            metavar="NAME",
            help="A preset; without one every URL is yours.",
            autocompletion=providers,
        ),
    ] = None,
    grant: Annotated[str | None, typer.Option("--grant", metavar="GRANT", help="Grant type; the usual one.")] = None,
    api: Annotated[str | None, typer.Option("--api", metavar="API", help="Which of the provider's APIs.")] = None,
    name: Annotated[str | None, typer.Option("--name", metavar="NAME", help="Name of the connection.")] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write here; it must not exist yet.")
    ] = None,
) -> None:
    """Write a commented definition to begin with. On a terminal you are asked what only you know.

    What nobody has answered is left empty, and `check` names it. Secrets are never asked for: only the names of the
    environment variables that hold them.

    Example: iclient-proxy init --provider salesforce -o iclient-proxy.yaml
    """
    from proxy.cli.draft import Draft

    console = Console(stderr=True, highlight=False, soft_wrap=True)
    if output is not None and output.exists():  # nobody answers ten questions to be told so
        raise UsageError(_THERE.format(output))
    asks = sys.stdin.isatty() and sys.stderr.isatty()
    try:
        preset = _preset(provider, console, asks=asks)
        draft = Draft(_name(name, preset), preset, _grant(grant, preset, console, asks=asks), _api(api, preset))
        text = draft.text(_answers(draft, console) if asks else {})
    except (EOFError, KeyboardInterrupt):  # Ctrl-D, Ctrl-C
        console.print("\nNothing was written.")
        raise typer.Exit(_INTERRUPTED) from None
    if output is None:
        typer.echo(text, nl=False)
    else:
        try:
            with output.open("x", encoding="utf-8") as file:
                file.write(text)
        except FileExistsError:
            raise UsageError(_THERE.format(output)) from None
        except OSError as error:
            raise UsageError(f"{output} can't be written: {error.strerror}") from None
    place = f" --config {shlex.quote(str(output))}" if output is not None else ""
    variables = dict.fromkeys(re.findall(r"\{env: (\w+)\}", text))
    console.print("Next:", markup=False)
    for name_ in variables:
        console.print(f"  export {name_}=…    # the secret itself, here or wherever the proxy runs", markup=False)
    for verb in ("check", f"explain {draft.name}", "run"):
        console.print(f"  iclient-proxy {verb}{place}", markup=False)


def _preset(named: str | None, console: Console, *, asks: bool) -> Preset | None:
    from proxy.definitions.providers import names, near, preset

    if named is None and asks:
        word = Prompt.ask(
            "Which API? (a word, or nothing for one of your own)", console=console, default="", show_default=False
        )
        found = [one for one in names() if word.lower() in one] if word else []
        if len(found) > 1 and word not in found:
            console.print(f"There are {', '.join(found[:_SHOWN])}{' …' if len(found) > _SHOWN else ''}")
            word = Prompt.ask("Which of them?", console=console, default=found[0])
        named = found[0] if len(found) == 1 else word or None
    if named is None:
        return None
    known = preset(named)
    if known is None:
        guess = near(named, names())
        raise UsageError(
            f"there is no provider {named!r}"
            + (f"; near it: {', '.join(guess)}" if guess else "")
            + "; iclient-proxy providers list names all, and without --provider every URL is yours"
        )
    return known


def _grant(named: str | None, preset: Preset | None, console: Console, *, asks: bool) -> str:
    from proxy.cli.draft import GENERIC

    offered = tuple(preset.grants) if preset is not None else GENERIC
    if named is None and asks and len(offered) > 1:
        named = Prompt.ask("Grant type", console=console, choices=list(offered), default=offered[0])
    if named is not None and named not in offered:
        whose = f"{preset.name} offers" if preset is not None else "there are"
        raise UsageError(f"{named!r} is no grant here; {whose} {', '.join(offered)}")
    return named or offered[0]


def _api(named: str | None, preset: Preset | None) -> str | None:
    if named is None:
        return None
    if preset is None or named not in preset.apis:
        known = f"{preset.name} has {', '.join(preset.apis)}" if preset is not None else "name a --provider"
        raise UsageError(f"there is no API {named!r}; {known}")
    return named


def _name(named: str | None, preset: Preset | None) -> str:
    from proxy.definitions.table import NAME

    found = named or (preset.name.removeprefix("x-") if preset is not None else "api")
    if not NAME.fullmatch(found):
        raise UsageError(f"{found!r} is no name: lower-case letters, digits, - and _, at most 63")
    return found


def _answers(draft: Draft, console: Console) -> dict[str, str]:
    answers: dict[str, str] = {}
    for question in draft.questions():
        console.print(f"\n{question.title}", style="bold", markup=False)
        console.print(question.help, style="dim", markup=False)
        open_end = "" if question.required or question.default else " (may stay empty)"
        while True:
            answer = Prompt.ask(
                f"{question.place}{open_end}",
                console=console,
                default=question.default or "",
                show_default=bool(question.default),
            )
            if not answer:
                break
            if question.fits(answer):
                answers[question.place] = answer
                break
            console.print(f"That does not fit; it looks like {question.example}", style="red", markup=False)
    return answers
