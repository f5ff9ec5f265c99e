"""A leg, its far end and what it has told: what the tests of legs play with."""

import socket

import attrs
from OpenSSL import SSL

from tests.contracts.peers import Peer, Recorder, plain_leg, secure, tcp_pair, tls_leg
from tests.harness import in_reactor
from wsrelay.net.legs import Leg

# More than any kernel buffer of a test takes.
MUCH = bytes(range(256)) * 4096


@attrs.frozen
class Link:
    """One connection, seen from both ends."""

    leg: Leg
    peer: Peer
    told: Recorder

    @property
    def socket(self) -> socket.socket:
        """The leg's own."""
        return self.leg._socket

    def call(self, name: str, *given: object) -> None:
        """Call a method of the leg on the reactor's thread."""
        in_reactor(getattr(self.leg, name), *given)


class Closer(Recorder):
    """Closes its leg at the first byte."""

    def __init__(self, leg: Leg) -> None:
        super().__init__()
        self._leg = leg

    def received(self, data: bytes) -> None:
        super().received(data)
        self._leg.close()


def plain_link(buffers: int = 0) -> Link:
    """A plain one."""
    leg, peer = plain_leg(buffers)
    told = leg.receiver = Recorder()
    return Link(leg, peer, told)


def tls_link(
    pair: tuple[socket.socket, socket.socket] | None = None,
    version: int = SSL.TLS1_3_VERSION,
    *,
    handshake: bool = True,
) -> Link:
    """One under TLS."""
    leg, peer = tls_leg(pair or tcp_pair(), version)
    if handshake:
        secure(leg, peer)
    told = leg.receiver = Recorder()
    return Link(leg, peer, told)


def fill(link: Link) -> int:
    """Write until bytes wait; how many were written."""
    written = 0
    while not link.leg.waiting:
        link.call("write", MUCH[:65536])
        written += 65536
    return written
