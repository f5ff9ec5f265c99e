"""Who comes in at accept, and how many: on real sockets where a client sees it, on a clock where time matters."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock

from tests.harness import SWITCHED, UPGRADE, HandTime, http
from wsrelay.config.networks import NOWHERE
from wsrelay.config.settings import Limits, Listener, TcpAddress
from wsrelay.core.reasons import Reason
from wsrelay.core.refusal import Refusal
from wsrelay.net.admission import Admission
from wsrelay.net.live import Live
from wsrelay.net.record import SessionRecord

GET = b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
LISTENER = Listener("a", TcpAddress("127.0.0.1", 0))
TRUSTING = 'trusted_proxies = ["127.0.0.1"]\n'


def record() -> SessionRecord:
    return SessionRecord(id="1", listener="a", client="", opened_at=0)


def admission(clock: Clock | None = None, **limits: int) -> Admission:
    clock = clock or Clock()
    return Admission(Limits(**limits), NOWHERE, Live(clock), clock)


def came_in(each: Admission, address: str = "192.0.2.1") -> SessionRecord | None:
    """The record of a connection that has come in, or None for one that was turned away."""
    arriving = record()
    return None if each.turns_away(arriving, address, LISTENER) else arriving


def of(address: str) -> bytes:
    return GET.replace(b"\r\n\r\n", f"\r\nX-Forwarded-For: {address}\r\n\r\n".encode())


def open_tunnel(running, upstream, head: bytes = UPGRADE):
    client = running.connect()
    client.send(head)
    server = upstream.accept()
    server.read_head()
    server.send(SWITCHED)
    client.read_head()
    return client


# By address.


def test_one_address_gets_so_many_connections_and_others_get_theirs(relay, upstream):
    running = relay(http(upstream, more="[limits]\nconnections_per_address = 2"))
    tunnel, idle = open_tunnel(running, upstream), running.connect()
    running.settle()
    assert running.connect().ending() == b""
    line = running.line(event="failed")
    assert (line["outcome"], line["reason"]) == ("over-limit", "address-limit")
    running.connect(source="127.0.0.2").send(GET)
    upstream.accept().read_head()
    tunnel.reset()
    running.line(event="close")
    idle.close()
    running.settle()
    for _ in range(2):
        open_tunnel(running, upstream)


def test_ipv6_counts_by_the_64_bits_that_a_site_has():
    each = admission(connections_per_address=1)
    assert came_in(each, "2001:db8:0:1::1")
    assert not came_in(each, "2001:db8:0:1:ffff::2")
    assert came_in(each, "2001:db8:0:2::1")
    assert came_in(each, "0.0.0.1")
    assert not came_in(each, "::ffff:0.0.0.1")


def test_clients_on_unix_sockets_have_no_address_to_be_counted_under():
    each = admission(connections_per_address=1)
    assert all(came_in(each, "unix:") for _ in range(3))


def test_without_a_limit_nothing_is_counted():
    each = admission()
    assert all(came_in(each) for _ in range(3))
    assert each._inside == {}


@given(st.lists(st.tuples(st.sampled_from(["192.0.2.1", "192.0.2.2", "2001:db8::1"]), st.booleans()), max_size=60))
def test_whatever_comes_and_goes_an_address_never_has_more_than_its_limit_and_nothing_stays_behind(steps):
    each = admission(connections_per_address=3)
    inside: dict[str, list[SessionRecord]] = {}
    for address, comes in steps:
        here = inside.setdefault(address, [])
        if comes:
            arrived = came_in(each, address)
            assert (arrived is not None) is (len(here) < 3)
            here += [arrived] if arrived else []
        elif here:
            each.leave(here.pop())
    for left in [left for here in inside.values() for left in here]:
        each.leave(left)
        each.leave(left)  # a second time changes nothing
    assert each._inside == {}


# Behind a trusted proxy.


def test_a_trusted_proxy_is_not_counted_itself_but_each_of_its_clients_is(relay, upstream):
    running = relay(http(upstream, more=TRUSTING + "[limits]\nconnections_per_address = 1"))
    mine = UPGRADE.replace(b"\r\n\r\n", b"\r\nX-Forwarded-For: 192.0.2.1\r\n\r\n")
    tunnel = open_tunnel(running, upstream, mine)
    refused = running.connect()
    refused.send(of("192.0.2.1"))
    answer = refused.ending()
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b"\r\nX-Wsrelay-Reason: address-limit\r\n" in answer
    assert b"\r\nRetry-After: " in answer
    for address in ("192.0.2.2", "127.0.0.1"):
        other = running.connect()
        other.send(of(address))
        upstream.accept().read_head()
    tunnel.reset()
    running.line(event="close")
    open_tunnel(running, upstream, mine)


def test_a_connection_of_a_trusted_proxy_counts_for_the_client_that_asked_last(relay, upstream):
    running = relay(http(upstream, more=TRUSTING + "[limits]\nconnections_per_address = 1"))
    proxy = running.connect()
    proxy.send(of("192.0.2.1"))
    server = upstream.accept()
    for address in ("192.0.2.2", "192.0.2.2", None):
        server.read_head()
        server.send(OK)
        proxy.read_until(OK)
        if address:
            proxy.send(of(address))
    for address, status in (("192.0.2.1", b"200"), ("192.0.2.2", b"503")):
        second = running.connect()
        second.send(of(address))
        if status == b"200":
            other = upstream.accept()
            other.read_head()
            other.send(OK)
        assert second.read_head().startswith(b"HTTP/1.1 " + status)


# By rate.


def test_so_many_come_in_at_once_and_then_so_many_a_second():
    clock = Clock()
    each = admission(clock, handshakes_per_second=4)
    assert [bool(came_in(each)) for _ in range(6)] == [True] * 4 + [False] * 2
    clock.advance(0.5)
    assert [bool(came_in(each)) for _ in range(3)] == [True, True, False]
    clock.advance(3600)
    assert [bool(came_in(each)) for _ in range(6)] == [True] * 4 + [False] * 2


def test_one_a_second_is_one_a_second():
    clock = Clock()
    each = admission(clock, handshakes_per_second=1)
    seen = []
    for _ in range(12):
        seen.append(bool(came_in(each)))
        clock.advance(0.25)
    assert seen == [True, False, False, False] * 3


def test_a_clock_that_is_set_back_stops_nobody_for_longer_than_a_second():
    clock = Clock()
    clock.advance(1000)
    each = admission(clock, handshakes_per_second=1)
    assert came_in(each)
    clock.rightNow = 10.0
    assert not came_in(each)
    clock.advance(1)
    assert came_in(each)


def test_above_the_rate_connections_are_closed_before_tls_or_http(relay, upstream):
    time = HandTime()
    running = relay(http(upstream, more="[limits]\nhandshakes_per_second = 1"), over=time)
    open_tunnel(running, upstream)
    assert running.connect().ending() == b""
    line = running.line(event="failed")
    assert (line["outcome"], line["reason"]) == ("over-limit", "connection-rate")
    time.passes(1)
    open_tunnel(running, upstream)


def test_who_is_turned_away_for_another_reason_takes_nothing_from_the_rate():
    each = admission(handshakes_per_second=2, connections_per_address=1)
    assert came_in(each, "192.0.2.1")
    assert not came_in(each, "192.0.2.1")
    assert came_in(each, "192.0.2.2")


# By network.


def test_a_listener_takes_connections_from_where_it_is_told_to(relay, upstream):
    running = relay(http(upstream, listen='allow = ["127.0.0.0/8"]\ndeny = ["127.0.0.2"]'))
    open_tunnel(running, upstream)
    assert running.connect(source="127.0.0.2").ending() == b""
    line = running.line(event="failed")
    assert (line["outcome"], line["reason"]) == ("denied", "address-denied")


def test_a_route_serves_whom_it_is_told_to_by_the_clients_own_address(relay, upstream):
    running = relay(http(upstream, more=TRUSTING, route='allow = ["192.0.2.0/24"]'))
    client = running.connect()
    client.send(of("192.0.2.7"))
    server = upstream.accept()
    server.read_head()
    server.send(OK)
    client.read_until(OK)
    for head in (of("198.51.100.1"), GET, UPGRADE):
        stranger = running.connect()
        stranger.send(head)
        answer = stranger.ending()
        assert answer.startswith(b"HTTP/1.1 403 ")
        assert b"\r\nX-Wsrelay-Reason: address-denied\r\n" in answer


def test_a_page_of_another_origin_opens_no_websocket_and_reaches_no_upstream(relay, upstream):
    running = relay(http(upstream, route='origins = ["https://example.com", "absent"]'))
    open_tunnel(running, upstream)
    open_tunnel(running, upstream, UPGRADE.replace(b"\r\n\r\n", b"\r\nOrigin: https://example.com\r\n\r\n"))
    evil = running.connect()
    evil.send(UPGRADE.replace(b"\r\n\r\n", b"\r\nOrigin: https://evil.example\r\n\r\n") + GET)
    answer = evil.ending()
    assert (answer.count(b"HTTP/1.1 "), answer.startswith(b"HTTP/1.1 403 ")) == (1, True)
    assert running.line(status=403)["reason"] == "origin-refused"
    assert upstream.nobody_came()


@pytest.mark.parametrize("reason", [Reason.CONNECTION_LIMIT, Reason.ADDRESS_LIMIT, Reason.CONNECTION_RATE])
def test_limits_are_answered_with_when_to_come_again(reason):
    answer = Refusal(reason, "full").response("1", with_body=True)
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b"\r\nRetry-After: " in answer
