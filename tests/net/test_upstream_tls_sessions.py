"""What is kept of a TLS upstream: its connection between a client's exchanges, and its sessions between connections."""

import contextlib
from collections.abc import Callable
from datetime import datetime, timedelta, tzinfo
from pathlib import Path

import pytest
from OpenSSL import SSL

from tests.contracts.peers import End
from tests.harness import RawServer, Relay, raw_server
from tests.net.tls_upstreams import (
    GET,
    LOCAL,
    OK,
    TLS_1_2,
    TLS_1_3,
    VERSIONS,
    arrived,
    asked,
    configuration,
    hello_of,
    leaf,
    named,
    refused,
    secured,
    served,
    serving,
    trusting,
)
from wsrelay.net import upstream_tls

Start = Callable[..., Relay]


class Later(datetime):
    """The clock of a time in which every certificate of these tests has expired."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> datetime:
        return datetime.now(tz) + timedelta(days=400_000)


TLS = pytest.mark.parametrize("version", VERSIONS, ids=["TLS 1.2", "TLS 1.3"])


# One client's own connection.


@TLS
def test_one_client_uses_its_upstream_connection_again(
    relay: Start, upstream: RawServer, tmp_path: Path, version: int
) -> None:
    """Tickets of TLS 1.3 come unasked behind the handshake, and are no bytes of an answer."""
    client = relay(configuration([named(upstream)], trusting(tmp_path))).connect()
    far = served(client, upstream, serving(version=version))
    for _ in range(3):
        client.send(GET)
        far.answer()
        assert client.read(len(OK)) == OK
    assert upstream.nobody_came()


def test_a_connection_that_the_upstream_has_closed_is_replaced(
    relay: Start, upstream: RawServer, tmp_path: Path
) -> None:
    running = relay(configuration([named(upstream)], trusting(tmp_path)))
    client = running.connect()
    far = served(client, upstream, serving())
    far.finish()
    far.rest()
    client.send(GET)
    secured(upstream, serving()).answer()
    assert client.read(len(OK)) == OK


def test_bytes_that_nobody_asked_for_end_the_connection_and_answer_nothing(
    relay: Start, upstream: RawServer, tmp_path: Path
) -> None:
    running = relay(configuration([named(upstream)], trusting(tmp_path)))
    client = running.connect()
    far = served(client, upstream, serving())
    far.send(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison")
    running.settle()
    client.send(GET)
    secured(upstream, serving()).answer()
    assert client.read(len(OK)) == OK


def test_a_clients_end_is_a_close_notify_for_its_upstream(relay: Start, upstream: RawServer, tmp_path: Path) -> None:
    client = relay(configuration([named(upstream)], trusting(tmp_path))).connect()
    far = served(client, upstream, serving())
    client.finish()
    assert far.rest() == (b"", End.ORDERLY)


def test_no_connection_serves_two_clients(relay: Start, upstream: RawServer, tmp_path: Path) -> None:
    running = relay(configuration([named(upstream)], trusting(tmp_path)))
    served(running.connect(), upstream, serving())
    served(running.connect(), upstream, serving())


def test_a_body_goes_up_as_it_comes(relay: Start, upstream: RawServer, tmp_path: Path) -> None:
    client = relay(configuration([named(upstream)], trusting(tmp_path))).connect()
    client.send(b"POST /a HTTP/1.1\r\nHost: example.com\r\nContent-Length: 10\r\n\r\n01234")
    far = secured(upstream, serving())
    far.read_head()
    assert far.read(5) == b"01234"
    client.send(b"56789")
    assert far.read(5) == b"56789"
    far.send(OK)
    assert client.read(len(OK)) == OK


# Sessions.


def without_tickets(version: int) -> SSL.Context:
    """A server that keeps its sessions itself."""
    context = serving(version=version)
    context.set_options(SSL.OP_NO_TICKET)
    return context


@pytest.mark.parametrize(
    "context",
    [serving(version=TLS_1_2), serving(version=TLS_1_3), without_tickets(TLS_1_2), without_tickets(TLS_1_3)],
    ids=["TLS 1.2, tickets", "TLS 1.3, tickets", "TLS 1.2, kept by the server", "TLS 1.3, kept by the server"],
)
def test_the_second_client_resumes_the_session_of_the_first(
    relay: Start, upstream: RawServer, tmp_path: Path, context: SSL.Context
) -> None:
    running = relay(configuration([named(upstream)], trusting(tmp_path)))
    # A connection that OpenSSL forgets without its close_notify takes the session that the server keeps with it.
    kept = [served(running.connect(), upstream, context) for _ in range(4)]
    assert [far.reused for far in kept] == [False, True, True, True]
    assert [far.server_name for far in kept] == ["localhost"] * 4


@pytest.mark.parametrize("context", [without_tickets(TLS_1_2), without_tickets(TLS_1_3)], ids=["TLS 1.2", "TLS 1.3"])
def test_a_session_that_the_server_keeps_outlives_its_connection(
    relay: Start, upstream: RawServer, tmp_path: Path, context: SSL.Context
) -> None:
    """OpenSSL forgets the session of a connection that ends without a close_notify of either side."""
    running = relay(configuration([named(upstream)], trusting(tmp_path)))
    client = running.connect()
    far = served(client, upstream, context)
    client.finish()
    far.rest()
    with contextlib.suppress(SSL.Error):  # its own, which nobody reads; after a truncation it cannot be made at all
        far.finish()
    del far
    assert served(running.connect(), upstream, context).reused


@TLS
def test_a_session_does_not_outlive_the_servers_certificate(
    relay: Start, upstream: RawServer, tmp_path: Path, version: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OpenSSL looks at no date in a resumption: a whole handshake has to."""
    running = relay(configuration([named(upstream)], trusting(tmp_path)))
    context = serving(version=version)
    served(running.connect(), upstream, context)
    monkeypatch.setattr(upstream_tls, "datetime", Later)
    assert not served(running.connect(), upstream, context).reused


@TLS
def test_a_server_that_has_forgotten_the_session_gets_a_whole_handshake(
    relay: Start, upstream: RawServer, tmp_path: Path, version: int
) -> None:
    running = relay(configuration([named(upstream)], trusting(tmp_path)))
    served(running.connect(), upstream, serving(version=version))
    assert not served(running.connect(), upstream, serving(version=version)).reused


@TLS
def test_a_server_that_comes_back_with_another_certificate_is_checked_again(
    relay: Start, upstream: RawServer, tmp_path: Path, version: int
) -> None:
    running = relay(configuration([named(upstream)], trusting(tmp_path)))
    served(running.connect(), upstream, serving(version=version))
    client = asked(running)
    assert arrived(upstream, serving(leaf("other.example"), version=version)).heard() == b""
    running.line(status=200)
    refused(running, client, "upstream-certificate")


@TLS
def test_each_server_of_a_group_has_sessions_of_its_own(
    relay: Start, upstream: RawServer, tmp_path: Path, version: int
) -> None:
    with raw_server() as other:
        running = relay(configuration([named(upstream), named(other)], trusting(tmp_path)))
        both = [(upstream, serving(version=version)), (other, serving(version=version))]
        first = [served(running.connect(), *each).reused for each in both]
        assert first == [False, False]
        assert [served(running.connect(), *each).reused for each in both] == [True, True]


ANOTHER = """
[[upstream]]
name = "other"
servers = ["{server}"]
tls = {{ {tls} }}
[[route]]
path = "/other"
upstream = "other"
"""


@TLS
@pytest.mark.parametrize(
    "first",
    ['verify = false, insecure_reason = "a lab"', 'server_name = "other.example", {ca}'],
    ids=["a group that verifies nothing", "a group that asks for another name"],
)
def test_what_one_group_believes_lets_nobody_into_another(
    relay: Start, upstream: RawServer, tmp_path: Path, version: int, first: str
) -> None:
    """The same server at the same address: its session must not be resumed where it would not have been believed."""
    shown = leaf("other.example")
    lax = ANOTHER.format(server=named(upstream), tls=first.format(ca=trusting(tmp_path)))
    running = relay(configuration([named(upstream)], trusting(tmp_path), more=lax))
    context = serving(shown, version=version)
    client = running.connect()
    client.send(GET.replace(b"/a", b"/other"))
    secured(upstream, context).answer()
    assert client.read(len(OK)) == OK
    running.line(event="exchange")
    client = asked(running)
    far = arrived(upstream, context)
    assert far.heard() == b""
    assert not far.reused
    refused(running, client, "upstream-certificate")


@TLS
def test_a_session_is_kept_for_the_name_that_it_was_made_for(
    relay: Start, upstream: RawServer, tmp_path: Path, version: int
) -> None:
    shown = leaf("localhost", "app.internal")
    group = ANOTHER.format(server=named(upstream), tls=f'server_name = "app.internal", {trusting(tmp_path)}')
    running = relay(configuration([named(upstream)], trusting(tmp_path), more=group))
    context = serving(shown, version=version)
    served(running.connect(), upstream, context)
    client = running.connect()
    client.send(GET.replace(b"/a", b"/other"))
    far = secured(upstream, context)
    assert (far.server_name, far.reused) == ("app.internal", False)
    far.answer()
    assert client.read(len(OK)) == OK


def test_a_handshake_that_failed_takes_nothing_from_the_next(relay: Start, upstream: RawServer, tmp_path: Path) -> None:
    """What OpenSSL leaves in a thread's queue of errors would be taken for the next connection's."""
    running = relay(configuration([named(upstream)], trusting(tmp_path)))
    for _ in range(3):
        client = asked(running)
        far = upstream.accept()
        hello_of(far)
        far.reset()
        refused(running, client, "upstream-tls")
        served(running.connect(), upstream, serving(LOCAL))
        running.line(status=200)
