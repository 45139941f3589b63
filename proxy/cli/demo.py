"""`iclient-proxy demo`: the story of `proxy.demo` on a terminal, on paper, or as JSON."""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.console import Console
from rich.padding import Padding
from rich.syntax import Syntax
from rich.text import Text

from proxy.cli.failures import UsageError
from proxy.cli.faults import serve
from proxy.cli.status import AsFormat, Format
from proxy.demo.definition import SECRET_VARIABLE, Ports, text
from proxy.demo.process import DidNotStartError, ProxyProcess
from proxy.demo.story import Step, tell
from proxy.demo.world import Breakage, World

if TYPE_CHECKING:
    from collections.abc import Mapping

_WHO: Final = {"app": "bold cyan", "api": "bold magenta", "proxy": "bold green"}
# What a process needs to run at all; nothing else of this shell reaches the proxy of the demo.
_PASSED_ON: Final = ("PATH", "HOME", "LANG", "TMPDIR", "PYTHONPATH", "PYTHONDONTWRITEBYTECODE", "VIRTUAL_ENV")


def demo(
    names: Annotated[list[str] | None, typer.Argument(metavar="NAME", help="For --faults: which.")] = None,
    faults: Annotated[
        bool,
        typer.Option("--faults", help="Serve the named faults for a proxy of yours instead; `list` shows them."),
    ] = False,
    expires_in: Annotated[
        int, typer.Option("--expires-in", metavar="SECONDS", min=1, help="For --faults: how long tokens live.")
    ] = 3600,
    keep: Annotated[bool, typer.Option("--keep", help="Leave it all running until Ctrl-C, to play with.")] = False,
    format: AsFormat = Format.TEXT,  # noqa: A002
    break_: Annotated[Breakage, typer.Option("--break", hidden=True)] = Breakage.NOTHING,
) -> None:
    """Start the proxy with a little API and authorization server, and watch an ordinary HTTP client get through.

    With --faults there is no story: the API and the authorization server misbehave as their names say, count what
    reaches them, and serve until Ctrl-C. Point a proxy of any make at them.

    Exit status 70 if a step did not happen.

    Example: iclient-proxy demo --keep

    Example: iclient-proxy demo --faults revoked-token empty-200
    """
    if faults:
        serve(names or [], expires_in, os.environ, as_json=format is Format.JSON)
        return
    if names:
        raise UsageError(f"demo takes no names; did you mean `iclient-proxy demo --faults {' '.join(names)}`?")
    # As Ctrl-C: the proxy and the folder must not outlive the demo, nor its terminal.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    console = Console(highlight=False, soft_wrap=True)
    steps: list[Step] = []
    with World(break_, usual=keep) as world, tempfile.TemporaryDirectory(prefix="iclient-proxy-demo-") as folder:
        definition = Path(folder) / "demo.yaml"
        ports = Ports(world.api_port, world.authorization_server_port, reverse=0, admin=0)
        definition.write_text(text(ports), encoding="utf-8")
        proxy = ProxyProcess(definition, _environment(os.environ, world))
        try:
            with proxy:
                if format is Format.TEXT:
                    _begin(console)
                for step in tell(world, proxy):
                    steps.append(step)
                    if format is Format.TEXT:
                        _show(console, len(steps), step)
                if format is Format.JSON:
                    typer.echo(json.dumps([asdict(step) for step in steps], indent=2, ensure_ascii=False))
                if steps[-1].happened:
                    if format is Format.TEXT:
                        _end(console, len(steps) + 1, keep=keep)
                    if keep:
                        _keep(console, world, proxy)
        except DidNotStartError:
            _fail("the proxy did not start", proxy.lines)
    if not steps[-1].happened:
        _fail(f"this step did not happen: {steps[-1].title}", proxy.lines)


def _environment(environ: Mapping[str, str], world: World) -> dict[str, str]:
    passed = {name: environ[name] for name in _PASSED_ON if name in environ}
    return passed | {SECRET_VARIABLE: world.client_secret}


def _begin(console: Console) -> None:
    console.print()
    console.print("[bold]iclient-proxy demo[/]  a whole world on your machine: an API that wants a token, the server")
    console.print("that issues it, the proxy, and an app that is nothing but Python's urllib.")


def _show(console: Console, number: int, step: Step) -> None:
    console.print()
    console.print(f"[bold]{number}  {step.title}[/]")
    if step.shown:
        if console.is_terminal:
            shown = Syntax(step.shown.rstrip(), "yaml", background_color="default", theme="ansi_dark")
            console.print(Padding(shown, (0, 0, 0, 5)))
        else:
            console.print("\n".join(f"     {line}" for line in step.shown.splitlines()), markup=False)
    for fact in step.facts:
        line = Text("     ")
        if fact.who:
            line.append(f"{fact.who:<6}", _WHO[fact.who])
        line.append(fact.what)
        if fact.aside:
            line.append(f"   {fact.aside}", "dim italic")
        console.print(line)
    mark, style = ("✓", "bold green") if step.happened else ("✗", "bold red")
    console.print(Text(f"   {mark} {step.verdict}", style))


def _end(console: Console, number: int, *, keep: bool) -> None:
    console.print()
    console.print(f"[bold]{number}  Now yours[/]")
    console.print("     Write those lines for your own API into iclient-proxy.yaml, then:")
    console.print(
        "     [cyan]iclient-proxy check[/]   [dim italic]every mistake at once, with file, line and column[/]"
    )
    console.print("     [cyan]iclient-proxy run[/]     [dim italic]your app calls http://127.0.0.1:7480/NAME/…[/]")
    if not keep:
        console.print(
            "     [cyan]iclient-proxy demo --keep[/]   [dim italic]leaves this world running, to play with[/]"
        )
    console.print()


def _keep(console: Console, world: World, proxy: ProxyProcess) -> None:
    ended = Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: ended.set())
    lines = (
        f"curl {proxy.reverse}/crm/contacts/42",
        f"curl -X POST http://127.0.0.1:{world.api_port}/revoke",
        f"iclient-proxy status --admin {proxy.admin}",
        f"curl {proxy.admin}/metrics",
    )
    console.print("For a definition of your own: API, token URL, secret of the client demo-app", style="bold")
    console.print(f"     http://127.0.0.1:{world.api_port}")
    console.print(f"     http://127.0.0.1:{world.authorization_server_port}/oauth/token")
    console.print(f"     export {SECRET_VARIABLE}={world.client_secret}", markup=False)
    console.print()
    console.print("It all goes on until Ctrl-C. In another terminal:", style="bold")
    for line in lines:
        console.print(f"     {line}", style="cyan", markup=False)
    sys.stdout.flush()
    with suppress(KeyboardInterrupt):
        ended.wait()


def _fail(what: str, said: list[str]) -> None:
    sys.stderr.write(f"iclient-proxy demo: {what}\n")
    if said:
        sys.stderr.write("The proxy's last lines:\n" + "\n".join(f"  {line}" for line in said[-5:]) + "\n")
    raise typer.Exit(os.EX_SOFTWARE)
