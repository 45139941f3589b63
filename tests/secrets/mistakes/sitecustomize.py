"""Mistakes of ours, put into the product as it starts: exceptions that hold secrets in their text and in their frames.

The interpreter imports a module of this name by itself, where this folder is on its path.
"""

import os
import sys
import time

if "run" in sys.argv or "--debug" in sys.argv:
    from proxy.admin.pages import Pages
    from proxy.inbound import connection
    from proxy.tokens.issuer import Issuer

    SECRET = os.environ["SECRET_OF_CRASHING"]
    _renew, _read, _answer = Issuer.renew, connection.parse_request, Pages.answer

    async def renew(self):
        local = SECRET
        if getattr(self, "_connection", None) is not None and self._connection.name == "crashing":
            error = KeyError(local, f"https://auth.example.com/?client_secret={local}")
            error.add_note(f"a note about {local}")
            raise ValueError(f"odd: {local!r}") from error
        return await _renew(self)

    def read(buffer, limits, searched):
        local = SECRET
        if buffer.startswith(b"GET /mistake"):
            raise RuntimeError(f"the secret is {local}")
        return _read(buffer, limits, searched)

    async def answer(self, called):
        local = SECRET
        if called.route.name == "crashing":
            until = time.monotonic() + 0.15  # asyncio tells of what holds the loop up for a tenth of a second
            while time.monotonic() < until:
                pass
            raise LookupError({"client_secret": local})
        return await _answer(self, called)

    Issuer.renew, connection.parse_request, Pages.answer = renew, read, answer
