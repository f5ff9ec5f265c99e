"""Upstreams that speak TLS, played by hand: their certificates, good and bad, and what they see of the relay."""

import contextlib
import socket
import tempfile
from collections.abc import Sequence
from pathlib import Path

from cryptography.hazmat.bindings._rust import _openssl
from OpenSSL import SSL
from OpenSSL.crypto import X509

from tests.config.issuing import Issued, issue
from tests.contracts.peers import Peer, TlsPeer
from tests.harness import RawServer, Relay, Wire

ROOT = issue("Root of the tests")
MIDDLE = issue("Intermediate of the tests", ROOT)
STRANGER = issue("Root that nobody trusts")

GET = b"GET /a HTTP/1.1\r\nHost: example.com\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nhere"

TLS_1_2, TLS_1_3 = SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION
VERSIONS = [TLS_1_2, TLS_1_3]


def leaf(*names: str, by: Issued = MIDDLE, common: str = "a server of the tests", **how: object) -> Issued:
    """A certificate for these names."""
    return issue(common, by, names=names, **how)  # type: ignore[arg-type]  # as `issue` has them


LOCAL = leaf("localhost")


def serving(shown: Issued = LOCAL, *behind: Issued, version: int | None = None) -> SSL.Context:
    """A server's context; it shows the certificate, then those `behind` it: the intermediate unless others are given.

    `behind` with the certificate itself in it stands for nothing behind it.
    """
    chain = [shown, *(each for each in behind or (MIDDLE,) if each is not shown)]
    made = SSL.Context(SSL.TLS_SERVER_METHOD)
    with tempfile.NamedTemporaryFile(suffix=".pem") as file:
        file.write(b"".join(each.pem for each in chain))
        file.flush()
        made.use_certificate_chain_file(file.name)
        made.use_privatekey(shown.key)  # type: ignore[arg-type]  # an EllipticCurvePrivateKey it is
    made.set_session_id(b"an upstream of the tests")
    made.set_tlsext_servername_callback(lambda _: None)  # else TLS 1.2 forgets the name in a resumed session
    if version is not None:
        made.set_min_proto_version(version)
        made.set_max_proto_version(version)
    return made


def asking_for_a_certificate(context: SSL.Context, *trusted: Issued, require: bool = True) -> SSL.Context:
    """The same context, which now asks its clients for one that these vouch for."""
    store = context.get_cert_store()
    assert store is not None
    for each in trusted:
        store.add_cert(X509.from_cryptography(each.certificate))
    context.set_verify(SSL.VERIFY_PEER | (SSL.VERIFY_FAIL_IF_NO_PEER_CERT if require else 0))
    return context


class FarServer(TlsPeer):
    """The upstream's end of a TLS connection."""

    def __init__(self, connected: socket.socket, context: SSL.Context) -> None:
        """No handshake yet."""
        Peer.__init__(self, connected)
        self.tls = SSL.Connection(context, connected)
        self.tls.set_accept_state()

    def read_head(self) -> bytes:
        return read_head(self)

    def heard(self) -> bytes:
        """Whatever the relay says under TLS before it goes away, with the handshake where that comes to its end."""
        with contextlib.suppress(SSL.Error, EOFError, OSError):
            self.shake_hands()
            return self.rest()[0]
        return b""

    @property
    def server_name(self) -> str | None:
        """What the relay's SNI said."""
        name = self.tls.get_servername()
        return None if name is None else name.decode()

    @property
    def reused(self) -> bool:
        """Whether the session was resumed."""
        return bool(_openssl.lib.SSL_session_reused(self.tls._ssl))

    @property
    def client(self) -> str | None:
        """The common name of the certificate that the relay has shown."""
        shown = self.tls.get_peer_certificate(as_cryptography=True)
        if shown is None:
            return None
        return str(shown.subject.rfc4514_string()).removeprefix("CN=")

    def answer(self, data: bytes = OK) -> bytes:
        """Take one request and answer it; the request's head."""
        head = self.read_head()
        self.send(data)
        return head


def read_head(peer: Peer) -> bytes:
    """A head, with its blank line; what follows is left."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += peer.read(1)
    return head


def arrived(upstream: RawServer, context: SSL.Context) -> FarServer:
    """The upstream's end of the next connection, before its handshake. The server closes it after the test."""
    return FarServer(upstream.accept().socket, context)


def secured(upstream: RawServer, context: SSL.Context) -> FarServer:
    """The same with its handshake done."""
    far = arrived(upstream, context)
    far.shake_hands()
    return far


def trusting(folder: Path, *trusted: Issued) -> str:
    """A `ca = …` of these: the root, unless others are given."""
    file = folder / f"ca{len(list(folder.glob('ca*.pem')))}.pem"
    file.write_bytes(b"".join(each.pem for each in trusted or (ROOT,)))
    return f'ca = "{file}"'


def identified(folder: Path, shown: Issued, *behind: Issued) -> str:
    """A `chain = …, key = …` of our own certificate."""
    chain, key = folder / "own-chain.pem", folder / "own-key.pem"
    chain.write_bytes(b"".join(each.pem for each in (shown, *behind)))
    key.write_bytes(shown.key_pem)
    return f'chain = "{chain}", key = "{key}"'


def named(upstream: RawServer, host: str = "localhost") -> str:
    """The upstream's address with another host in it."""
    return upstream.address.replace("127.0.0.1", host)


def configuration(servers: Sequence[str], tls: str, *, before: str = "", listen: str = "", more: str = "") -> str:
    """A relay with one listener in front of one group under TLS. `before` belongs to `[relay]`, `more` to the end."""
    text = f'{before}\n[[upstream]]\nname = "app"\nservers = {list(servers)}\ntls = {{ {tls} }}\n{more}\n'
    text += f'[[listen]]\naddress = "127.0.0.1:0"\n{listen}\n'
    return text + ("" if "tcp" in listen else '[[route]]\npath = "/"\nupstream = "app"\n')


def served(client: Wire, upstream: RawServer, context: SSL.Context) -> FarServer:
    """One exchange over a new upstream connection; its far end."""
    client.send(GET)
    far = secured(upstream, context)
    far.answer()
    assert client.read(len(OK)) == OK
    return far


def refused(running: Relay, client: Wire, reason: str, status: int = 502) -> str:
    """Wait for an answer of the relay's own with this reason; the log's detail."""
    answer = client.read_all()
    assert answer.startswith(b"HTTP/1.1 %d " % status), answer
    assert f"\r\nX-Wsrelay-Reason: {reason}\r\n".encode() in answer, answer
    line = running.line(event="exchange")
    assert (line["status"], line["reason"], line["outcome"]) == (status, reason, "refused")
    return str(line["detail"])


def hello_of(far: Wire) -> bytes:
    """The relay's ClientHello, as the upstream's first read has it; nothing else may come before it."""
    hello = far.socket.recv(65536)
    assert hello[:2] == b"\x16\x03"
    assert b"GET " not in hello
    return hello


def flight_for(hello: bytes) -> bytes:
    """What a real server would answer to this ClientHello."""
    server = SSL.Connection(serving(), None)
    server.set_accept_state()
    server.bio_write(hello)
    with contextlib.suppress(SSL.WantReadError):
        server.do_handshake()
    return server.bio_read(65536)


def asked(running: Relay, request: bytes = GET) -> Wire:
    client = running.connect()
    client.send(request)
    return client
