"""Secrets that somebody else rotates, and keys as the bytes of a file."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final

from proxy.definitions.models import RotatedSecret, SecretFile
from proxy.definitions.notation.kinds import Kind
from proxy.definitions.notation.nodes import Mapping, Node, Scalar, described
from proxy.definitions.notation.secretfile import MAX_BYTES, FileRefusedError, read_bytes
from proxy.definitions.notation.values import SCHEMA, SecretValue, file_path, inline, referred

if TYPE_CHECKING:
    from proxy.definitions.notation.reading import Reading

_FILE: Final = ("file",)


@dataclass(frozen=True)
class Rotated(Kind[RotatedSecret]):
    """A secret; as `{file: PATH}` it is checked now and read again for each request."""

    def read(self, node: Node, reading: Reading) -> RotatedSecret:
        if isinstance(node, Mapping) and tuple(node.entries) == _FILE:
            referred(node, reading)
            source = node.entries["file"]
            if isinstance(source, Scalar):
                return SecretFile(path=file_path(node, source.text, reading))
        return SecretValue().read(node, reading)

    def schema(self) -> dict[str, Any]:
        return SCHEMA


@dataclass(frozen=True, slots=True)
class KeyBytes:
    """A private key as it was written or as it lies in its file: PKCS#12 is no text."""

    data: bytes = field(repr=False)


@dataclass(frozen=True)
class KeyFile(Kind[KeyBytes]):
    """A private key in any format; `{file: PATH}` takes the bytes as they are."""

    def read(self, node: Node, reading: Reading) -> KeyBytes:
        if isinstance(node, Mapping):
            source = node.entries.get("file")
            if tuple(node.entries) == _FILE and isinstance(source, Scalar) and source.text and not source.is_null:
                return KeyBytes(self._file(node, source.text, reading))
            return KeyBytes(referred(node, reading).encode())
        if not isinstance(node, Scalar) or node.is_null:
            raise reading.refused(
                node, "wrong_type", f"expected {{file: PATH}}, {{env: NAME}} or a key as text, found {described(node)}"
            )
        return KeyBytes(inline(node, reading).encode())

    def _file(self, node: Node, path: str, reading: Reading) -> bytes:
        full = file_path(node, path, reading)
        try:
            read = partial(read_bytes, full, limit=MAX_BYTES)
            data, exposed = reading.footprint.read(full, read, itemgetter(0))
        except FileRefusedError as refused:
            raise reading.refused(node, refused.code, refused.message) from None
        if exposed:
            reading.warn(node, "secret_file_world_readable", f"everyone may read the file {full}; run chmod o-r on it")
        return data

    def schema(self) -> dict[str, Any]:
        return SCHEMA
