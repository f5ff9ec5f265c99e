"""The contract of TLS handshakes, for the threads in C and for the reactor alike."""

import os
import resource
import select
import socket
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from OpenSSL import SSL

from tests.contracts.handshakes import KINDS, Attempt, attempts, far_end_is_closed, native, opened
from tests.contracts.peers import TlsPeer, a_turn, client_context, server_context
from tests.harness import PATIENCE_SECONDS, in_reactor
from tests.tls import Authority
from tests.tls import context as offering
from wsrelay.config import certificates
from wsrelay.config.settings import Certificate
from wsrelay.core.outcomes import Loss
from wsrelay.net.handshakes import PLAIN, Handshakes, Shaken
from wsrelay.net.tls import Contexts

pytest.importorskip("wsrelay.pump._native", reason="the native pump was not built")

Begin = Callable[..., Attempt]


@pytest.fixture(params=KINDS, ids=lambda kind: kind.__name__)
def handshakes(request: pytest.FixtureRequest) -> Iterator[Handshakes]:
    with opened(request.param) as ready:
        yield ready


@pytest.fixture
def begin(handshakes: Handshakes) -> Iterator[Begin]:
    with attempts(handshakes) as make:
        yield make


VERSIONS = pytest.mark.parametrize("version", [SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION])


@VERSIONS
def test_a_handshake_that_succeeds_is_told_once_and_loses_no_byte_behind_it(begin: Begin, version: int) -> None:
    attempt = begin()
    peer = TlsPeer(attempt.far, version)
    peer.shake_hands()
    peer.send(b"right behind it")
    shaken = attempt.told()
    assert (shaken.loss, shaken.problem, shaken.heard) == (None, "", True)
    received = shaken.first
    while len(received) < len(b"right behind it"):
        assert attempt.connection is not None
        try:
            received += attempt.connection.recv(65536)
        except SSL.WantReadError:
            select.select([attempt.inode], [], [], PATIENCE_SECONDS)
    assert received == b"right behind it"
    a_turn()
    assert attempt.silent


def test_messages_may_come_byte_by_byte(begin: Begin) -> None:
    attempt = begin()
    client = SSL.Connection(client_context(SSL.TLS1_3_VERSION), None)
    client.set_connect_state()
    done = False
    while not done:
        try:
            client.do_handshake()
            done = True
        except SSL.WantReadError:
            pass
        for byte in _out(client):
            attempt.far.send(bytes([byte]))
        if not done:
            client.bio_write(attempt.far.recv(65536))
    assert attempt.told().loss is None


def _out(client: SSL.Connection) -> bytes:
    try:
        return client.bio_read(65536)
    except SSL.WantReadError:
        return b""


def _reset(far: socket.socket) -> None:
    far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
    far.close()


@pytest.mark.parametrize(
    ("fail", "loss", "text", "heard"),
    [
        (lambda far: far.send(b"get / HTTP/1.1\r\n\r\n"), Loss.TLS, "wrong version number", True),
        (lambda far: far.send(b"\x16\x03\x01\x00\x05\xff\xff\xff\xff\xff"), Loss.TLS, "", True),
        (lambda far: far.shutdown(socket.SHUT_WR), Loss.TRUNCATED, "ended during the handshake", False),
        (
            lambda far: (far.send(b"\x16"), far.shutdown(socket.SHUT_WR)),
            Loss.TRUNCATED,
            "ended during the handshake",
            True,
        ),
        (_reset, Loss.RESET, "reset by peer", False),
    ],
    ids=["lower case", "nonsense", "end", "end-later", "reset"],
)
def test_a_handshake_that_fails_says_why_and_whether_anything_came(
    begin: Begin, fail: Callable[[socket.socket], object], loss: Loss, text: str, heard: bool
) -> None:
    attempt = begin()
    fail(attempt.far)
    shaken = attempt.told()
    assert (shaken.loss, shaken.heard) == (loss, heard)
    assert shaken.problem
    assert text in shaken.problem.lower()


def test_http_without_tls_is_told_as_such_and_nothing_of_it_is_taken(begin: Begin) -> None:
    for method in (b"GET", b"OPTIONS", b"A", b"Z"):
        attempt = begin()
        attempt.far.send(method)
        assert attempt.told() == Shaken(True, b"", Loss.TLS, PLAIN.problem, plain=True)
        assert attempt.unread() == method
        assert attempt.silent


def test_an_error_of_one_handshake_is_not_taken_for_anothers(begin: Begin) -> None:
    """They share threads, and OpenSSL's queue of errors belongs to a thread."""
    bad, good = [begin() for _ in range(6)], [begin() for _ in range(6)]
    for one, other in zip(bad, good, strict=True):
        peer = TlsPeer(other.far)
        one.far.send(b"nonsense, and more of it")
        assert one.told().loss is Loss.TLS
        peer.shake_hands()
        assert other.told().loss is None


def test_one_that_is_given_up_is_closed_and_never_told_of(handshakes: Handshakes, begin: Begin) -> None:
    idle, begun, other = begin(), begin(), begin()
    client = SSL.Connection(client_context(SSL.TLS1_3_VERSION), None)
    client.set_connect_state()
    with pytest.raises(SSL.WantReadError):
        client.do_handshake()
    begun.far.send(_out(client))
    assert begun.far.recv(1)  # so that it is half done
    idle.give_up()
    begun.give_up()
    assert far_end_is_closed(idle.far)
    assert far_end_is_closed(begun.far)
    TlsPeer(other.far).shake_hands()
    assert other.told().loss is None
    assert idle.silent
    assert begun.silent


def test_giving_up_one_that_has_just_ended_changes_nothing(begin: Begin) -> None:
    attempt = begin()
    TlsPeer(attempt.far).shake_hands()
    attempt.told()
    attempt.give_up()
    a_turn()
    assert attempt.silent


def test_many_at_once_each_have_their_own_end(begin: Begin) -> None:
    made = [begin() for _ in range(50)]
    peers = [TlsPeer(attempt.far) for attempt in made]
    for peer in reversed(peers):
        peer.shake_hands()
    assert [attempt.told().loss for attempt in made] == [None] * 50


@VERSIONS
def test_http_is_chosen_by_alpn_and_a_client_without_it_is_told_so(
    handshakes: Handshakes, begin: Begin, tmp_path: Path, version: int
) -> None:
    issued = Authority(tmp_path).issue("localhost")
    contexts = Contexts([certificates.load(Certificate(issued.chain, issued.key))], http=True)
    (context,) = contexts.all
    in_reactor(partial(handshakes.prepare, context, http=True))
    for offered, chosen in [((b"h2", b"http/1.1"), b"http/1.1"), ((), b""), ((b"http/1.1",), b"http/1.1")]:
        attempt = begin(context)
        peer = TlsPeer(attempt.far, version)
        peer.tls = SSL.Connection(offering(alpn=offered, version=version), attempt.far)
        peer.tls.set_connect_state()
        peer.shake_hands()
        assert attempt.told().loss is None
        assert peer.tls.get_alpn_proto_negotiated() == chosen
    for offered in ((b"h2",), (b"http/1.0", b"http/1.1x")):
        attempt = begin(context)
        client = SSL.Connection(offering(alpn=offered, version=version), attempt.far)
        client.set_connect_state()
        attempt.far.setblocking(True)
        with pytest.raises(SSL.Error, check=lambda error: "no application protocol" in str(error)):
            client.do_handshake()
        shaken = attempt.told()
        assert (shaken.loss, shaken.problem) == (Loss.TLS, "the client offers no http/1.1 by ALPN")


def test_threads_that_are_shut_close_what_was_given_up_and_not_told_of() -> None:
    before = set(os.listdir("/proc/self/fd"))
    handshakes = in_reactor(native)
    in_reactor(handshakes.open)
    with attempts(handshakes) as make:
        attempt = make()

        def give_up_and_shut() -> None:
            attempt.connection = None
            attempt._begun.give_up()
            handshakes.shut()

        in_reactor(give_up_and_shut)
        assert far_end_is_closed(attempt.far)
    assert set(os.listdir("/proc/self/fd")) == before


def test_threads_that_cannot_be_had_are_an_error_of_the_system() -> None:
    handshakes = in_reactor(native)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(name) for name in os.listdir("/proc/self/fd"))
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 2, hard))
        held = [os.dup(0) for _ in range(_free_below(highest + 2))]
        with pytest.raises(OSError, match="TLS handshakes"):
            in_reactor(handshakes.open)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    for descriptor in held:
        os.close(descriptor)
    in_reactor(handshakes.shut)


def _free_below(limit: int) -> int:
    """How many descriptors below a limit are not open, but one."""
    return limit - 1 - len([name for name in os.listdir("/proc/self/fd") if int(name) < limit])


@VERSIONS
def test_an_end_right_behind_the_handshake_is_told_of(begin: Begin, version: int) -> None:
    """It is off the socket then, and no event will tell of it."""
    attempt = begin()
    client = SSL.Connection(client_context(version), None)
    client.set_connect_state()
    while True:
        try:
            client.do_handshake()
        except SSL.WantReadError:
            attempt.far.sendall(_out(client))
            client.bio_write(attempt.far.recv(65536))
        else:
            break
    last = _out(client)
    client.shutdown()
    attempt.far.sendall(last + _out(client))
    shaken = attempt.told()
    assert shaken.loss is None
    if not shaken.ended:
        assert attempt.connection is not None
        select.select([attempt.inode], [], [], PATIENCE_SECONDS)
        with pytest.raises(SSL.ZeroReturnError):
            attempt.connection.recv(1)


def test_many_that_are_given_up_at_once_are_all_closed(begin: Begin) -> None:
    made = [begin() for _ in range(100)]
    for attempt in made:
        attempt.give_up()
    for attempt in made:
        assert far_end_is_closed(attempt.far)


def test_a_context_without_http_answers_no_alpn(begin: Begin) -> None:
    attempt = begin(server_context())
    peer = TlsPeer(attempt.far)
    peer.tls = SSL.Connection(offering(alpn=(b"h2",)), attempt.far)
    peer.tls.set_connect_state()
    peer.shake_hands()
    assert attempt.told().loss is None
    assert peer.tls.get_alpn_proto_negotiated() == b""
