"""The text of one small file that a value or a key comes from, read so that a half-written one is never taken."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MAX_BYTES: Final = 64 * 1024
ATTEMPTS: Final = 3


@dataclass(frozen=True, slots=True)
class FileText:
    """What a file held; `newline_stripped` when it ended with LF or CRLF, `exposed` when everyone may read our file."""

    text: str
    newline_stripped: bool
    exposed: bool

    def content(self) -> bytes:
        """Return what was in the file."""
        return self.text.encode() + b"\n" * self.newline_stripped


class FileRefusedError(Exception):
    """The file can't be used: a fault code and a message that never says what is in it.

    `message` names the path; `anonymous` does not, for a path that may be a secret in the wrong place.
    """

    def __init__(self, code: str, path: Path, reason: str) -> None:
        name = str(path) if str(path).isprintable() else repr(str(path))
        self.code = code
        self.message = reason.format(file=f"the file {name}")
        self.anonymous = reason.format(file="the file named here")
        super().__init__(self.message)


def read_text(path: Path, read: Callable[[int, int], bytes] = os.read, *, limit: int = MAX_BYTES) -> FileText:
    """Return the text of the file, at most `limit` bytes, without its one trailing newline.

    The file is opened once and its state is compared before and after; when something wrote meanwhile, it is read
    again, three times in all. Raises `FileRefusedError`. `read` is `os.read` but for a test that writes in between.
    """
    return _text(path, *_read_whole(path, read, limit))


def read_bytes(path: Path, *, limit: int = MAX_BYTES) -> tuple[bytes, bool]:
    """Return the bytes of the file as they are, read as `read_text` does, and whether everyone may read our file.

    Raises `FileRefusedError`.
    """
    data, state = _read_whole(path, os.read, limit)
    return data, _exposed(path, state)


def _read_whole(path: Path, read: Callable[[int, int], bytes], limit: int) -> tuple[bytes, os.stat_result]:
    for _ in range(ATTEMPTS):
        data, state = _read_once(path, read, limit)
        if data is not None:
            return data, state
    reason = "{file} changes while it is read; write it beside and rename it"
    raise FileRefusedError("secret_changed_while_reading", path, reason)


def _read_once(path: Path, read: Callable[[int, int], bytes], limit: int) -> tuple[bytes | None, os.stat_result]:
    try:
        # Not blocking, since a named pipe would hold the start up for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (FileNotFoundError, NotADirectoryError):
        raise FileRefusedError("secret_file_missing", path, "{file} does not exist") from None
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from None
    try:
        before = os.fstat(descriptor)
        _check(path, before, limit)
        data = b""
        # One byte more than there should be tells that somebody appends.
        while len(data) <= before.st_size and (chunk := read(descriptor, before.st_size + 1 - len(data))):
            data += chunk
        after = os.fstat(descriptor)
    except OSError as error:
        raise _unreadable(path, error) from None
    finally:
        os.close(descriptor)
    whole = len(data) == after.st_size and _identity(before) == _identity(after)
    return (data if whole else None), after


def _check(path: Path, state: os.stat_result, limit: int) -> None:
    if stat.S_ISDIR(state.st_mode):
        raise FileRefusedError("secret_file_directory", path, "{file} is a directory; name a file in it")
    if not stat.S_ISREG(state.st_mode):
        raise FileRefusedError("secret_file_not_regular", path, "{file} is not a regular file")
    if state.st_size > limit:
        raise FileRefusedError("secret_file_too_large", path, f"{{file}} is larger than {limit // 1024} KiB")
    if state.st_mode & stat.S_IWOTH:
        reason = "{file} can be written by everyone; run chmod o-w on it"
        raise FileRefusedError("secret_file_world_writable", path, reason)


def _text(path: Path, data: bytes, state: os.stat_result) -> FileText:
    try:
        text = data.decode()
    except UnicodeDecodeError:
        # Without the cause: its text quotes bytes of the secret.
        raise FileRefusedError("secret_file_not_text", path, "{file} is not UTF-8 text") from None
    stripped = text.removesuffix("\r\n") if text.endswith("\r\n") else text.removesuffix("\n")
    return FileText(stripped, stripped != text, _exposed(path, state))


def _exposed(path: Path, state: os.stat_result) -> bool:
    return bool(state.st_mode & stat.S_IROTH) and state.st_uid == os.geteuid() and not mounted(path)


def mounted(path: Path) -> bool:
    """Tell whether the file lies in a volume that Kubernetes mounts: there `..data` links to the current version."""
    return os.path.lexists(path.parent / "..data") or any(part.startswith("..") and part != ".." for part in path.parts)


def _identity(state: os.stat_result) -> tuple[int, int, int, int]:
    return state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns


def _unreadable(path: Path, error: OSError | ValueError) -> FileRefusedError:
    reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else "its name is not usable"
    return FileRefusedError("secret_file_unreadable", path, f"{{file}} can't be read: {reason.lower()}")
