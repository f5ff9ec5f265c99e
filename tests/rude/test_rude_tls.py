"""What a TLS client may do behind its handshake: renegotiate, change keys for ever. Refused or borne, and bounded."""

from collections.abc import Iterator

import pytest
from OpenSSL import SSL

from tests.harness import SWITCHED, UPGRADE, RawServer, Wire
from tests.rude.scene import HERE, TLS_1_2, TLS_1_3, Scene
from tests.rude.tls_by_hand import ALERT, CLIENT_HELLO, HANDSHAKE, Forger12, Forger13, TlsByHand

PUMPS = pytest.mark.parametrize("pump", ["reactor", "native"])

CLOSE_NOTIFY = b"\x01\x00"
# RFC 5246 7.2: a warning that means nothing.
USER_CANCELED = b"\x01\x5a"
MANY = 2_000


def tunnel(scene: Scene, upstream: RawServer, client: TlsByHand, seal) -> Wire:
    """Open a tunnel; its upstream end."""
    client.wire.send(seal(UPGRADE))
    server = upstream.accept()
    server.read_head()
    server.send(SWITCHED)
    client.read_until(b"\r\n\r\n")
    scene.running.line(event="open")
    return server


# Renegotiation. A client may take the refusal, which is a warning (RFC 5746 4.5), for a failure, or go on.


@PUMPS
def test_a_refused_renegotiation_does_not_disturb_a_tunnel_whose_client_goes_on(scene, upstream, pump):
    running = scene.open(TLS_1_2, more=f'pump = "{pump}"\n')
    client = scene.secured_by_hand(TLS_1_2)
    forger = client.forger()
    server = tunnel(scene, upstream, client, forger.record)
    client.wire.send(forger.record(CLIENT_HELLO, HANDSHAKE) + forger.record(b"still here"))
    assert server.read(10) == b"still here"
    client.wire.send(forger.record(CLOSE_NOTIFY, ALERT))
    assert server.read_all() == b""
    server.finish()
    assert running.line(event="close")["outcome"] == "client-closed"
    assert not client.wire.was_reset()
    assert running.sessions == 0


@PUMPS
def test_a_client_that_takes_the_refusal_for_a_failure_ends_its_tunnel_and_no_other(scene, upstream, pump):
    running = scene.open(TLS_1_2, more=f'pump = "{pump}"\n')
    other = scene.client(TLS_1_2)
    other.send(UPGRADE)
    others = upstream.accept()
    others.read_head()
    others.send(SWITCHED)
    other.read_head()
    client = scene.secured_by_hand(TLS_1_2)
    server = tunnel(scene, upstream, client, client.seal)
    assert client.tls.renegotiate()
    client.wire.send(client.step())
    client.listen()
    with pytest.raises(SSL.Error, match="no renegotiation"):
        client.tls.do_handshake()
    client.wire.send(client.out())  # a fatal alert of its own
    assert server.was_reset()
    assert running.line(event="close")["outcome"] == "client-tls-error"
    client.wire.ending()
    other.send(b"and I?")
    assert others.read(6) == b"and I?"
    # Nothing of the error is left for whoever comes next.
    fresh = scene.client(TLS_1_2)
    fresh.send(HERE)
    fresh.read_until(b"here")


def test_a_refused_renegotiation_between_requests_does_not_disturb_the_next_one(scene):
    running = scene.open(TLS_1_2)
    client = scene.secured_by_hand(TLS_1_2)
    forger = client.forger()
    client.wire.send(forger.record(HERE))
    client.read_until(b"here")
    running.line(event="exchange")
    client.wire.send(forger.record(CLIENT_HELLO, HANDSHAKE) + forger.record(HERE))
    # Its own library would not read on behind the warning; the relay knows whether it has answered.
    assert running.line(event="exchange")["status"] == 200


def test_a_client_that_asks_for_a_renegotiation_and_says_nothing_more_has_no_more_time(scene):
    running = scene.open(TLS_1_2)
    client = scene.secured_by_hand(TLS_1_2)
    client.wire.send(client.forger().record(CLIENT_HELLO, HANDSHAKE))
    running.settle()
    scene.over.passes(10)
    assert running.sessions == 0
    client.wire.ending()


# Key updates (RFC 8446 4.6.3).


@PUMPS
@pytest.mark.parametrize("wants_one", [False, True], ids=["silent", "answered"])
def test_thousands_of_key_updates_disturb_no_byte_of_a_tunnel(scene, upstream, pump, wants_one):
    running = scene.open(TLS_1_3, more=f'pump = "{pump}"\n')
    client = scene.secured_by_hand(TLS_1_3)
    forger = client.forger()
    assert isinstance(forger, Forger13)
    server = tunnel(scene, upstream, client, forger.record)
    for number in range(MANY // 100):
        updates = b"".join(forger.key_update(wants_one=wants_one) for _ in range(100))
        client.wire.send(updates + forger.record(b"%4d" % number))
        assert server.read(4) == b"%4d" % number
        server.send(b"back")
        assert client.read_until(b"back") == b"back"
    client.wire.send(forger.record(CLOSE_NOTIFY, ALERT))
    assert server.read_all() == b""
    server.finish()
    assert running.line(event="close")["outcome"] == "client-closed"


def test_key_updates_buy_no_time_for_a_head(scene):
    running = scene.open(TLS_1_3)
    client = scene.secured_by_hand(TLS_1_3)
    forger = client.forger()
    assert isinstance(forger, Forger13)
    for _ in range(10):
        client.wire.send(forger.key_update(wants_one=True))
        running.settle()
        scene.over.passes(1)
    assert running.sessions == 0


@pytest.mark.parametrize("carrier", [TLS_1_2, TLS_1_3])
def test_a_client_that_floods_and_reads_no_answer_to_it_is_let_go_in_its_time(scene, carrier):
    """Each of these wants an answer, and the relay cannot even read on before that is sent."""
    running = scene.open(carrier)
    client = scene.secured_by_hand(carrier)
    for flood in floods(client):
        try:
            client.wire.send_until_full(flood)
        except OSError:
            break  # the relay has had enough of it
        if running.sessions == 0:
            break
    running.settle()
    scene.over.passes(10)
    assert running.sessions == 0
    client.wire.ending()


def floods(client: TlsByHand) -> Iterator[bytes]:
    """What wants an answer, some thousands at a time, until the kernel holds what nobody reads."""
    forger = client.forger()
    for _ in range(20):
        if isinstance(forger, Forger12):
            yield b"".join(forger.record(CLIENT_HELLO, HANDSHAKE) for _ in range(MANY))
        else:
            assert isinstance(forger, Forger13)
            yield b"".join(forger.key_update(wants_one=True) for _ in range(MANY))


# Records with next to nothing in them.


@PUMPS
@pytest.mark.parametrize("carrier", [TLS_1_2, TLS_1_3])
def test_thousands_of_records_of_one_byte_arrive_whole_and_in_order(scene, upstream, carrier, pump):
    scene.open(carrier, more=f'pump = "{pump}"\n')
    client = scene.secured_by_hand(carrier)
    forger = client.forger()
    server = tunnel(scene, upstream, client, lambda data: b"".join(forger.record(bytes([byte])) for byte in data))
    data = bytes(number % 251 for number in range(5 * MANY))
    client.wire.send_aside(b"".join(forger.record(bytes([byte])) for byte in data))
    assert server.read(len(data)) == data


@PUMPS
def test_warnings_that_mean_nothing_do_not_last_for_ever(scene, upstream, pump):
    """OpenSSL bears a few of them in a row; either way it is this tunnel's matter only, and it has an outcome."""
    running = scene.open(TLS_1_2, more=f'pump = "{pump}"\n')
    client = scene.secured_by_hand(TLS_1_2)
    forger = client.forger()
    server = tunnel(scene, upstream, client, forger.record)
    client.wire.send_aside(b"".join(forger.record(USER_CANCELED, ALERT) for _ in range(MANY)))
    assert server.was_reset()
    assert running.line(event="close")["outcome"] == "client-tls-error"
    assert running.sessions == 0
