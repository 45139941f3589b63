import ssl
from contextlib import suppress

import pytest

from proxy.definitions.models import Tls
from proxy.outbound.tls import TlsEngine, client_context


class Peer:
    """The other end of an engine, also over memory buffers."""

    def __init__(self, context):
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._object = context.wrap_bio(self._in, self._out, server_side=True)

    def shake(self, engine):
        """Agree with the engine; the tickets that follow are its first bytes."""
        data = engine.handshake(b"")
        while not engine.ready:
            data = engine.handshake(self._answer(data))
        assert engine.receive(self._answer(data)) == b""

    def _answer(self, data):
        self._in.write(data)
        with suppress(ssl.SSLWantReadError):
            self._object.do_handshake()
        return self._out.read()

    def records(self, *texts, ends=False):
        """Return one record for each text, and close_notify when it ends here."""
        for text in texts:
            self._object.write(text)
        if ends:
            with pytest.raises(ssl.SSLWantReadError):
                self._object.unwrap()
        return self._out.read()

    def heard(self, data):
        """Return the text in the engine's records."""
        self._in.write(data)
        pieces = []
        try:
            while True:
                pieces.append(self._object.read(65536))
        except ssl.SSLWantReadError:
            return b"".join(pieces)


@pytest.fixture
def agreed(authority):
    engine = TlsEngine(client_context(Tls(ca=authority.pem)), "localhost", None)
    peer = Peer(authority.server("localhost"))
    peer.shake(engine)
    return engine, peer


@pytest.mark.parametrize("first", [1, 4, 5, 6, 30, 60, 100])
def test_records_arrive_whole_however_the_stream_cuts_them(agreed, first):
    engine, peer = agreed
    wire = peer.records(b"one", b"two" * 20, b"three")
    received = [engine.receive(wire[:first]), *(engine.receive(wire[i : i + 1]) for i in range(first, len(wire)))]

    assert b"".join(received) == b"one" + b"two" * 20 + b"three"
    assert not engine.ended


def test_an_end_behind_the_last_record_is_seen_with_it(agreed):
    engine, peer = agreed
    received = engine.receive(peer.records(b"last words", ends=True))

    assert received == b"last words"
    assert engine.ended


def test_large_bodies_pass_both_ways(agreed):
    engine, peer = agreed
    body = bytes(range(256)) * 4096

    assert engine.receive(peer.records(body)) == body
    assert peer.heard(engine.encrypt(body)) == body
    assert peer.heard(engine.encrypt(b"") + engine.encrypt(b"x")) == b"x"
