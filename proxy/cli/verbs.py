"""The verbs that a human types: names and one line each here, everything else imported when it is called."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from importlib import import_module
from io import TextIOWrapper
from typing import Any, Final, cast

import typer
from typer.core import TyperCommand, TyperGroup


@dataclass(frozen=True, slots=True)
class Verb:
    """One verb: its line in the list, and the function or the group that is it (`module:name` below `proxy.cli`)."""

    about: str
    place: str


VERBS: Final = {
    "demo": Verb("Watch an ordinary HTTP client get through to an API it has no token for.", "demo:demo"),
    "init": Verb("Write a first definition, with the questions that are left.", "init:init"),
    "run": Verb("Run the proxy.", "run"),
    "check": Verb("Check the definitions and name every fault at once.", "check:check"),
    "token": Verb("Get one access token and print it.", "token:token"),
    "explain": Verb("Show what the definitions make of a connection: URLs, token requests.", "explain:explain"),
    "authorize": Verb("Have a human give a connection its grant.", "authorize:authorize"),
    "renew": Verb("Have the running proxy renew a connection's token.", "renew:renew"),
    "revoke": Verb("Have the running proxy revoke a connection's tokens.", "revoke:revoke"),
    "ping": Verb("See whether a connection works, by a request of the proxy's own.", "ping:ping"),
    "request": Verb("Send one request through the running proxy.", "request:request"),
    "reload": Verb("Have the running proxy read its definitions again.", "reload:reload"),
    "status": Verb("Show the connections of the running proxy and the state of their tokens.", "status:status"),
    "seal": Verb("Seal a secret, so that it may stand in the definitions.", "seal:seal"),
    "ca": Verb("Make the local certificate authority, and have clients trust it.", "ca:app"),
    "import": Verb("Turn iClients and connections of integrator.io into definitions.", "import_:import_"),
    "providers": Verb("List the providers that an iClient may name, search them, show one.", "providers:providers"),
    "health": Verb("Ask the running proxy whether it is alive, for HEALTHCHECK.", "health"),
    "env": Verb("Print what an application needs to send its requests through the proxy.", "env:env"),
    "schema": Verb("Print the JSON Schema of the definitions, for editors.", "schema:schema"),
    "completion": Verb("Print what a shell needs to complete command lines.", "completion:completion"),
    "version": Verb("Print the version.", "version"),
}
# By which a shell that completes a command line is told from one that runs it (see `completion`).
COMPLETES: Final = "_ICLIENT_PROXY_COMPLETE"
_ABOUT: Final = (
    "A forward auth proxy for OAuth 2.0 APIs: your application speaks plain HTTP, the proxy keeps the token.\n\n"
    "New here? `iclient-proxy demo` shows it at work. `iclient-proxy init -o iclient-proxy.yaml` writes a first "
    "definition, `iclient-proxy check` says what it still needs, `iclient-proxy run` serves it.\n\n"
    "Example: iclient-proxy run --config ./config"
)


class Verbs(TyperGroup):
    """The group of all verbs; to list them imports none of them."""

    listing = False

    # Typer keeps the types of these parameters to itself.
    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ANN401
        """Return the command itself, or only its name and line while help is written."""
        return self.commands.get(cmd_name) if self.listing else _load(cmd_name)

    def format_help(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401
        """Write the list of verbs."""
        self.listing = True
        super().format_help(ctx, formatter)

    def shell_complete(self, ctx: Any, incomplete: str) -> Any:  # noqa: ANN401
        """Return the verbs that begin so."""
        self.listing = True
        return super().shell_complete(ctx, incomplete)


def call(arguments: list[str]) -> int:
    """Run a verb and return its exit status; usage faults are told and end with 2."""
    if COMPLETES in os.environ:
        from proxy.cli.completion import know_shells

        know_shells()
    group = Verbs(
        name="iclient-proxy",
        help=_ABOUT,
        commands=[TyperCommand(name, help=verb.about) for name, verb in VERBS.items()],
        no_args_is_help=True,
    )
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            # A terminal that can't show a tick gets its number instead; it is no reason to fail.
            stream.reconfigure(errors="backslashreplace")
    try:
        group.main(arguments, prog_name="iclient-proxy")
    except SystemExit as exit_:
        return exit_.code if isinstance(exit_.code, int) else 0
    return 0


def _load(name: str) -> TyperCommand | None:
    verb = VERBS.get(name)
    if verb is None:
        return None
    module, _, place = verb.place.partition(":")
    if not place:
        # `main` has already called the lean ones; only a shell that completes comes here for them.
        from proxy.cli.completion import LEAN

        found: Any = LEAN[name]
    else:
        found = getattr(import_module(f"proxy.cli.{module}"), place)
    if isinstance(found, typer.Typer):  # a verb with verbs of its own
        return cast("TyperCommand", typer.main.get_command(found))
    app = typer.Typer(add_completion=False)
    app.command(name)(found)
    return cast("TyperCommand", typer.main.get_command(app))
