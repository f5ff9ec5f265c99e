"""TLS for tests: an authority that signs on the spot, and a client that shows what OpenSSL knows of a connection.

Python's `ssl` hides the chain that was sent and cannot choose signature algorithms, hence pyOpenSSL.
"""

import contextlib
import socket
import ssl
import struct
from collections.abc import Callable
from pathlib import Path

import attrs
import trustme
from cryptography import x509
from cryptography.hazmat.bindings._rust import _openssl
from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL

from tests.harness import PATIENCE_SECONDS, SWITCHED, UPGRADE, RawServer, Relay, Wire, http

ECDSA = trustme.KeyType.ECDSA
RSA = trustme.KeyType.RSA


@attrs.frozen
class Issued:
    """A certificate's files, and what a client is to be sent: leaf first, DER."""

    chain: Path
    key: Path
    sent: tuple[bytes, ...]

    @property
    def toml(self) -> str:
        """As `tls` of a listener lists it."""
        return f'{{ chain = "{self.chain}", key = "{self.key}" }}'


class Authority:
    """A root that clients trust, and an intermediate that signs; the root is never part of what is sent."""

    def __init__(self, folder: Path) -> None:
        self.root = trustme.CA(key_type=ECDSA)
        self._folder = folder
        self._count = 0

    def issue(self, *names: str, key_type: trustme.KeyType = ECDSA, by: trustme.CA | None = None) -> Issued:
        """A certificate for these names, through `by` or an intermediate of its own."""
        made = (by or self.root.create_child_ca(key_type=key_type)).issue_cert(*names, key_type=key_type)
        self._count += 1
        chain, key = (self._folder / f"{self._count}-{what}.pem" for what in ("chain", "key"))
        chain.write_bytes(b"".join(pem.bytes() for pem in made.cert_chain_pems))
        key.write_bytes(made.private_key_pem.bytes())
        sent = x509.load_pem_x509_certificates(chain.read_bytes())
        return Issued(chain, key, tuple(each.public_bytes(Encoding.DER) for each in sent))

    def trusting(self) -> ssl.SSLContext:
        """A client of Python's `ssl` that trusts the root and nothing else."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.root.configure_trust(context)
        return context


def context(
    *,
    version: int | None = None,
    suites: str = "",
    signatures: str = "",
    alpn: tuple[bytes, ...] = (),
    options: int = 0,
) -> SSL.Context:
    """A pyOpenSSL client context that verifies nothing, restricted as asked."""
    made = SSL.Context(SSL.TLS_CLIENT_METHOD)
    if version is not None:
        made.set_min_proto_version(version)
        made.set_max_proto_version(version)
    if suites:
        made.set_cipher_list(suites.encode())
    if signatures:
        assert _openssl.lib.SSL_CTX_set1_sigalgs_list(made._context, signatures.encode()) == 1
    if alpn:
        made.set_alpn_protos(list(alpn))
    made.set_options(options)
    return made


class Client:
    """One connection of pyOpenSSL, its handshake done. Every wait has a limit."""

    def __init__(
        self, port: int, how: SSL.Context, name: str | None = "localhost", session: SSL.Session | None = None
    ) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))
        # A limit of Python's would make the socket non-blocking, which OpenSSL would see.
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", int(PATIENCE_SECONDS), 0))
        self.tls = SSL.Connection(how, self._socket)
        if name is not None:
            self.tls.set_tlsext_host_name(name.encode())
        if session is not None:
            self.tls.set_session(session)
        self.tls.set_connect_state()
        try:
            self.tls.do_handshake()
        except SSL.Error:
            self._socket.close()
            raise

    @property
    def chain(self) -> tuple[bytes, ...]:
        """What the relay sent, in its order, DER."""
        return tuple(
            each.public_bytes(Encoding.DER) for each in self.tls.get_peer_cert_chain(as_cryptography=True) or ()
        )

    @property
    def reused(self) -> bool:
        """Whether the session was resumed."""
        return bool(_openssl.lib.SSL_session_reused(self.tls._ssl))

    def get(self, target: str = "/") -> bytes:
        """One request, the answer up to the relay's end; this is also when TLS 1.3 tickets arrive."""
        self.tls.sendall(f"GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        answer = b""
        while True:
            try:
                answer += self.tls.recv(16384)
            except SSL.ZeroReturnError:
                return answer

    def close(self) -> None:
        self._socket.close()


class HandPlayed:
    """A TLS client whose bytes a test carries itself."""

    def __init__(self, wire: Wire, context: ssl.SSLContext) -> None:
        self._wire = wire
        self._from_relay, self._to_relay = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self._from_relay, self._to_relay, server_hostname="localhost")

    def step(self) -> bytes:
        """Go as far as the relay's bytes lead; what is to be sent then."""
        with contextlib.suppress(ssl.SSLWantReadError):
            self.tls.do_handshake()
        return self._to_relay.read()

    def listen(self) -> None:
        """Take what the relay sends next."""
        self._from_relay.write(self._wire.socket.recv(65536))

    def send_rest(self, data: bytes, send: Callable[[bytes], None]) -> None:
        """Finish the handshake and send `data`, with every byte through `send`."""
        while True:
            send(self.step())
            try:
                self.tls.write(data)
                break
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                self.listen()
        send(self._to_relay.read())

    def end(self) -> bytes:
        """A close_notify."""
        with contextlib.suppress(ssl.SSLWantReadError):
            self.tls.unwrap()
        return self._to_relay.read()

    def read(self, mark: bytes) -> bytes:
        """Application data up to something that ends with `mark`."""
        data = b""
        while not data.endswith(mark):
            try:
                data += self.tls.read(65536)
            except ssl.SSLWantReadError:
                self.listen()
        return data


def reasons(error: SSL.Error) -> str:
    """What OpenSSL said."""
    return "; ".join(entry[2] for entry in error.args[0])


def versions() -> list[ssl.TLSVersion]:
    """Those that are served."""
    return [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


def strict(server: Relay, authority: Authority) -> Wire:
    """A client for whom an end without close_notify is an error."""
    return server.connect_tls(authority.trusting(), suppress_ragged_eofs=False)


def tunnel(client: Wire, upstream: RawServer) -> Wire:
    """Open a tunnel; its upstream end."""
    client.send(UPGRADE)
    far = upstream.accept()
    far.read_head()
    far.send(SWITCHED)
    client.read_head()
    return far


def only(authority: Authority, version: ssl.TLSVersion) -> ssl.SSLContext:
    """A client of one version."""
    context = authority.trusting()
    context.minimum_version = context.maximum_version = version
    return context


def front(authority: Authority, upstream: RawServer) -> str:
    """A configuration: one listener with TLS, one upstream, one route for everything."""
    tls = f"tls = [{authority.issue('localhost').toml}]"
    return http(upstream).replace('address = "127.0.0.1:0"', f'address = "127.0.0.1:0"\n{tls}')
