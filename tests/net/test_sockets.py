"""Addresses as logs and `trusted_proxies` name them, and the options of every connection."""

import errno
import socket

import pytest

from tests.contracts.peers import tcp_pair
from wsrelay.net import sockets

V4, V6, UNIX = socket.AF_INET, socket.AF_INET6, socket.AF_UNIX


@pytest.mark.parametrize(
    ("family", "name", "host", "text"),
    [
        (V4, ("203.0.113.9", 4711), "203.0.113.9", "203.0.113.9:4711"),
        (V6, ("2001:db8::1", 4711, 0, 0), "2001:db8::1", "[2001:db8::1]:4711"),
        (V6, ("::ffff:203.0.113.9", 4711, 0, 0), "203.0.113.9", "203.0.113.9:4711"),
        (V6, ("fe80::1%eth0", 4711, 0, 2), "fe80::1", "[fe80::1]:4711"),
        (V6, ("64:ff9b::203.0.113.9", 4711, 0, 0), "64:ff9b::203.0.113.9", "[64:ff9b::203.0.113.9]:4711"),
        (V6, ("::1", 1, 0, 0), "::1", "[::1]:1"),
        (UNIX, "", "unix:", "unix:"),
        (UNIX, "/run/client.sock", "unix:", "unix:"),
        (UNIX, b"\0abstract", "unix:", "unix:"),
        (V4, None, "unix:", "unix:"),
    ],
)
def test_a_socket_name_is_a_host_and_a_text(family: int, name: object, host: str, text: str) -> None:
    assert sockets.host_of(family, name) == host
    assert sockets.text_of(family, name) == text


def test_a_tuned_connection_sends_at_once_and_notices_the_other_ends_death() -> None:
    ours, far = tcp_pair()
    with ours, far:
        ours.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 0)
        sockets.tune(ours)
        tcp = {name: ours.getsockopt(socket.IPPROTO_TCP, getattr(socket, name)) for name in TCP_OPTIONS}
        assert tcp == TCP_OPTIONS
        assert ours.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1


TCP_OPTIONS = {
    "TCP_NODELAY": 1,
    "TCP_KEEPIDLE": 30,
    "TCP_KEEPINTVL": 10,
    "TCP_KEEPCNT": 3,
    "TCP_USER_TIMEOUT": 120_000,
}


def test_how_long_nobody_may_acknowledge_can_be_chosen() -> None:
    ours, far = tcp_pair()
    with ours, far:
        sockets.tune(ours, 7.5)
        assert ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 7500


def test_a_platform_without_an_option_does_without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(socket, "TCP_USER_TIMEOUT")
    ours, far = tcp_pair()
    with ours, far:
        sockets.tune(ours)
        assert ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT) == 3


def test_a_unix_socket_is_left_as_it_is() -> None:
    ours, far = socket.socketpair(socket.AF_UNIX)
    with ours, far:
        sockets.tune(ours)
        assert ours.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 0


def test_running_out_of_descriptors_or_memory_is_exhaustion_and_a_refusal_is_not() -> None:
    assert {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM} == sockets.EXHAUSTED
