"""Mistakes of ours, put into the product as it starts: exceptions that hold secrets in their text and in their frames.

The interpreter imports a module of this name by itself, where this folder is on its path.
"""

import os
import sys
import time

if "run" in sys.argv or "--debug" in sys.argv:
    from proxy.admin.pages import Pages
    from proxy.exchange.route import RouteTable
    from proxy.tokens.issuer import Issuer

    SECRET = os.environ["SECRET_OF_CRASHING"]
    _renew, _find, _answer = Issuer.renew, RouteTable.find, Pages.answer

    async def renew(self):
        local = SECRET
        if getattr(self, "_connection", None) is not None and self._connection.name == "crashing":
            error = KeyError(local, f"https://auth.example.com/?client_secret={local}")
            error.add_note(f"a note about {local}")
            raise ValueError(f"odd: {local!r}") from error
        return await _renew(self)

    def find(self, host, target):
        local = SECRET
        if target.startswith(b"/mistake"):
            raise RuntimeError(f"the secret is {local}")
        return _find(self, host, target)

    async def answer(self, called):
        local = SECRET
        if called.route.name == "crashing":
            until = time.monotonic() + 0.15  # asyncio tells of what holds the loop up for a tenth of a second
            while time.monotonic() < until:
                pass
            raise LookupError({"client_secret": local})
        return await _answer(self, called)

    Issuer.renew, RouteTable.find, Pages.answer = renew, find, answer
