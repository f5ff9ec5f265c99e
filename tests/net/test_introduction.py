"""What an upstream is told of a client whose own address another proxy says, and of one on a UNIX socket.

The ordinary ways are in test_proxy_out*.py, over sockets.
"""

from collections.abc import Callable

import pytest
from twisted.internet import reactor

from tests.contracts.peers import tcp_pair, unix_pair
from wsrelay.core.proxyline import Endpoint, ProxyLine, Secure
from wsrelay.net.introduction import introduce
from wsrelay.net.legs import Leg
from wsrelay.net.record import SessionRecord

SAID = ProxyLine(
    Endpoint("192.0.2.1", 4711),
    Endpoint("192.0.2.80", 443),
    authority="a.example",
    protocol=b"http/1.1",
    secure=Secure("TLSv1.3", "TLS_AES_128_GCM_SHA256", "the proxy in front", verified=True),
)


def introduced(real_ip: str, line: ProxyLine | None, pair: Callable = tcp_pair, client: str = "127.0.0.1:99"):
    ours, far = pair()
    record = SessionRecord(id="1", listener="a", client=client, opened_at=0, real_ip=real_ip, sni="a.example")
    with ours, far:
        leg = Leg(ours, reactor, client)  # type: ignore[arg-type]  # a module, to mypy
        return introduce(leg, record, client.rpartition(":")[0] or client, line, None), ours.getsockname()


def test_a_client_is_known_by_its_connection() -> None:
    said, here = introduced("127.0.0.1", None)
    assert said == ProxyLine(Endpoint("127.0.0.1", 99), Endpoint(*here), authority="a.example")


def test_what_a_proxy_line_says_is_passed_on_whole() -> None:
    assert introduced("192.0.2.1", SAID)[0] == SAID


@pytest.mark.parametrize("line", [None, SAID], ids=["", "behind a PROXY line"])
def test_a_client_behind_another_proxy_is_not_given_that_ones_port_nor_its_certificate(line: ProxyLine | None) -> None:
    """Whoever reads the common name would take it for the client's."""
    said, _ = introduced("198.51.100.7", line)
    assert said.source == Endpoint("198.51.100.7", 0)
    assert (said.secure, said.protocol, said.authority) == (None, b"", "a.example")


def test_a_client_on_a_unix_socket_has_no_address() -> None:
    said, _ = introduced("unix:", None, unix_pair, "unix:")
    assert (said.source, said.destination) == (None, None)


def test_a_client_behind_another_proxy_on_a_unix_socket_is_told_as_unknown() -> None:
    """Without an address at which it has reached us there is none to put beside its own."""
    said, _ = introduced("198.51.100.7", None, unix_pair, "unix:")
    assert said.source is None
