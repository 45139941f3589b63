"""`iclient-proxy env`: the variables that take an application to the forward listener, as its shell evaluates them."""

from __future__ import annotations

import json
import os
import shlex
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from proxy.cli.completion import connections
from proxy.cli.environment import (
    FOLDER,
    HELD,
    MOUNTED,
    PASSWORD,
    PRELOAD,
    Note,
    Runtime,
    Trust,
    Variable,
    Way,
    Written,
    bypassed,
    lines,
)
from proxy.cli.failures import UsageError
from proxy.cli.status import Config
from proxy.cli.where import definitions_at
from proxy.definitions.settings import TcpBind, seen_from_here

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from proxy.cli.environment import Line
    from proxy.definitions.models import Connection, Definitions

_PASSWORD_VARIABLE: Final = "PROXY_PASSWORD"
_WANTED: Final = f': "${{{_PASSWORD_VARIABLE}:?set it to the password that the proxy wants, percent-encoded}}"'
# What expands in the double quotes of a POSIX shell.
_EXPANDING: Final = '\\"$`'
_SETTINGS: Final = "${XDG_CONFIG_HOME:-$HOME/.config}/iclient-proxy"
# By this name a container reaches the machine it runs on, when it is told so by --add-host.
_HOST_GATEWAY: Final = "host.docker.internal"


def env(
    runtime: Annotated[Runtime, typer.Option("--runtime", "-r", help="What the application runs on.")],
    config: Config = None,
    address: Annotated[
        str | None,
        typer.Option(
            "--address", metavar="HOST[:PORT]", help="Where applications find the listener; by default its bind."
        ),
    ] = None,
    connection: Annotated[
        str | None,
        typer.Option(
            "--connection",
            metavar="NAME",
            help="Whose requests these are, where two claim one host.",
            autocompletion=connections,
        ),
    ] = None,
    trust: Annotated[
        Path | None,
        typer.Option("--trust", metavar="FOLDER", help="Where applications find bundle.pem; else by the authority."),
    ] = None,
    bypass: Annotated[
        list[str] | None,
        typer.Option("--bypass", metavar="HOST", help="A host to reach without the proxy; repeat."),
    ] = None,
) -> None:
    """Print the variables and CA settings that a runtime needs so that its requests go through the forward listener.

    They are lines for a shell to evaluate; for docker flags of `docker run`, for k8s entries of a container's `env`. No
    password is printed: where the listener wants one, the output takes it, percent-encoded, from $PROXY_PASSWORD.

    Example: eval "$(iclient-proxy env --runtime curl)"

    Example: eval "docker run $(iclient-proxy env --runtime docker) IMAGE"
    """
    from proxy.definitions.load import load

    definitions = load(definitions_at(config, os.environ), os.environ).definitions
    found = way(definitions, address, connection, trust, bypass or ())
    for line in rendered(runtime, found):
        typer.echo(line)


def way(
    definitions: Definitions, address: str | None, connection: str | None, trust: Path | None, bypass: Sequence[str]
) -> Way:
    """Return how applications reach the forward listener; raises `UsageError` when they can't."""
    forward = definitions.listeners.forward
    if forward is None:
        raise UsageError(
            "there is no forward listener for applications to use; "
            "add `listeners: {forward: {}}` to the definitions (it listens on 127.0.0.1:3128)"
        )
    if not isinstance(forward.bind, TcpBind):
        raise UsageError(
            "the forward listener is on a unix socket, which no runtime takes for a proxy; bind it to HOST:PORT"
        )
    host, port = _address(address) if address is not None else (forward.bind.host, None)
    port = port if port is not None else forward.bind.port
    if port == 0:
        raise UsageError(
            "the forward listener takes any free port at each start; bind it to one, or name it by --address HOST:PORT"
        )
    claimed = tuple(dict.fromkeys(claim for each in definitions.connections for claim in each.hosts))
    return Way(
        host=seen_from_here(host),
        port=port,
        claimed=claimed,
        bypass=bypassed(claimed, tuple(bypass)),
        user=_user(definitions, connection),
        password=forward.proxy_auth is not None,
        trust=_trust(trust or forward.intercept.cert.parent) if forward.intercept is not None else None,
        rejects=forward.unclaimed == "reject",
    )


def _address(text: str) -> tuple[str, int | None]:
    host, colon, port = text.rpartition(":")
    if not colon or text.endswith("]"):
        host, port = text, ""
    elif not port.isdecimal() or not 0 < int(port) < 65536:
        raise UsageError(f"--address {text!r} is not HOST or HOST:PORT")
    host = host.strip("[]")
    if not host or not host.isascii() or set(host) & set(" /@'\"$`\\"):
        raise UsageError(f"--address {text!r} is not HOST or HOST:PORT")
    return host, int(port) if port else None


def _user(definitions: Definitions, connection: str | None) -> str:
    """Return the user name in the proxy's URL: that of `proxy_auth`, else the connection's name if one is wanted."""
    from urllib.parse import quote

    from proxy.cli.routes import named

    forward = definitions.listeners.forward
    wanted: Connection | None = named(definitions, connection) if connection is not None else None
    if forward is not None and forward.proxy_auth is not None:
        if wanted is not None and wanted.name != forward.proxy_auth.username:
            raise UsageError("the listener's proxy_auth names one user, so no user name can tell connections apart")
        return quote(forward.proxy_auth.username, safe="")
    return wanted.name if wanted is not None else ""


def _trust(folder: Path) -> Trust:
    return Trust(str((folder / "bundle.pem").absolute()), str((folder / "truststore.p12").absolute()))


def rendered(runtime: Runtime, found: Way) -> Iterable[str]:
    """Return the lines to print."""
    match runtime:
        case Runtime.DOCKER:
            return _docker(found)
        case Runtime.K8S:
            return _k8s(found)
        case _:
            return _shell(lines(runtime, found), password=found.password)


def _shell(found: Iterable[Line], *, password: bool) -> Iterable[str]:
    if password:
        yield _WANTED
    for line in found:
        match line:
            case Note(text=text):
                yield f"# {text}"
            case Variable(name=name, value=value):
                yield f"export {name}={_word(value, name)}"
            case Written(path=path, content=text):
                folder = _word(path.rpartition("/")[0])
                content = " ".join(map(shlex.quote, text.splitlines()))
                yield f"mkdir -p {folder} && printf '%s\\n' {content} > {_word(path)}"


def _word(value: str, name: str = "") -> str:
    """Quote one word for a POSIX shell; what only the shell knows is left for it to put in."""
    shells = {PASSWORD: f"${{{_PASSWORD_VARIABLE}}}", FOLDER: _SETTINGS, HELD: f"${{{name}:+${name} }}"}
    if not set(shells) & set(value):
        return shlex.quote(value)
    quoted = "".join(shells.get(each) or (f"\\{each}" if each in _EXPANDING else each) for each in value)
    return f'"{quoted}"'


def _docker(found: Way) -> Iterable[str]:
    """Return flags of `docker run`, a continuation line each, the last one without."""
    flags: list[str] = []
    trust = found.trust
    if found.host in ("localhost", "127.0.0.1", "::1"):
        # The loopback of a container is its own; that of the machine it shares only with the machine's network.
        flags.append("--network host")
    elif found.host == _HOST_GATEWAY:
        flags.append(f"--add-host {_HOST_GATEWAY}:host-gateway")
    mounted = [(str(PRELOAD), f"{MOUNTED}/{PRELOAD.name}")]
    if trust is not None:
        inside = _inside(trust)
        mounted += [(trust.bundle, inside.bundle), (trust.store, inside.store)]
        found = replace(found, trust=inside)
    flags += [f"--volume {_word(f'{here}:{there}:ro')}" for here, there in mounted]
    variables = [line for line in lines(Runtime.DOCKER, found) if isinstance(line, Variable)]
    # What a variable holds here is nothing to a container.
    flags += [f"--env {each.name}={_word(each.value.replace(HELD, ''))}" for each in variables]
    return [f"{flag} \\" for flag in flags[:-1]] + flags[-1:]


def _inside(trust: Trust) -> Trust:
    return Trust(*(f"{MOUNTED}/{Path(path).name}" for path in (trust.bundle, trust.store)))


def _k8s(found: Way) -> Iterable[str]:
    """Return entries of `env` of the application's container, for a proxy in the same pod."""
    if found.trust is not None:
        yield f"# mount bundle.pem and truststore.p12 of `iclient-proxy ca export` at {MOUNTED}"
        found = replace(found, trust=_inside(found.trust))
    if found.password:
        yield f"# Of a Secret of yours, percent-encoded; $({_PASSWORD_VARIABLE}) below stands for it."
        yield f"- name: {_PASSWORD_VARIABLE}"
        yield '  valueFrom: {secretKeyRef: {name: "iclient-proxy-client", key: "password"}}'
    for line in lines(Runtime.K8S, found):
        match line:
            case Note(text=text):
                yield f"# {text}"
            case Variable(name=name, value=value):
                yield f"- name: {name}"
                yield f"  value: {json.dumps(value.replace(PASSWORD, f'$({_PASSWORD_VARIABLE})'))}"
            case Written():
                pass
