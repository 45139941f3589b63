"""Whether what came of a mutant is right: pure judgement over bytes, by readers that are not ours.

A violation is a sentence. What is asked of requests: every upstream stream holds whole messages with nothing left over,
or the beginning of one on a stream that was given up; every reader finds the same ones; each has one credential, the
one of its connection; and each is one that the client sent, beyond doubt, with the same body.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tests.fuzz import strict
from tests.fuzz.oracles import h11_requests, llhttp_requests, with_known_methods
from tests.fuzz.readings import Message, Reading, Rest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

_SERIAL: Final = re.compile(rb"\r\nX-Serial: (\d+)\r\n")
_NAME: Final = b"1.1 iclient-proxy-"
# Ours, or of one hop: the client's own lines of these names do not come through as they are.
_OF_ONE_HOP: Final = frozenset((b"authorization", b"host", b"te", b"connection", b"upgrade", b"max-forwards"))


@dataclass(frozen=True, slots=True)
class Heard:
    """What one upstream stream got from the proxy; `ended`: the proxy has given the stream up."""

    name: str
    data: bytes
    ended: bool


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one mutant: what a client sent, what upstreams heard and numbered, what the client got.

    `hosts` are the Host fields of requests to each connection. `was_reset`: the client went on behind a request that
    ends its stream, so that a reset may have destroyed what was on its way to it (RFC 9112 §9.6).
    """

    sent: bytes
    heard: tuple[Heard, ...]
    numbered: tuple[int, ...]
    got: bytes
    hosts: Mapping[str, bytes]
    was_reset: bool = False


def token(name: str) -> bytes:
    """Return the token that requests of this connection get."""
    return f"canary-token-{name}-1".encode()


@dataclass(frozen=True, slots=True)
class Shown:
    """A stream as llhttp and Node are shown it, and what they have to find: methods that they know for others."""

    data: bytes
    messages: tuple[Message, ...]
    rest: Rest


def requests(outcome: Outcome) -> tuple[list[str], list[Shown]]:
    """Judge the requests that were forwarded; also return what Node has to be asked (`of_node`)."""
    faults: list[str] = []
    shown: list[Shown] = []
    whole: dict[str, list[Message]] = {}
    for heard in outcome.heard:
        reading = h11_requests(heard.data)
        faults += _ends_well(heard, reading)
        asked = _as_shown(heard, reading)
        found = llhttp_requests(asked.data)
        faults += _agrees("llhttp", found, asked)
        shown += _for_node(heard, reading, asked)
        faults += _credentials(heard, reading, outcome.hosts[heard.name])
        whole.setdefault(heard.name, []).extend(reading.messages)
    faults += _were_sent(outcome, whole)
    relayed = [int(number) for number in _SERIAL.findall(outcome.got)]
    numbered = list(outcome.numbered)
    if relayed != (numbered[: len(relayed)] if outcome.was_reset else numbered):
        faults.append(f"upstreams answered {list(outcome.numbered)}, the client got {relayed}")
    if sum(map(len, whole.values())) != len(outcome.numbered):
        faults.append(f"h11 reads {sum(map(len, whole.values()))} requests, {len(outcome.numbered)} were answered")
    return faults, shown


def of_node(shown: Iterable[Shown], readings: Iterable[Reading]) -> list[str]:
    """Judge what Node reads."""
    return [fault for each, reading in zip(shown, readings, strict=True) for fault in _agrees("Node", reading, each)]


def _ends_well(heard: Heard, reading: Reading) -> Iterator[str]:
    if reading.rest is Rest.FAULT:
        yield f"h11 refuses what {heard.name} got: {reading.why}"
    elif reading.rest is Rest.PARTIAL and not heard.ended:
        yield f"{heard.name} got half a request, on a stream that is kept"


def _as_shown(heard: Heard, reading: Reading) -> Shown:
    return Shown(b"".join(with_known_methods(heard.data, reading)), reading.messages, reading.rest)


def _for_node(heard: Heard, reading: Reading, whole: Shown) -> Iterator[Shown]:
    """Cut behind requests that would switch to another protocol: what Node makes of the stream then is its matter."""
    if not any(message.values(b"upgrade") for message in reading.messages):
        yield whole
        return
    *pieces, rest = with_known_methods(heard.data, reading)
    for piece, message in zip(pieces, reading.messages, strict=True):
        yield Shown(piece, (message,), Rest.NOTHING)
    if rest:
        yield Shown(rest, (), reading.rest)


def _agrees(who: str, found: Reading, shown: Shown) -> Iterator[str]:
    wanted = [_comparable(message) for message in shown.messages]
    if [_comparable(message) for message in found.messages] != wanted:
        yield f"{who} reads {len(found.messages)} requests where h11 reads {len(wanted)}, or other ones: {found.why}"
    elif found.rest is not shown.rest and shown.rest is not Rest.FAULT:
        yield f"{who} finds {found.rest.value} left over, h11 {shown.rest.value}: {found.why}"


def _comparable(message: Message) -> tuple[object, ...]:
    return message.start[1:], message.fields, message.body, message.version


def _credentials(heard: Heard, reading: Reading, host: bytes) -> Iterator[str]:
    for message in reading.messages:
        if message.values(b"authorization") != [b"Bearer " + token(heard.name)]:
            yield f"a request to {heard.name} has {message.values(b'authorization')}"
        if message.values(b"host") != [host]:
            yield f"a request to {heard.name} has Host {message.values(b'host')}"
    heads = len(reading.messages) + (reading.rest is Rest.PARTIAL)
    if heard.data.count(b"canary-") != heads:
        yield f"{heard.name} got {heard.data.count(b'canary-')} tokens with {heads} requests"


def _were_sent(outcome: Outcome, whole: Mapping[str, list[Message]]) -> Iterator[str]:
    """Each forwarded request is one of those that the client sent beyond doubt, in their order."""
    if not any(whole.values()):
        return
    beyond_doubt = strict.requests(outcome.sent)
    for name, messages in whole.items():
        left = iter(beyond_doubt.messages)
        for message in messages:
            if not any(_is_same(name, outcome.hosts[name], message, theirs) for theirs in left):
                yield (
                    f"{name} got {message.start} with {len(message.body)} bytes, which the client did not send beyond"
                    f" doubt: {beyond_doubt.why}"
                )
                break


def _is_same(name: str, host: bytes, forwarded: Message, sent: Message) -> bool:
    if forwarded.start[0] != sent.start[0] or forwarded.body != sent.body:
        return False
    method, target = sent.start
    for_all = method == b"OPTIONS" and forwarded.start[1] == b"*" and target.lower() == b"http://" + host
    if not for_all and not _is_target(name, host, forwarded.start[1], target):  # RFC 9112 §3.2.4
        return False
    left = iter(sent.fields)
    return all(pair in left for pair in forwarded.fields if pair[0] not in _OF_ONE_HOP and not _is_ours(pair, sent))


def _is_ours(pair: tuple[bytes, bytes], sent: Message) -> bool:
    """Whether the proxy adds this line: a length where a request has to have one, its name on the forward listener."""
    name, value = pair
    return pair not in sent.fields and (pair == (b"content-length", b"0") or (name == b"via" and _NAME in value))


def _is_target(name: str, host: bytes, forwarded: bytes, sent: bytes) -> bool:
    """Whether the one is the other without scheme, authority and the prefix of the route."""
    scheme, colon, rest = sent.partition(b"://")
    if colon and scheme.lower() in (b"http", b"https"):
        at = min((at for at in (rest.find(b"/"), rest.find(b"?")) if at >= 0), default=len(rest))
        named, sent = rest[:at], rest[at:]
        if forwarded == (sent if sent.startswith(b"/") else b"/" + sent) and named.lower() == host:
            return True  # the forward listener: the target stays as it is
    prefix = b"/" + name.encode()
    stripped = sent.removeprefix(prefix)
    return sent.startswith(prefix) and forwarded in (stripped, b"/" + stripped)
