"""`iclient-proxy seal`: makes sealed values and their keys, and seals anew when the key changes."""

from __future__ import annotations

import getpass
import json
import os
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from proxy.cli.failures import UsageError
from proxy.cli.status import AsFormat, Format
from proxy.definitions.notation.secretfile import FileRefusedError, read_text
from proxy.errors import DefinitionsError, Fault, MachineError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from proxy.sealing import Keyring

_LINE_ENDS = ("\r\n", "\n")


def seal(
    files: Annotated[
        list[Path] | None, typer.Argument(metavar="[FILE]…", help="With --rotate: files or folders of definitions.")
    ] = None,
    new_key: Annotated[bool, typer.Option("--new-key", help="Print a fresh key for ICLIENT_PROXY_KEY.")] = False,
    rotate: Annotated[
        bool, typer.Option("--rotate", help="Seal every sealed value in FILE anew with the first key, in place.")
    ] = False,
    format: AsFormat = Format.TEXT,  # noqa: A002
) -> None:
    """Seal a secret with the first key of $ICLIENT_PROXY_KEY or $ICLIENT_PROXY_KEY_FILE and print what to write.

    The secret comes from standard input, on a terminal from a prompt that shows nothing; one line end is cut.

    To change the key, put the new one before the old one and --rotate; then drop the old one.

    Example: printf %s "$SECRET" | iclient-proxy seal
    """
    from proxy.definitions.notation.sealed import PURPOSE
    from proxy.sealing import new_key as fresh

    if (new_key and (rotate or files)) or (files and not rotate) or (rotate and not files):
        raise UsageError("write `seal`, `seal --new-key` or `seal --rotate FILE…`")
    if new_key:
        key = fresh(os.urandom)
        _print({"key": key}, key, format)
        return
    keys = _keys(os.environ)
    if files:
        done = _rotate(files, keys)
        _print({"key": keys.first, "files": done}, _told(done, keys), format)
        return
    secret = _asked()
    if not secret.strip():
        raise UsageError("there is nothing to seal: the secret is empty")
    sealed = keys.seal(secret, PURPOSE, os.urandom)
    _print({"sealed": sealed, "key": keys.first}, f'{{sealed: "{sealed}"}}', format)


def _keys(environ: Mapping[str, str]) -> Keyring:
    from proxy.definitions.notation.sealed import keyring
    from proxy.sealing import SealError

    try:
        return keyring(environ, lambda path: read_text(Path(path)).text)
    except (SealError, FileRefusedError) as error:
        raise DefinitionsError([Fault("", 0, 0, "", error.code, error.message)]) from None


def _asked() -> str:
    if sys.stdin.isatty():
        return getpass.getpass("Secret to seal: ", sys.stderr)
    try:
        text = sys.stdin.buffer.read().decode()
    except UnicodeDecodeError:
        raise UsageError("the secret on standard input is not UTF-8 text") from None
    # One, as of a `{file: …}`: what follows the last line of a PEM stays what it was.
    return text.removesuffix(next((end for end in _LINE_ENDS if text.endswith(end)), ""))


def _rotate(named: Sequence[Path], keys: Keyring) -> dict[str, int]:
    """Seal anew what the first key has not sealed; no file changes unless every value of all of them opens."""
    from proxy.definitions.notation import sources

    found, faults = sources.find(named)
    texts: list[tuple[Path, str, int]] = []
    for source in found:
        data = sources.load(source)
        if isinstance(data, Fault):
            faults.append(data)
            continue
        try:
            text, count, wrong = _resealed(str(source.path), data.decode(), keys)
        except UnicodeDecodeError:
            text, count, wrong = "", 0, [Fault(str(source.path), 0, 0, "", "not_text", "this is not UTF-8 text")]
        faults += wrong
        texts.append((source.path, text, count))
    if faults:
        raise DefinitionsError(faults)
    for path, text, count in texts:
        if count:
            _replace(path, text)
    return {str(path): count for path, _, count in texts}


def _resealed(name: str, text: str, keys: Keyring) -> tuple[str, int, list[Fault]]:
    from proxy.definitions.notation.sealed import PURPOSE
    from proxy.sealing import SEALED, SealError

    faults = []
    parts = []
    count = end = 0
    for found in SEALED.finditer(text):
        if found[1] == keys.first:
            continue
        try:
            anew = keys.seal(keys.open(found[0], PURPOSE), PURPOSE, os.urandom)
        except SealError as error:
            before = text[: found.start()]
            line, column = before.count("\n") + 1, found.start() - before.rfind("\n")
            faults.append(Fault(name, line, column, "", error.code, error.message))
            continue
        parts += [text[end : found.start()], anew]
        end = found.end()
        count += 1
    return "".join([*parts, text[end:]]), count, faults


def _replace(path: Path, text: str) -> None:
    """Write beside and rename, so that whoever reads the file sees the old or the new one; its mode stays."""
    target = path.resolve()
    try:
        descriptor, beside = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(text.encode())
                file.flush()
                os.fchmod(file.fileno(), target.stat().st_mode & 0o7777)
                os.fsync(file.fileno())
            os.replace(beside, target)  # noqa: PTH105  the name is mkstemp's
        except BaseException:
            with suppress(OSError):
                os.unlink(beside)  # noqa: PTH108
            raise
    except OSError as error:
        reason = os.strerror(error.errno or 0).lower()
        raise MachineError("not_written", f"{path} can't be written: {reason}") from None


def _told(done: Mapping[str, int], keys: Keyring) -> str:
    lines = [f"{path}: {count} sealed anew" for path, count in done.items() if count]
    return "\n".join([*lines, f"Every sealed value is sealed with the key {keys.first} now."])


def _print(content: dict[str, Any], text: str, form: Format) -> None:
    typer.echo(json.dumps(content, indent=2) if form is Format.JSON else text)
