"""Connections that do not arrive (`arrival`): how each ends, what its client is told, and that nothing stays behind."""

import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from OpenSSL import SSL
from twisted.internet.defer import CancelledError, Deferred

from tests.contracts.peers import TlsPeer
from tests.harness import RawServer, Relay, in_reactor
from tests.net import hellos, identities
from tests.net.arriving import Come, Coming, coming
from tests.net.test_arrival import FROM_ANYWHERE, PASSING, PROXIED, listener, tls
from tests.proxylines import v1, v2
from tests.tls import Authority, context
from wsrelay.core.outcomes import Outcome
from wsrelay.core.reasons import Reason
from wsrelay.core.refusal import Refusal
from wsrelay.net.arrival import NotArrived

PUMPS = pytest.mark.parametrize("pump", ["reactor", "native"])
# RFC 8446 6: a whole record with one fatal alert.
DECODE_ERROR, UNRECOGNIZED_NAME = b"\x15\x03\x03\x00\x02\x02\x32", b"\x15\x03\x03\x00\x02\x02\x70"
HELLO = hellos.hello(b"nobody.example.com")


@pytest.fixture
def come(relay: Callable[..., Relay]) -> Iterator[Come]:
    with coming(relay) as begin:
        yield begin


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def fails(one: Coming) -> NotArrived:
    with pytest.raises(NotArrived) as caught:
        one.here()
    left_nothing(one)
    return caught.value


def left_nothing(one: Coming) -> None:
    """The connection is the session's again, to be closed: nobody else waits for it."""
    assert not one.watched
    if one.ours.fileno() >= 0:
        assert one.least == 1
    assert not one.arrival.is_silent
    assert one.over.timers == one.timers


def turned_away(one: Coming) -> bytes:
    """What the client sees where the session closes with FIN; a RST would be an error here."""
    in_reactor(one.stream.leg.close)
    return one.far.read_all()


# PROXY lines.


def test_who_ends_before_the_line_was_only_looking(come: Come, upstream: RawServer) -> None:
    one = come(listener(upstream, PROXIED, FROM_ANYWHERE))
    assert not one.is_here
    assert one.arrival.is_silent
    one.far.finish()
    error = fails(one)
    assert (error.outcome, error.reason) == (Outcome.SILENT, None)


def test_who_ends_inside_the_line_has_left(come: Come, upstream: RawServer) -> None:
    one = come(listener(upstream, PROXIED, FROM_ANYWHERE), v1()[:9])
    assert not one.is_here
    assert not one.arrival.is_silent
    one.far.finish()
    error = fails(one)
    assert (error.outcome, error.reason) == (Outcome.CLIENT_LEFT, None)
    assert "PROXY line" in error.detail


@pytest.mark.parametrize("sent", [b"GET / HTTP/1.1\r\n\r\n", v2(command=3)], ids=["http", "a command"])
@pytest.mark.parametrize("listen", ["", 'mode = "tcp"\nupstream = "app"', "TLS"], ids=["http", "tcp", "tls"])
def test_a_wrong_line_is_answered_where_an_answer_is_understood(
    come: Come, upstream: RawServer, authority: Authority, sent: bytes, listen: str
) -> None:
    listen = tls(authority) if listen == "TLS" else listen
    one = come(listener(upstream, f"{listen}\n{PROXIED}", FROM_ANYWHERE), sent)
    if listen:
        error = fails(one)
        assert (error.outcome, error.reason) == (Outcome.REFUSED, Reason.PROXY_HEADER)
    else:
        with pytest.raises(Refusal) as caught:
            one.here()
        assert caught.value.reason is Reason.PROXY_HEADER
    assert one.unread() == sent


def test_the_address_in_the_line_is_judged_and_known_to_the_log(come: Come, upstream: RawServer) -> None:
    one = come(listener(upstream, PROXIED + '\ndeny = ["203.0.113.0/24"]', FROM_ANYWHERE), v1("203.0.113.9"))
    error = fails(one)
    assert (error.outcome, error.reason) == (Outcome.DENIED, Reason.ADDRESS_DENIED)
    assert one.record.real_ip == "203.0.113.9"


def test_too_many_of_one_address_in_lines_are_over_the_limit(come: Come, upstream: RawServer) -> None:
    """Those who were let in count, until the session gives their place back."""
    general = 'trusted_proxies = ["192.0.2.0/24"]'
    first = come(listener(upstream, PROXIED, general) + "[limits]\nconnections_per_address = 1\n", v1("203.0.113.9"))
    first.here()
    error = fails(come(first.site, v1("203.0.113.9")))
    assert (error.outcome, error.reason) == (Outcome.OVER_LIMIT, Reason.ADDRESS_LIMIT)
    come(first.site, v1("203.0.113.10")).here()
    in_reactor(first.site.admission.leave, first.record)
    come(first.site, v1("203.0.113.9")).here()


# Hellos.


@pytest.mark.parametrize("listen", [PASSING, PASSING + "\ntls = [TLS]\nupstream = 'app'"], ids=["alone", "with tls"])
@pytest.mark.parametrize("sent", [b"\x16\x02\x00", b"ssh-2.0\r\n", hellos.records(b"\x01\x00\x00\x01x")])
def test_what_is_no_hello_gets_the_alert_for_it_and_an_orderly_end(
    come: Come, upstream: RawServer, authority: Authority, listen: str, sent: bytes
) -> None:
    listen = listen.replace("TLS", authority.issue("localhost").toml).replace("'", '"')
    one = come(listener(upstream, listen), sent)
    error = fails(one)
    assert (error.outcome, error.reason) == (Outcome.TLS_FAILED, Reason.CLIENT_HELLO)
    assert turned_away(one) == DECODE_ERROR


def test_plain_http_where_no_tls_ends_is_no_hello_like_anything_else(come: Come, upstream: RawServer) -> None:
    """Nobody here would answer it."""
    one = come(listener(upstream, PASSING), b"GET / HTTP/1.1\r\n\r\n")
    error = fails(one)
    assert (error.outcome, error.reason) == (Outcome.TLS_FAILED, Reason.CLIENT_HELLO)
    assert turned_away(one) == DECODE_ERROR


@pytest.mark.parametrize("name", [b"nobody.example.com", None])
def test_a_name_of_nobodys_gets_the_alert_for_it_and_an_orderly_end(
    come: Come, upstream: RawServer, authority: Authority, name: bytes | None
) -> None:
    rejecting = tls(authority) + '\nunknown_sni = "reject"'
    for listen in (PASSING, rejecting):
        one = come(listener(upstream, listen), hellos.hello(name))
        error = fails(one)
        assert (error.outcome, error.reason) == (Outcome.TLS_FAILED, Reason.UNKNOWN_SNI)
        assert (name or b"names no server").decode() in error.detail
        assert one.record.sni == (name or b"").decode()
        assert turned_away(one) == UNRECOGNIZED_NAME


@pytest.mark.parametrize("there", [0, 40])
def test_who_ends_before_the_hello_is_whole(come: Come, upstream: RawServer, there: int) -> None:
    one = come(listener(upstream, PASSING), HELLO[:there])
    assert not one.is_here
    assert one.arrival.is_silent is (not there)
    one.far.finish()
    error = fails(one)
    expected = (Outcome.TLS_FAILED, Reason.TLS_ENDED_EARLY) if there else (Outcome.SILENT, None)
    assert (error.outcome, error.reason) == expected


# Handshakes.


@PUMPS
@pytest.mark.parametrize("mode", ["http", "tcp"])
@pytest.mark.parametrize("several", [False, True])
def test_plain_http_is_answered_where_http_is_spoken_with_all_of_it_still_there(
    come: Come, upstream: RawServer, authority: Authority, pump: str, mode: str, several: bool
) -> None:
    shown = [authority.issue(name).toml for name in ("localhost", "other.example")[: 1 + several]]
    listen = f"tls = [{', '.join(shown)}]" + ('\nmode = "tcp"\nupstream = "app"' if mode == "tcp" else "")
    one = come(listener(upstream, listen, f'pump = "{pump}"'), b"GET / HTTP/1.1\r\n\r\n")
    if mode == "tcp":
        error = fails(one)
        assert (error.outcome, error.reason) == (Outcome.TLS_FAILED, Reason.PLAIN_HTTP)
    else:
        with pytest.raises(Refusal) as caught:
            one.here()
        assert caught.value.reason is Reason.PLAIN_HTTP
    assert one.stream.leg.connection is None
    assert one.ours.recv(100, socket.MSG_PEEK) == b"GET / HTTP/1.1\r\n\r\n"
    # An answer and an orderly end are possible.
    one.far.finish()
    in_reactor(one.stream.write, b"400")
    in_reactor(lambda: Deferred.fromCoroutine(one.stream.farewell(one.over, 60, 60)))
    assert one.far.read_all() == b"400"


WHOLE = hellos.message()
NO_HELLO = {
    "small letters": b"get / HTTP/1.1\r\n\r\n",
    "a PROXY block": b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c" + bytes(12),
    "SSL 2": b"\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10" + bytes(40),
    "another message": hellos.records(b"\x02\x00\x00\x00"),
    "data": b"\x17\x03\x03\x00\x01x",
    "a change of cipher specs": b"\x14\x03\x03\x00\x01\x02",
    "a length too small": hellos.records(b"\x01\x00\x00\x00"),
    "a record too long": b"\x16\x03\x01\xff\xff" + bytes(66_000),
    "an extension that runs over": hellos.records(hellos.message(b"\x00\x00\x00\xff\x00")),
    "an extension twice": hellos.records(hellos.message(hellos.server_name(b"a"), hellos.server_name(b"a"))),
    "two names": hellos.records(hellos.message(hellos.server_name(b"a", b"b"))),
    "a name with a NUL": hellos.records(hellos.message(hellos.server_name(b"a\0b"))),
    "more than its length": hellos.records(b"\x01" + hellos.counted(WHOLE[4:] + bytes(5), 3)),
}


@PUMPS
@pytest.mark.parametrize("sent", NO_HELLO.values(), ids=NO_HELLO)
def test_what_is_no_hello_is_so_whatever_openssl_calls_it(
    come: Come, upstream: RawServer, authority: Authority, pump: str, sent: bytes
) -> None:
    error = fails(come(listener(upstream, tls(authority), f'pump = "{pump}"'), sent))
    assert (error.outcome, error.reason) == (Outcome.TLS_FAILED, Reason.CLIENT_HELLO)


@PUMPS
def test_nonsense_behind_a_good_hello_is_no_fault_of_the_hello(
    come: Come, upstream: RawServer, authority: Authority, pump: str
) -> None:
    client, hello = hellos.of_openssl("localhost")
    one = come(listener(upstream, tls(authority), f'pump = "{pump}"'), hello)
    assert one.far.socket.recv(65536)
    one.far.send(b"\x19\x03\x03\x00\x05xxxxx")
    error = fails(one)
    assert (error.outcome, error.reason) == (Outcome.TLS_FAILED, Reason.TLS_ERROR)
    assert one.record.sni == "localhost"
    del client


# In OpenSSL a true of DER may be written as 01, and cryptography does not read that.
LAX = (bytes.fromhex("0101ff"), bytes.fromhex("010101"))


@pytest.mark.parametrize("headers", ["", 'client_headers = { X-Client = "subject" }'], ids=["untold", "told"])
def test_a_certificate_that_we_cannot_read_lets_nobody_in(
    come: Come, upstream: RawServer, authority: Authority, tmp_path: Path, headers: str
) -> None:
    """Whether upstreams are told of it in fields, in a PROXY line, or not at all."""
    root = identities.authority("Clients Root")
    (file := tmp_path / "clients.pem").write_bytes(root.pem)
    one = come(listener(upstream, f'{tls(authority)}\nclient_ca = "{file}"\n{headers}'))
    chain, key = identities.patched(identities.client(root), root, *LAX).write(tmp_path)
    how = context()
    how.use_certificate_chain_file(str(chain))
    how.use_privatekey_file(str(key))
    peer = TlsPeer(one.far.socket)
    peer.tls = SSL.Connection(how, one.far.socket)
    peer.tls.set_connect_state()
    peer.shake_hands()
    with pytest.raises(NotArrived) as caught:
        one.here()
    assert (caught.value.outcome, caught.value.reason) == (Outcome.TLS_FAILED, Reason.CLIENT_CERTIFICATE_REFUSED)


# Time.


def test_the_line_has_its_time_and_the_hello_and_the_handshake_have_theirs_together(
    come: Come, upstream: RawServer, authority: Authority
) -> None:
    several = f"tls = [{authority.issue('localhost').toml}, {authority.issue('other.example').toml}]"
    timeouts = '[timeouts]\nrequest_head = "20s"\ntls_handshake = "10s"\n'
    one = come(listener(upstream, f"{several}\n{PROXIED}", FROM_ANYWHERE) + timeouts)
    one.over.passes(19)
    one.far.send(v1())
    assert not one.is_here
    client, hello = hellos.of_openssl("localhost")
    one.far.send(hello[:100])
    one.over.passes(6)
    one.far.send(hello[100:])
    assert one.far.socket.recv(65536)
    one.over.passes(3.9)
    assert not one.is_here
    one.over.passes(0.2)
    with pytest.raises(NotArrived) as caught:
        one.here()
    assert (caught.value.outcome, caught.value.reason) == (Outcome.TLS_TIMEOUT, Reason.TLS_TIMEOUT)
    assert "10 seconds" in caught.value.detail
    del client


def test_a_line_that_is_late_is_answered_where_an_answer_is_understood(come: Come, upstream: RawServer) -> None:
    one = come(listener(upstream, PROXIED, FROM_ANYWHERE), v1()[:9])
    one.over.passes(9.9)
    assert not one.is_here
    one.over.passes(0.2)
    with pytest.raises(Refusal) as caught:
        one.here()
    assert caught.value.reason is Reason.PROXY_TIMEOUT


# Given up.


@PUMPS
@pytest.mark.parametrize("there", [0, 9], ids=["nothing", "some"])
@pytest.mark.parametrize("step", ["line", "hello", "handshake"])
def test_a_session_that_ends_meanwhile_leaves_nothing_behind(
    come: Come, upstream: RawServer, authority: Authority, pump: str, there: int, step: str
) -> None:
    listen, sent = {"line": (PROXIED, v1()), "hello": (PASSING, HELLO), "handshake": (tls(authority), HELLO)}[step]
    one = come(listener(upstream, listen, f'pump = "{pump}"\n{FROM_ANYWHERE}'), sent[:there])
    assert not one.is_here
    assert one.running is not None
    in_reactor(one.running.cancel)
    with pytest.raises(CancelledError):
        one.here()
    assert one.over.timers == one.timers
    in_reactor(one.stream.leg.close)
    assert one.far.ending() == b""
    assert not one.watched
