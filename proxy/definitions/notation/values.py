"""Values and secrets: literal, `{env: …}`, `{file: …}` or `{sealed: …}`; no message quotes the words of a secret."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from proxy.definitions.notation.kinds import Kind, without_placeholder
from proxy.definitions.notation.nodes import Mapping, Node, Scalar, described, shown
from proxy.definitions.notation.reading import UnreadableError
from proxy.definitions.notation.sealed import PURPOSE, keyring
from proxy.definitions.notation.secretfile import MAX_BYTES, FileRefusedError, FileText, read_text
from proxy.definitions.notation.spelling import hint
from proxy.secret import SHORTEST, Secret

if TYPE_CHECKING:
    from proxy.definitions.notation.reading import Reading

FORMS: Final = ("env", "file", "sealed")
# The JSON Schema of a value or secret.
SCHEMA: Final = {"anyOf": [{"type": ["string", "integer"]}, *({"$ref": f"#/$defs/{form}"} for form in FORMS)]}

# What names of variables look like; most secrets mix capitals with small letters.
_VARIABLE: Final = re.compile(r"[A-Z_][A-Z0-9_]*|[a-z_][a-z0-9_]*")

_AFTER: Final = {
    "env": "the name of a variable",
    "file": "the path of a file",
    "sealed": "what `iclient-proxy seal` prints",
}

# What YAML 1.1 turns into something else (its types bool, float, int in other bases, sexagesimal, timestamp).
_BOOLEAN: Final = re.compile(r"y|n|yes|no|on|off|true|false", re.IGNORECASE)
_FLOAT: Final = re.compile(
    r"[-+]?(\d[\d_]*\.[\d_]*|\.\d[\d_]*|\d[\d_]*(\.\d*)?e[-+]?\d+|\.inf)([e][-+]?\d+)?|\.nan", re.IGNORECASE
)
_INTEGER: Final = re.compile(r"[-+]?(0b[01_]+|0o?[0-7_]+|0x[0-9a-f_]+|0\d+|\d[\d_]*_[\d_]*)|\+\d+", re.IGNORECASE)
_SEXAGESIMAL: Final = re.compile(r"[-+]?\d[\d_]*(:[0-5]?\d)+(\.[\d_]*)?")
_DATE: Final = re.compile(r"\d{4}-\d\d?-\d\d?([Tt \t].*)?")
_LEADING_ZERO: Final = re.compile(r"0\d+")


def misread(node: Scalar, *, secret: bool) -> str | None:
    """Return what YAML would have made of an unquoted scalar instead of text, None where it stays what it is.

    Digits with leading zeros are an octal number to some tools. As a value they keep their source text (`0012`); as
    a secret they are refused, since whoever wrote the file may have seen another tool change them.
    """
    text = node.text
    if not node.plain:
        return None
    if node.is_null:
        return "nothing"
    if not secret and _LEADING_ZERO.fullmatch(text):
        return None
    kinds = (
        (_BOOLEAN, "a boolean"),
        (_INTEGER, "another number"),
        (_FLOAT, "a float"),
        (_SEXAGESIMAL, "a sexagesimal number"),
        (_DATE, "a date"),
    )
    return next((name for pattern, name in kinds if pattern.fullmatch(text)), None)


@dataclass(frozen=True)
class Value(Kind[str]):
    """Text, written out or referred to."""

    def read(self, node: Node, reading: Reading) -> str:
        if isinstance(node, Mapping):
            return referred(node, reading)
        if not isinstance(node, Scalar):
            raise reading.refused(
                node, "wrong_type", f"expected text, {{env: NAME}} or {{file: PATH}}, found {described(node)}"
            )
        if (other := misread(node, secret=False)) is not None:
            raise reading.refused(node, "value_not_string", f"YAML reads this as {other}; quote the value")
        if not node.text:
            raise reading.refused(node, "value_empty", "the value is empty")
        return without_placeholder(node, reading)

    def schema(self) -> dict[str, Any]:
        return SCHEMA


@dataclass(frozen=True)
class SecretValue(Kind[Secret]):
    """A secret, referred to, or written out where `allow_inline_secrets` permits it."""

    def read(self, node: Node, reading: Reading) -> Secret:
        if isinstance(node, Mapping):
            text = referred(node, reading)
        elif isinstance(node, Scalar):
            text = inline(node, reading)
        else:
            raise reading.refused(
                node, "wrong_type", f"expected {{env: NAME}} or {{file: PATH}}, found {described(node)}"
            )
        if len(text) < SHORTEST:
            message = f"a secret of less than {SHORTEST} characters is soon guessed, and the log is not searched for it"
            reading.warn(node, "weak_secret", message)
        return Secret(text)

    def schema(self) -> dict[str, Any]:
        return SCHEMA


def inline(node: Scalar, reading: Reading) -> str:
    """Return a secret that is written out in the file, if that is allowed, with a warning that names its place only."""
    if (other := misread(node, secret=True)) is not None:
        reading.fault(node, "secret_not_string", f"YAML reads this secret as {other}; quote the value")
        if node.is_null:
            raise UnreadableError
    elif not node.text.strip():
        raise reading.refused(node, "secret_empty", "the secret is empty")
    if not reading.allow_inline_secrets:
        raise reading.refused(
            node,
            "inline_secret",
            "a secret stands in the file; use {env: NAME} or {file: PATH}, or set allow_inline_secrets: true",
        )
    reading.warn(node, "inline_secret", "a secret stands in the file; {env: NAME} or {file: PATH} would keep it out")
    return node.text


def referred(node: Mapping, reading: Reading, *, secret: bool = True) -> str:
    """Return what `{env: NAME}` or `{file: PATH}` refers to, or what `{sealed: …}` holds.

    `secret` is False for what everyone may read.
    """
    keys = list(node.entries)
    if len(keys) != 1 or keys[0] not in FORMS:
        raise _refused_form(node, keys, reading)
    source = node.entries[keys[0]]
    if not isinstance(source, Scalar) or source.is_null or not source.text:
        raise reading.refused(
            node, "wrong_type", f"expected {_AFTER[keys[0]]} after {keys[0]}:, found {described(source)}"
        )
    if keys[0] == "env":
        return _environment(node, source.text, reading)
    if keys[0] == "sealed":
        return _opened(node, source.text, reading)
    text = file_text(node, source.text, reading, secret=secret).text
    if not text.strip():
        raise reading.refused(node, "secret_empty", f"the file {shown(source.text)} is empty")
    return text


def file_text(
    node: Node, path: str, reading: Reading, limit: int = MAX_BYTES, *, named: bool = True, secret: bool = True
) -> FileText:
    """Return what is in the file at `path`, from the folder that was named to the loader; read once a load.

    `named` is False where the path may be a secret that stands in the wrong place: then no message quotes it.
    `secret` is False for what everyone may read, such as a certificate.
    """
    full = file_path(node, path, reading)
    key = str(full)
    if key not in reading.files:
        try:
            read = partial(read_text, full, limit=limit)
            reading.files[key] = reading.footprint.read(full, read, FileText.content)
        except FileRefusedError as refused:
            message = refused.message if named else refused.anonymous
            raise reading.refused(node, refused.code, message) from None
    text = reading.files[key]
    if text.newline_stripped and secret:
        reading.note(node, "newline_stripped", f"trailing newline stripped from {full}")
    if text.exposed and secret:
        reading.warn(node, "secret_file_world_readable", f"everyone may read the file {full}; run chmod o-r on it")
    return text


def file_path(node: Node, path: str, reading: Reading) -> Path:
    """Return the path, from the folder that was named to the loader if it is relative."""
    return reading.folders.get(node.place.file, Path()) / path


def _environment(node: Node, name: str, reading: Reading) -> str:
    reading.variables.add(name)
    value = reading.environ.get(name)
    # Who writes a secret where its variable should stand does not want to read it in a message.
    variable = f"the environment variable {shown(name)}" if _VARIABLE.fullmatch(name) else "that environment variable"
    if value is None:
        if not _VARIABLE.fullmatch(name):
            variable = "what stands here looks like no name of one, and such an environment variable"
        raise reading.refused(node, "secret_env_missing", f"{variable} is not set")
    if not value.strip():
        raise reading.refused(node, "secret_empty", f"{variable} is empty")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise reading.refused(node, "secret_not_text", f"{variable} is not UTF-8 text") from None
    return value


def _opened(node: Node, sealed: str, reading: Reading) -> str:
    from proxy.sealing import SealError

    try:
        # Relative to where the process was started, as every path of the environment.
        keys = keyring(reading.environ, lambda path: file_text(node, str(Path(path).absolute()), reading).text)
        return keys.open(sealed, PURPOSE)
    except SealError as error:
        raise reading.refused(node, error.code, error.message) from None


def _refused_form(node: Mapping, keys: list[str], reading: Reading) -> UnreadableError:
    guess = hint(keys[0], FORMS) if len(keys) == 1 else ""
    return reading.refused(
        node,
        "wrong_type",
        f"expected text, {{env: NAME}} or {{file: PATH}}, found a mapping{guess}; quote text that begins with {{",
    )
