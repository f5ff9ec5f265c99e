"""The contract of TLS handshakes in which we speak first, towards upstreams; for both kinds of them.

Those that clients begin are in tests/pump/test_handshakes.py.
"""

import contextlib
import select
import socket
import struct
from collections.abc import Callable, Iterator

import pytest
from OpenSSL import SSL
from twisted.internet import reactor

from tests.contracts.handshakes import KINDS, Attempt, attempts, far_end_is_closed, opened
from tests.contracts.peers import TlsPeer, a_turn, clog, server_side, tcp_pair, unclog, unix_pair
from tests.harness import PATIENCE_SECONDS, in_reactor
from tests.net import hellos
from tests.tls import context
from wsrelay.core.outcomes import Loss
from wsrelay.net import takeover
from wsrelay.net.handshakes import Handshakes
from wsrelay.net.tls_leg import MISTRUSTED

Begin = Callable[..., Attempt]

NUMBERS = [SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION]
VERSIONS = pytest.mark.parametrize("version", NUMBERS, ids=["1.2", "1.3"])
# RFC 8446 5.1 and 6: a record with a fatal alert in it.
HANDSHAKE_FAILURE = b"\x15\x03\x03\x00\x02\x02\x28"


@pytest.fixture(params=KINDS, ids=lambda kind: kind.__name__)
def handshakes(request: pytest.FixtureRequest) -> Iterator[Handshakes]:
    with opened(request.param) as ready:
        yield ready


@pytest.fixture
def either(handshakes: Handshakes) -> Iterator[Begin]:
    """Begin one as a server or as a client."""
    with attempts(handshakes) as make:
        yield make


@pytest.fixture
def begin(either: Begin) -> Begin:
    """Begin one as a client, which verifies nothing unless its context says so."""
    return lambda how=None, **more: either(how or context(), as_client=True, **more)


class Server:
    """The far end of one, as a server whose bytes the test carries."""

    def __init__(self, attempt: Attempt) -> None:
        self._far = attempt.far
        self.tls = server_side(None)  # type: ignore[arg-type]  # without a socket

    def out(self) -> bytes:
        """What it would send now."""
        pieces = []
        with contextlib.suppress(SSL.WantReadError):
            while True:
                pieces.append(self.tls.bio_read(65536))
        return b"".join(pieces)

    def hear(self) -> None:
        """Take what our end has sent."""
        data = self._far.recv(65536)
        assert data, "our end has gone"
        self.tls.bio_write(data)

    def answer(self) -> bytes:
        """Hear the ClientHello; the whole answer to it."""
        while not (answer := self._step()):
            self.hear()
        return answer

    def finish(self, send: Callable[[bytes], object], behind: bytes = b"", *, end: bool = False) -> None:
        """Go on to the end of the handshake; `behind`, and an end, go with its last message."""
        while True:
            try:
                self.tls.do_handshake()
                break
            except SSL.WantReadError:
                send(self.out())
                self.hear()
        if behind:
            self.tls.send(behind)
        if end:
            self.tls.shutdown()
        send(self.out())

    def _step(self) -> bytes:
        with contextlib.suppress(SSL.WantReadError):
            self.tls.do_handshake()
        return self.out()


def read(attempt: Attempt, first: bytes, count: int) -> bytes:
    """So many bytes through OpenSSL, those that came with the handshake before them."""
    assert attempt.connection is not None
    while len(first) < count:
        try:
            first += attempt.connection.recv(65536)
        except SSL.WantReadError:
            assert select.select([attempt.inode], [], [], PATIENCE_SECONDS)[0]
    return first


def reset(far: socket.socket) -> None:
    far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    far.close()


def awake(attempt: Attempt) -> bool:
    """Whether the reactor would be woken at once for our end."""
    events = in_reactor(lambda: [number for number, _ in reactor._poller.poll(0)])  # type: ignore[attr-defined]  # no public name tells it
    return attempt.inode in events


# It succeeds.


@VERSIONS
def test_we_speak_first_and_nothing_behind_the_handshake_is_lost(begin: Begin, version: int) -> None:
    attempt = begin(context(version=version))
    assert attempt.far.recv(1, socket.MSG_PEEK) == b"\x16"
    server = Server(attempt)
    server.finish(attempt.far.sendall, behind=b"right behind it")
    shaken = attempt.told()
    assert (shaken.loss, shaken.problem, shaken.plain, shaken.ended) == (None, "", False, False)
    assert read(attempt, shaken.first, 15) == b"right behind it"
    assert attempt.connection is not None
    attempt.connection.send(b"and back")
    server.hear()
    assert server.tls.recv(100) == b"and back"
    a_turn()
    assert attempt.silent


@VERSIONS
def test_the_far_ends_messages_may_come_byte_by_byte(begin: Begin, version: int) -> None:
    attempt = begin(context(version=version))

    def send(data: bytes) -> None:
        for byte in data:
            attempt.far.send(bytes([byte]))

    Server(attempt).finish(send, behind=b"x")
    shaken = attempt.told()
    assert shaken.loss is None
    assert read(attempt, shaken.first, 1) == b"x"


@VERSIONS
def test_an_end_right_behind_the_handshake_is_told_of_or_found(begin: Begin, version: int) -> None:
    attempt = begin(context(version=version))
    Server(attempt).finish(attempt.far.sendall, end=True)
    shaken = attempt.told()
    assert shaken.loss is None
    if not shaken.ended:
        with pytest.raises(SSL.ZeroReturnError):
            read(attempt, b"", 1)


def test_a_socket_that_takes_nothing_yet_is_waited_for(begin: Begin) -> None:
    """Of the ClientHello nothing has been sent then, and no byte of it may be lost or sent twice."""
    ours, far = unix_pair()
    count = clog(ours)
    attempt = begin(pair=(ours, far))
    a_turn()
    assert attempt.silent
    unclog(far, count)
    Server(attempt).finish(far.sendall)
    assert attempt.told().loss is None


@VERSIONS
def test_in_the_other_role_an_answer_that_nobody_takes_yet_is_waited_for_without_a_turn(
    either: Begin, version: int
) -> None:
    """Although there is something to read meanwhile, which would wake us all the time."""
    ours, far = unix_pair()
    count = clog(ours)
    client = SSL.Connection(context(version=version), None)
    client.set_connect_state()
    attempt = either(pair=(ours, far))
    # The byte with which the client's next flight begins: ClientKeyExchange, or the change of RFC 8446 D.4.
    early = b"\x16" if version == SSL.TLS1_2_VERSION else b"\x14"
    far.sendall(hellos.step(client) + early)
    a_turn()
    assert not awake(attempt)
    assert attempt.silent
    unclog(far, count)
    last = hellos.step(client, far.recv(65536))
    assert last.startswith(early)
    far.sendall(last[1:])
    assert attempt.told().loss is None


def test_many_at_once_in_both_roles_each_have_their_own_end(either: Begin) -> None:
    made = [either(context(), as_client=True) if number % 2 else either() for number in range(40)]
    for number, attempt in reversed(list(enumerate(made))):
        if number % 4 == 3:
            attempt.far.sendall(HANDSHAKE_FAILURE)
        elif number % 2:
            Server(attempt).finish(attempt.far.sendall)
        else:
            TlsPeer(attempt.far).shake_hands()
    losses = [attempt.told().loss for attempt in made]
    assert losses == [Loss.TLS if number % 4 == 3 else None for number in range(40)]


# It fails.


@VERSIONS
def test_a_certificate_that_is_not_trusted_ends_it_and_the_far_end_is_told_why(begin: Begin, version: int) -> None:
    how = context(version=version)
    how.set_verify(SSL.VERIFY_PEER)
    attempt = begin(how)
    server = Server(attempt)
    attempt.far.sendall(server.answer())
    shaken = attempt.told()
    assert (shaken.loss, shaken.first) == (Loss.TLS, b"")
    assert shaken.problem.endswith(MISTRUSTED), shaken.problem
    assert attempt.connection is not None
    assert takeover.mistrust(attempt.connection) in (
        "self-signed certificate",
        "unable to get local issuer certificate",
    )
    server.hear()
    with pytest.raises(SSL.Error, match="unknown ca"):
        server.tls.do_handshake()


@pytest.mark.parametrize(
    ("alert", "word"),
    [(40, "handshake failure"), (48, "unknown ca"), (70, "protocol version"), (112, "unrecognized name")],
)
def test_an_alert_of_the_far_end_is_told_by_its_name(begin: Begin, alert: int, word: str) -> None:
    attempt = begin()
    attempt.far.sendall(HANDSHAKE_FAILURE[:-1] + bytes([alert]))
    shaken = attempt.told()
    assert (shaken.loss, shaken.plain) == (Loss.TLS, False)
    assert word in shaken.problem


PLAIN = {
    "an answer of HTTP": b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n",
    "a request": b"GET / HTTP/1.1\r\n\r\n",
    "SSH": b"SSH-2.0-server\r\n",
    "mail": b"220 mail.example ESMTP\r\n",
}


@pytest.mark.parametrize("sent", PLAIN.values(), ids=PLAIN)
@pytest.mark.parametrize("when", ["before ours", "after ours"])
def test_what_is_not_tls_is_an_error_of_tls_and_never_http_of_a_client(begin: Begin, sent: bytes, when: str) -> None:
    pair = unix_pair()
    if when == "before ours":
        pair[1].sendall(sent)
    attempt = begin(pair=pair)
    if when == "after ours":
        assert attempt.far.recv(1, socket.MSG_PEEK)
        attempt.far.sendall(sent)
    shaken = attempt.told()
    assert (shaken.loss, shaken.plain, shaken.first) == (Loss.TLS, False, b"")
    assert shaken.problem == ("http request" if sent.startswith(b"GET") else "wrong version number")


@pytest.mark.parametrize("first", [b"H", b"G", b"A", b"Z"])
def test_one_letter_of_the_far_end_decides_nothing(begin: Begin, first: bytes) -> None:
    """A server's first byte is looked at by OpenSSL alone, which wants a whole header."""
    attempt = begin()
    attempt.far.sendall(first)
    a_turn()
    assert attempt.silent
    attempt.far.shutdown(socket.SHUT_WR)
    shaken = attempt.told()
    assert (shaken.loss, shaken.plain) == (Loss.TRUNCATED, False)


@VERSIONS
@pytest.mark.parametrize("answered", ["nothing", "a byte", "half", "all but a byte"])
@pytest.mark.parametrize("how", ["finish", "reset"])
def test_a_far_end_that_leaves_has_not_refused(begin: Begin, version: int, answered: str, how: str) -> None:
    attempt = begin(context(version=version))
    answer = Server(attempt).answer()
    size = {"nothing": 0, "a byte": 1, "half": len(answer) // 2, "all but a byte": len(answer) - 1}[answered]
    attempt.far.sendall(answer[:size])
    a_turn()
    assert attempt.silent
    if how == "finish":
        attempt.far.shutdown(socket.SHUT_WR)
        expected, text = Loss.TRUNCATED, "ended during the handshake"
    else:
        reset(attempt.far)
        expected, text = Loss.RESET, "reset by peer"
    shaken = attempt.told()
    assert (shaken.loss, shaken.first, shaken.plain) == (expected, b"", False)
    assert text in shaken.problem.lower()


@pytest.mark.parametrize("how", ["finish", "reset"])
def test_a_far_end_that_has_left_before_we_begin(begin: Begin, how: str) -> None:
    """Between its accept and our first byte."""
    ours, far = tcp_pair()
    if how == "finish":
        far.shutdown(socket.SHUT_WR)
    else:
        reset(far)
    shaken = begin(pair=(ours, far if how == "finish" else socket.socket())).told()
    assert shaken.loss in ((Loss.TRUNCATED,) if how == "finish" else (Loss.RESET, Loss.TRUNCATED))
    assert shaken.problem


def test_an_error_of_one_is_not_taken_for_anothers(begin: Begin) -> None:
    """They share threads, and OpenSSL's queue of errors belongs to a thread."""
    bad, good, ended = [begin() for _ in range(5)], [begin() for _ in range(5)], [begin() for _ in range(5)]
    for one, other, third in zip(bad, good, ended, strict=True):
        one.far.sendall(HANDSHAKE_FAILURE)
        assert one.told().loss is Loss.TLS
        Server(other).finish(other.far.sendall)
        assert other.told().loss is None
        one.far.close()
        third.far.shutdown(socket.SHUT_WR)
        assert third.told().loss is Loss.TRUNCATED


# It waits, or is given up.


@pytest.mark.parametrize("sent", ["nothing", "half"])
def test_a_far_end_that_stalls_is_waited_for_without_a_turn(begin: Begin, sent: str) -> None:
    """Whoever began it has the limit of time."""
    attempt = begin()
    answer = Server(attempt).answer()
    if sent == "half":
        attempt.far.sendall(answer[: len(answer) // 2])
    a_turn()
    assert not awake(attempt)
    assert attempt.silent
    attempt.give_up()


@pytest.mark.parametrize("state", ["at once", "after our hello", "inside the answer"])
def test_one_that_is_given_up_is_closed_and_never_told_of(begin: Begin, state: str) -> None:
    attempt, other = begin(), begin()
    if state != "at once":
        answer = Server(attempt).answer()
        if state == "inside the answer":
            attempt.far.sendall(answer[: len(answer) // 2])
            a_turn()
    attempt.give_up()
    assert far_end_is_closed(attempt.far)
    Server(other).finish(other.far.sendall)
    assert other.told().loss is None
    a_turn()
    assert attempt.silent


def test_giving_up_one_that_has_just_ended_changes_nothing(begin: Begin) -> None:
    attempt = begin()
    Server(attempt).finish(attempt.far.sendall)
    assert attempt.told().loss is None
    attempt.give_up()
    a_turn()
    assert attempt.silent
