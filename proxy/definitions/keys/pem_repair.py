"""PEM (RFC 7468) that lost its line ends on the way into a variable, a form or one line of YAML. Pure."""

from __future__ import annotations

import re
from typing import Final

BLOCK: Final = re.compile(r"-----BEGIN ([A-Z0-9 ]+)-----(.*?)-----END \1-----", re.DOTALL)
# Encryption from before PKCS#8 (RFC 1421 §4.6.1.3): a cipher, and one block of it in hexadecimal.
_DEK: Final = re.compile(r"\s*Proc-Type:\s*4,\s*ENCRYPTED\s*DEK-Info:\s*([A-Z0-9-]+),\s*(.*)", re.DOTALL)


def repaired(text: str) -> str:
    r"""Return PEM with its line ends: `\n` of two characters become one, and what was joined to a line is cut again."""
    if "\n" not in text.strip() and "\\n" in text:
        text = text.replace("\\r", "").replace("\\n", "\n")

    def wrapped(block: re.Match[str]) -> str:
        label, body = block[1], block[2]
        header: list[str] = []
        if (dek := _DEK.fullmatch(body)) is not None:
            digits = 32 if "AES" in dek[1] else 16
            header, body = ["Proc-Type: 4,ENCRYPTED", f"DEK-Info: {dek[1]},{dek[2][:digits]}", ""], dek[2][digits:]
        packed = re.sub(r"\s", "", body)
        lines = [packed[at : at + 64] for at in range(0, len(packed), 64)]
        return "\n".join([f"-----BEGIN {label}-----", *header, *lines, f"-----END {label}-----"])

    return BLOCK.sub(wrapped, text) + "\n"
