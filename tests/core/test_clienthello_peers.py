"""Hellos of real clients, and what OpenSSL's own server makes of a hello: it reads those that are not passed on."""

import contextlib
import ssl

import attrs
import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st
from OpenSSL import SSL

from tests.core.hellos import GREASE, SERVER_NAME, TICKET, Writer, message, read, records
from wsrelay.core import clienthello
from wsrelay.core.clienthello import ClientHello
from wsrelay.core.refusal import Refusal

NAMES = [None, "www.example.com", "A.Example.org", "xn--bcher-kva.example", "with_underscore.example"]
OFFERS = [(), (b"http/1.1",), (b"h2", b"http/1.1")]
VERSIONS = [(ssl.TLSVersion.TLSv1_2, SSL.TLS1_2_VERSION), (ssl.TLSVersion.TLSv1_3, SSL.TLS1_3_VERSION)]
WRITER = Writer()


@attrs.define
class Server:
    """OpenSSL's server, as far as it gets with a hello alone."""

    name: bytes | None = None
    """The name that it read; `asked` where it got as far as that."""
    asked: bool = False
    protocols: tuple[bytes, ...] | None = None
    """What it was offered; None where it was offered nothing, or did not get so far."""

    def read(self, data: bytes) -> "Server":
        connection = SSL.Connection(CONTEXT, None)
        connection.set_app_data(self)
        connection.set_accept_state()
        connection.bio_write(data)
        with contextlib.suppress(SSL.Error):
            connection.do_handshake()
        return self


def asked(connection: SSL.Connection) -> None:
    server = connection.get_app_data()
    server.asked, server.name = True, connection.get_servername()


def offered(connection: SSL.Connection, protocols: list[bytes]) -> object:
    connection.get_app_data().protocols = tuple(protocols)
    return SSL.NO_OVERLAPPING_PROTOCOLS


CONTEXT = SSL.Context(SSL.TLS_SERVER_METHOD)
trustme.CA(key_type=trustme.KeyType.ECDSA).issue_cert("x", key_type=trustme.KeyType.ECDSA).configure_cert(CONTEXT)
CONTEXT.set_tlsext_servername_callback(asked)
CONTEXT.set_alpn_select_callback(offered)


def of_python(version: ssl.TLSVersion, name: str | None, protocols: tuple[bytes, ...]) -> bytes:
    """The hello of Python's `ssl`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.minimum_version = context.maximum_version = version
    if protocols:
        context.set_alpn_protocols([protocol.decode() for protocol in protocols])
    sent = ssl.MemoryBIO()
    with pytest.raises(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), sent, server_hostname=name).do_handshake()
    return sent.read()


def of_pyopenssl(version: int | None, name: str | None, protocols: tuple[bytes, ...]) -> bytes:
    """The hello of pyOpenSSL, of any version if it is None."""
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    if version is not None:
        context.set_min_proto_version(version)
        context.set_max_proto_version(version)
    if protocols:
        context.set_alpn_protos(list(protocols))
    connection = SSL.Connection(context, None)
    if name is not None:
        connection.set_tlsext_host_name(name.encode())
    connection.set_connect_state()
    with pytest.raises(SSL.WantReadError):
        connection.do_handshake()
    return connection.bio_read(65536)


def check_agreed(data: bytes, name: str | None, protocols: tuple[bytes, ...]) -> None:
    """Check that we read what was meant, and that OpenSSL's server does."""
    assert read(data) == ClientHello((name or "").lower(), protocols)
    server = Server().read(data)
    assert server == Server(name and name.encode(), True, protocols or None)


@pytest.mark.parametrize("protocols", OFFERS)
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("versions", VERSIONS)
def test_hellos_of_real_clients_are_read_as_openssl_reads_them(versions, name, protocols):
    check_agreed(of_python(versions[0], name, protocols), name, protocols)
    check_agreed(of_pyopenssl(versions[1], name, protocols), name, protocols)


@pytest.mark.parametrize("sizes", [[1], [4], [9, 40], [100] * 14, [1] * 127])
def test_a_hello_with_a_post_quantum_key_share_is_read_in_any_records(sizes):
    data = of_pyopenssl(None, "www.example.com", (b"h2",))
    assert len(data) > 1300
    assert b"\x11\xec\x04\xc0" in data, "the key share of X25519MLKEM768"
    check_agreed(data, "www.example.com", (b"h2",))
    check_agreed(records(data[5:], sizes), "www.example.com", (b"h2",))


@pytest.mark.parametrize("name", ["a.example", "192.0.2.1", "::1", "2001:db8::1", "a" * 255])
def test_names_that_only_odd_clients_send_are_read_as_openssl_reads_them(name):
    data = records(message(name.encode(), (), GREASE))
    assert read(data).server_name == name
    assert Server().read(data).name == name.encode()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0\0",
        b"\0\1\0",
        WRITER.vector(b"\1" + WRITER.vector(b"a.example")),
        WRITER.vector(b"\0" + WRITER.vector(b"a.example") + b"\0" + WRITER.vector(b"b.example")),
        WRITER.vector(b"\0" + WRITER.vector(b"a.example") + b"\1" + WRITER.vector(b"b.example")),
        WRITER.vector(b"\1" + WRITER.vector(b"a.example") + b"\0" + WRITER.vector(b"b.example")),
        WRITER.vector(b"\0" + WRITER.vector(b"a.example")) + b"\0",
        WRITER.vector(b"\0" + WRITER.vector(b"a\0.example")),
        WRITER.vector(b"\0" + WRITER.vector(b"a" * 256)),
    ],
)
def test_a_server_name_that_openssl_refuses_is_refused(content):
    data = records(WRITER.message(WRITER.body([(SERVER_NAME, content)])))
    assert not Server().read(data).asked
    with pytest.raises(Refusal):
        clienthello.read(data)


WHOLE = [
    records(message(b"www.example.com", [b"h2", b"http/1.1"], [(TICKET, b"ticket"), *GREASE])),
    records(message(b"www.example.com", [b"h2"]), [5, 60]),
    of_python(ssl.TLSVersion.TLSv1_3, "www.example.com", (b"h2",)),
]


@given(st.sampled_from(WHOLE), st.lists(st.tuples(st.integers(0, 600), st.integers(0, 255)), max_size=4))
def test_what_both_read_in_a_spoilt_hello_is_the_same_name(whole, spoils):
    """A relay that reads one name where the server behind it reads another opens what is not to be reached."""
    spoilt = bytearray(whole)
    for at, value in spoils:
        spoilt[at % len(whole)] = value
    server = Server().read(bytes(spoilt))
    try:
        seen = clienthello.read(bytes(spoilt))
    except Refusal:
        return
    if server.asked and isinstance(seen, ClientHello):
        assert (server.name or b"").decode().lower().removesuffix(".") == seen.server_name
    assert isinstance(seen, ClientHello) or not server.asked
