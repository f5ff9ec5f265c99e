"""What is special to the native pump; what every pump does stands in tests/contracts, the C itself in tests/native."""

import gc
import os
import resource
import ssl
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from OpenSSL import SSL
from twisted.internet import reactor

from tests.contracts.peers import a_turn, clog, plain_leg, secure, tls_leg, unclog, unix_pair
from tests.contracts.tunnels import LEGS, Legs, NativePumps, Tunnel
from tests.harness import RawServer, Relay, in_reactor
from tests.tls import Authority, front, strict, tunnel
from wsrelay.core.outcomes import Outcome, Side
from wsrelay.net import takeover
from wsrelay.net.exchange import Exchange
from wsrelay.net.legs import Leg
from wsrelay.net.session import Session
from wsrelay.net.splice import Handoff
from wsrelay.net.stream import Stream
from wsrelay.net.tls_leg import TlsLeg
from wsrelay.pump.native import NativePumpFactory

MUCH = b"".join(number.to_bytes(4, "big") for number in range(1 << 16))

# What one tunnel may cost in Python: its record, the pump's two objects, the deferred.
MOST_BYTES_A_TUNNEL = 2500


def factory() -> NativePumpFactory:
    return NativePumpFactory(reactor, takeover.take, takeover.functions(), threads=2, sweep_seconds=1.0)  # type: ignore[arg-type]  # a module, to mypy


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def readers() -> int:
    return len(in_reactor(reactor.getReaders))  # type: ignore[attr-defined]  # a module, to mypy


@pytest.fixture
def pumps() -> Iterator[NativePumps]:
    made: NativePumps = in_reactor(NativePumps)
    in_reactor(made.factory.open)
    in_reactor(made.settle)
    yield made
    in_reactor(made.factory.shut)


# Opening and shutting.


def test_shut_without_open_does_nothing() -> None:
    made = factory()
    in_reactor(made.shut)
    in_reactor(made.shut)


def test_what_open_starts_shut_ends() -> None:
    before = descriptors(), readers()
    made = factory()
    for _ in range(3):
        in_reactor(made.open)
        assert readers() == before[1] + 1
        in_reactor(made.shut)
        assert (descriptors(), readers()) == before


@contextmanager
def only(more: int) -> Iterator[None]:
    """So many more descriptors may be opened."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = [os.dup(0)]
    try:
        # The limit is one of numbers, so the free ones below it have to be taken.
        highest = max(int(name) for name in os.listdir("/proc/self/fd"))
        while taken[-1] < highest:
            taken.append(os.dup(0))
        resource.setrlimit(resource.RLIMIT_NOFILE, (taken[-1] + 1 + more, hard))
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for each in taken:
            os.close(each)


@pytest.mark.parametrize("more", range(5))
def test_open_without_descriptors_fails_and_leaves_nothing(more: int) -> None:
    """It needs one, and two for each thread."""
    before = descriptors(), readers()
    made = factory()

    def attempt() -> None:
        with only(more):
            made.open()

    with pytest.raises(OSError, match="threads of the native pump"):
        in_reactor(attempt)
    assert (descriptors(), readers()) == before
    in_reactor(made.shut)
    in_reactor(made.open)
    in_reactor(made.shut)
    assert (descriptors(), readers()) == before


@pytest.mark.parametrize("legs", LEGS, ids=str)
def test_it_can_be_shut_from_within_the_outcomes_callback(legs: Legs) -> None:
    """As the service does when the last tunnel has ended."""
    before = descriptors(), readers()
    made: NativePumps = in_reactor(NativePumps)
    in_reactor(made.factory.open)
    tunnel = Tunnel(made, legs, 0)

    def start() -> None:
        pump = tunnel.start_now()

        def shut(outcome: Outcome) -> Outcome:
            made.factory.shut()
            return outcome

        pump.done.addCallback(lambda _: shut(Outcome.DRAINED))

    in_reactor(start)
    tunnel.client.reset()
    assert tunnel.outcome() is Outcome.CLIENT_RESET
    tunnel.dispose()
    assert (descriptors(), readers()) == before


# Bytes that a leg had not sent.


def test_unsent_bytes_of_a_leg_go_first(pumps: NativePumps) -> None:
    client, client_far = plain_leg(16 * 1024)
    upstream, upstream_far = plain_leg(16 * 1024)
    in_reactor(client.write, MUCH)
    in_reactor(upstream.write, MUCH[::-1])
    assert client.waiting
    assert upstream.waiting
    pump = in_reactor(
        pumps.factory.start,
        Handoff(client, upstream, b"101;", b"to client", b"to upstream", idle=0, write_stall=0, linger=0),
    )
    assert client_far.read(len(MUCH) + 13) == MUCH + b"101;to client"
    assert upstream_far.read(len(MUCH) + 11) == MUCH[::-1] + b"to upstream"
    counts = in_reactor(pump.counts)
    assert (counts.to_client, counts.to_upstream) == (9, 11)
    in_reactor(pump.stop, Outcome.DRAINED)
    assert in_reactor(lambda: pump.done) is Outcome.DRAINED
    client_far.close()
    upstream_far.close()


@pytest.mark.parametrize("count", [1, 16_384, 16_385, 100_000])
@pytest.mark.parametrize("side", Side)
def test_a_tls_write_that_waits_goes_on_in_the_pump(pumps: NativePumps, side: Side, count: int) -> None:
    ours, far = unix_pair()
    leg, peer = tls_leg((ours, far))
    secure(leg, peer)
    other_leg, other_peer = plain_leg()
    in_reactor(leg.write, b"x")
    assert peer.read(1) == b"x"  # and the session tickets before it
    clogged = clog(ours)
    in_reactor(leg.write, MUCH[:count])
    assert leg.waiting == count
    client, upstream = (leg, other_leg) if side is Side.CLIENT else (other_leg, leg)
    early = {"answer": b"", "to_client": b"", "to_upstream": b""} | {f"to_{side.value}": b"early;"}
    pump = in_reactor(pumps.factory.start, Handoff(client, upstream, **early, idle=0, write_stall=0, linger=0))
    in_reactor(pumps.settle)
    other_peer.send(b"live")
    unclog(far, clogged)
    assert peer.read(count + 10) == MUCH[:count] + b"early;live"
    peer.send(b"back")
    assert other_peer.read(4) == b"back"
    in_reactor(pump.stop, Outcome.DRAINED)
    assert in_reactor(lambda: pump.done) is Outcome.DRAINED
    peer.close()
    other_peer.close()


# What stays in Python.

GONE = (Session, Stream, Leg, TlsLeg, SSL.Connection, Exchange, Handoff)


def alive() -> Counter[str]:
    """Objects of a connection's HTTP life, by type, without a collection: references alone must let them go."""
    return Counter(type(each).__name__ for each in gc.get_objects() if isinstance(each, GONE))


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def edge(authority: Authority, upstream: RawServer, relay: Callable[..., Relay]) -> Relay:
    return relay('pump = "native"\n' + front(authority, upstream))


def test_nothing_of_a_connections_http_life_survives_the_handoff(
    edge: Relay, authority: Authority, upstream: RawServer
) -> None:
    client = strict(edge, authority)  # what is made once and kept is there from here on
    client.close()
    edge.settle()
    gc.disable()
    try:
        before = in_reactor(alive)
        client = strict(edge, authority)
        assert in_reactor(alive) != before
        far = tunnel(client, upstream)
        client.send(b"still")
        assert far.read(5) == b"still"
        edge.settle()
        assert in_reactor(alive) == before
        far.send(b"moves")
        assert client.read(5) == b"moves"
    finally:
        gc.enable()
    assert isinstance(client.socket, ssl.SSLSocket)
    far.close()
    client.close()


def test_a_tunnel_costs_one_small_record(edge: Relay, authority: Authority, upstream: RawServer) -> None:
    many = 20
    kept = [tunnel(strict(edge, authority), upstream)]
    ours = tracemalloc.Filter(inclusive=True, filename_pattern="*/wsrelay/*")
    tracemalloc.start()
    try:
        before = tracemalloc.take_snapshot().filter_traces([ours])
        kept += [tunnel(strict(edge, authority), upstream) for _ in range(many)]
        edge.settle()
        gc.collect()
        after = tracemalloc.take_snapshot().filter_traces([ours])
    finally:
        tracemalloc.stop()
    grown = sum(each.size_diff for each in after.compare_to(before, "filename"))
    assert grown / many < MOST_BYTES_A_TUNNEL
    for each in kept:
        each.close()
    a_turn()
