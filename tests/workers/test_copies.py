"""A copy of a life that was on its way when a worker saw its token refused does not bring that token back."""

from __future__ import annotations

from proxy.access_token import AccessToken, Refused
from proxy.clock import SystemClock
from proxy.definitions.models import IClient
from proxy.definitions.settings import Limits
from proxy.runtime.keepers import policy_of
from proxy.runtime.workers.codec import packed_life
from proxy.runtime.workers.copies import Copies
from proxy.runtime.workers.frames import Message
from proxy.secret import Secret
from proxy.tokens.lease import NEVER, Lease
from proxy.tokens.states import Life, Valid


def life(generation: int) -> Message:
    token = AccessToken(Secret(f"token-{generation}"), generation)
    held = Valid(Lease(token, 0.0, NEVER, NEVER, NEVER, replaces_refused=False))
    packed = packed_life(Life(holding=held, generation=generation))
    return {"kind": "life", "keeper": 1, "life": packed, "used": True}


def test_a_life_in_which_the_refusal_is_not_known_yet_does_not_bring_a_spent_token_back():
    said: list[Message] = []
    copies = Copies(said.append, SystemClock())
    iclient = IClient(name="a", grant_type="client_credentials", client_auth="none", valid_domains=())
    copy = copies.of(1, policy_of(iclient, Limits()))
    copies.hear({**life(1), "heard": 0})
    first = copy.take()
    assert first is not None

    assert copy.refused(first) is Refused.RETRY
    assert copy.take() is None
    copies.hear({**life(1), "heard": 0})
    assert copy.take() is None

    [verdict] = [message for message in said if message["kind"] == "refused"]
    copies.hear({**life(2), "heard": verdict["said"]})
    second = copy.take()
    assert second is not None
    assert second.generation == 2
