"""`iclient-proxy ca`: makes the local certificate authority and what clients are given to trust it."""

from __future__ import annotations

import json
import os
import sys
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from proxy.cli.ca_hints import HINTS, hint
from proxy.cli.failures import UsageError
from proxy.cli.status import AsFormat, Config, Format
from proxy.definitions.notation.secretfile import FileRefusedError, read_text
from proxy.errors import DefinitionsError, Fault, MachineError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from cryptography.x509 import Certificate

    from proxy.definitions.models import Definitions
    from proxy.definitions.settings import AuthorityFiles

_CHANGEIT: Final = "changeit"  # the password that every Java comes with and every script expects

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    help=(
        "Make the local certificate authority, and have clients trust it.\n\n"
        "With `listeners: {forward: {intercept: {enabled: true}}}` the proxy ends the TLS of claimed hosts itself, by "
        "certificates of this authority. It may sign for the domains it was made for and for no others.\n\n"
        "Example: iclient-proxy ca init && iclient-proxy ca export --format bundle -o bundle.pem"
    ),
)


class Export(StrEnum):
    """What clients are given: the certificate, a Java trust store, or one file of all roots."""

    PEM = "pem"
    P12 = "p12"
    BUNDLE = "bundle"


@app.command("init")
def init(
    domains: Annotated[
        list[str] | None,
        typer.Option(
            "--domains",
            metavar="DOMAIN,…",
            help="What it may sign for: domains with all below them, addresses. Default: the registered domains that "
            "the connections' hosts lie in.",
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an authority that is there.")] = False,
    config: Config = None,
    format: AsFormat = Format.TEXT,  # noqa: A002
) -> None:
    """Make the authority: a key that only its owner can read, and a certificate for three years.

    With $ICLIENT_PROXY_KEY or $ICLIENT_PROXY_KEY_FILE the key is sealed with it, and `run` needs the same.

    Example: iclient-proxy ca init --domains acme.com,example.org
    """
    from proxy.ca import authority
    from proxy.clock import SystemClock

    definitions = _definitions(config)
    files = _files(definitions)
    claimed = _claimed(definitions)
    covered = _asked(domains) if domains else _registered(claimed)
    if not covered:
        raise UsageError("no connection claims a host; say for which it is: --domains acme.com,example.org")
    there = [path for path in (files.cert, files.key) if path.exists()]
    if there and not force:
        raise UsageError(
            f"{there[0]} is there already; --force replaces it, and then every client has to trust the new one"
        )
    certificate, key = authority.make(covered, SystemClock(), os.urandom)
    seal = _seal()
    authority.write(files, certificate, key, seal)
    made = authority.certificates(files.cert)[0]
    content = {
        "cert": str(files.cert),
        "key": str(files.key),
        "sealed": seal is not None,
        "domains": covered,
        "not_covered": _not_covered(made, claimed),
        "expires_at": made.not_valid_after_utc.isoformat(),
        "sha256": authority.fingerprint(made),
    }
    if format is Format.JSON:
        typer.echo(json.dumps(content, indent=2))
        return
    typer.echo(f"Certificate  {files.cert}")
    typer.echo(f"Private key  {files.key} ({'sealed' if seal else 'mode 0600'}); it never leaves this machine")
    typer.echo(f"Signs for    {', '.join(covered)}")
    typer.echo(f"Until        {made.not_valid_after_utc:%Y-%m-%d}")
    typer.echo(f"SHA-256      {content['sha256']}")
    typer.echo("\nHave clients trust it: iclient-proxy ca install-hint")
    for host in _not_covered(made, claimed):
        typer.echo(f"warning: {host} is claimed, but not covered: it will be tunnelled and gets no token", err=True)


@app.command("export")
def export(
    form: Annotated[
        Export,
        typer.Option(
            "--format",
            help="pem: the certificate alone. bundle: the roots of this machine and ours. p12: those and the roots of "
            "Java, as a trust store of Java.",
        ),
    ] = Export.PEM,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Default: what you see.")
    ] = None,
    password: Annotated[
        str | None,
        typer.Option(
            "--password",
            metavar="TEXT",
            help=f"Of the p12; nothing in it is secret. Default: {_CHANGEIT}, as Java's own.",
        ),
    ] = None,
    roots: Annotated[
        Path | None, typer.Option("--roots", metavar="FILE", help="Roots (PEM) instead of those of this machine.")
    ] = None,
    config: Config = None,
) -> None:
    """Print or write what clients are told to trust; the private key is in none of it.

    A variable such as SSL_CERT_FILE replaces what a client trusts: give it the bundle, not the certificate alone.

    Example: iclient-proxy ca export --format p12 -o truststore.p12
    """
    if password is not None and form is not Export.P12:
        raise UsageError("--password is for --format p12")
    own = _own(_files(_definitions(config)))
    data, count = _exported(form, own, roots, password or _CHANGEIT)
    if output is None:
        if form is Export.P12 and sys.stdout.isatty():
            raise UsageError("a p12 is no text: add -o truststore.p12")
        sys.stdout.buffer.write(data)
        return
    try:
        output.write_bytes(data)
    except OSError as error:
        raise MachineError("not_written", f"{output} can't be written: {(error.strerror or '').lower()}") from None
    typer.echo(f"{output}: {count} certificate{'' if count == 1 else 's'}")


@app.command("install-hint")
def install_hint(
    where: Annotated[
        str | None, typer.Argument(metavar="[WHERE]", help=f"One of {', '.join(HINTS)}; default: all.")
    ] = None,
    config: Config = None,
) -> None:
    """Say how a system or a runtime comes to trust the authority, and how it forgets it again.

    Example: iclient-proxy ca install-hint java
    """
    if where is not None and where not in HINTS:
        raise UsageError(f"no hint for {where!r}; there are {', '.join(HINTS)}")
    files = _files(_definitions(config))
    _own(files)
    typer.echo("\n\n".join(hint(name, files.cert) for name in ([where] if where else HINTS)))


def _definitions(config: Sequence[Path] | None) -> Definitions | None:
    """Return the definitions, whether or not their authority is there; None where there are none."""
    from proxy.definitions.load import load
    from proxy.definitions.places import config_paths

    paths = config_paths(config, os.environ)
    return load(paths, os.environ, with_authority=False).definitions if paths else None


def _files(definitions: Definitions | None) -> AuthorityFiles:
    from proxy.definitions.authority import below
    from proxy.definitions.state_dir import STATE, usual_state_dir

    files = definitions.authority if definitions is not None else below(usual_state_dir(os.environ))
    if files is None:
        raise MachineError("no_state_dir", f"no folder is known for the authority: set {STATE}, or write state_dir")
    return files


def _claimed(definitions: Definitions | None) -> list[str]:
    if definitions is None:
        return []
    return list(dict.fromkeys(host for connection in definitions.connections for host in connection.hosts))


def _registered(claimed: Iterable[str]) -> list[str]:
    from proxy.definitions.suffixes import registrable

    return list(dict.fromkeys(registrable(host.removeprefix("*.")) for host in claimed))


def _asked(domains: Iterable[str]) -> list[str]:
    """Return what stands after `--domains`, each as it is compared; raises `UsageError`."""
    from proxy.definitions.domains import DomainError, canonical_host
    from proxy.definitions.suffixes import PUBLIC_SUFFIXES

    found = []
    for entry in (word.strip() for written in domains for word in written.split(",")):
        try:
            name = canonical_host(entry.removeprefix("*.").removeprefix("."))
        except DomainError as error:
            raise UsageError(f"--domains {entry}: {error.message}") from None
        if name in PUBLIC_SUFFIXES or ("." not in name and ":" not in name and name != "localhost"):
            raise UsageError(
                f"--domains {entry}: everyone can register a name below it; write the domain that is yours"
            )
        found.append(name)
    return list(dict.fromkeys(found))


def _not_covered(certificate: Certificate, claimed: Iterable[str]) -> list[str]:
    from proxy.definitions.coverage import coverage_of

    coverage = coverage_of(certificate)
    return [host for host in claimed if not coverage.covers(host)]


def _seal() -> Callable[[str, str], str] | None:
    """Return what seals the private key, None where the environment has no key for that; a faulty one is a fault."""
    from proxy.definitions.notation.sealed import keyring
    from proxy.sealing import SealError

    try:
        ring = keyring(os.environ, lambda path: read_text(Path(path)).text)
    except SealError as error:
        if error.code == "sealed_key_missing":
            return None
        raise DefinitionsError([Fault("", 0, 0, "", error.code, error.message)]) from None
    except FileRefusedError as error:
        raise DefinitionsError([Fault("", 0, 0, "", error.code, error.message)]) from None
    return partial(ring.seal, entropy=os.urandom)


def _own(files: AuthorityFiles) -> tuple[Certificate, ...]:
    from proxy.ca.authority import certificates

    if not files.cert.exists():
        message = f"there is no local authority at {files.cert}; `iclient-proxy ca init` makes one"
        raise DefinitionsError([Fault("", 0, 0, "", "ca_missing", message)])
    return certificates(files.cert)


def _exported(form: Export, own: Sequence[Certificate], written: Path | None, password: str) -> tuple[bytes, int]:
    """Return the bytes and how many certificates are in them."""
    from cryptography.hazmat.primitives.serialization import Encoding

    from proxy.ca import bundle

    if form is Export.PEM:
        return b"".join(each.public_bytes(Encoding.PEM) for each in own), len(own)
    roots = [bundle.system_roots() if written is None else bundle.pem_roots(written)]
    if roots[0] is None:
        raise MachineError("no_roots", f"there are no certificates in {written}")
    if form is Export.P12 and written is None:
        java = bundle.java_roots(os.environ.get("JAVA_HOME", ""))
        roots += [java] if java is not None else []
    found = [each for each in roots if each is not None]
    count = bundle.count(own, *found)
    if form is Export.P12:
        return bundle.trust_store(own, *found, password=password), count
    return bundle.bundle(own, *found).encode("ascii"), count
