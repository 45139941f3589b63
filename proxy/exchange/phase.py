"""Where an exchange is; `docs/life-of-a-request.md` draws the ways between."""

from __future__ import annotations

from enum import Enum


class Phase(Enum):
    """Where an exchange is."""

    TOKEN = "waits for a token"
    STREAM = "waits for an upstream stream"
    RESPONSE = "waits for the response"
    INSPECTION = "holds a response while a rule needs its body"
    RENEWAL = "holds a refused response while the token is renewed"
    BODY = "relays the response"
    TUNNEL = "is a tunnel"
    OVER = "is over"
