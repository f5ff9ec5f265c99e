"""A relay that expects PROXY lines: what the tests of them play with."""

from collections.abc import Callable, Iterable

from tests.harness import RawServer, Relay, Wire, http
from tests.proxylines import LONGEST_V1, SOURCE, addresses, header, local, tlv, v1, v2

Start = Callable[..., Relay]

GET = b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n"
LAST = b"GET / HTTP/1.1\r\nHost: example.com\r\nConnection: close\r\n\r\n"
FORGED = (
    b"GET / HTTP/1.1\r\nHost: example.com\r\nX-Forwarded-For: 203.0.113.66\r\nX-Real-IP: 203.0.113.66\r\n"
    b"X-Forwarded-Proto: https\r\n\r\n"
)
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

# The address that every client of `Relay.connect` has, unless it asks for another.
PROXY = "127.0.0.1"
# Another client, which lines name.
OTHER = "198.51.100.7"
TRUSTING = f'trusted_proxies = ["{PROXY}"]\n'
EXPECTING = "accept_proxy = true\n"


def edge(upstream: RawServer, more: str = "", listen: str = "", trusting: str = TRUSTING) -> str:
    """A configuration: one listener of mode http that expects PROXY lines."""
    return http(upstream, trusting + more, listen=EXPECTING + listen)


def layer4(upstream: RawServer, more: str = "", listen: str = "", trusting: str = TRUSTING) -> str:
    """The same of mode tcp."""
    text = edge(upstream, more, f'mode = "tcp"\nupstream = "app"\n{listen}', trusting)
    return text.partition("[[route]]")[0]


def told(head: bytes) -> dict[bytes, bytes]:
    """The fields of a request that came upstream; those about the client stand there once at most."""
    lines = [line.partition(b": ") for line in head.split(b"\r\n")[1:-2]]
    names = [name.lower() for name, _, _ in lines]
    for name in (b"x-real-ip", b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host"):
        assert names.count(name) <= 1, head
    return {name: value for name, (_, _, value) in zip(names, lines, strict=True)}


def arrived(server: Wire) -> dict[bytes, bytes]:
    """Answer the next request; its fields."""
    fields = told(server.read_head())
    server.send(OK)
    return fields


def serve(running: Relay, upstream: RawServer, pieces: Iterable[bytes]) -> tuple[dict[bytes, bytes], Wire]:
    """A new client sends these pieces, each taken before the next; what its request told the upstream, and the client.

    The client has read its answer then.
    """
    client = running.connect()
    for piece in pieces:
        client.send(piece)
        running.settle()
    fields = arrived(upstream.accept())
    assert client.read(len(OK)) == OK
    return fields, client


def named(address: str) -> dict[bytes, bytes]:
    """What an upstream is told of a client at this address, over plain HTTP."""
    text = address.encode()
    return {b"x-real-ip": text, b"x-forwarded-for": text, b"x-forwarded-proto": b"http"}


def part(fields: dict[bytes, bytes], wanted: dict[bytes, bytes]) -> dict[bytes, bytes | None]:
    """Of the fields those that are wanted, for comparing."""
    return {name: fields.get(name) for name in wanted}


_V6 = "2001:db8::1"
_FULL = "2001:0db8:1111:2222:3333:4444:5555:6666"
_SOUP = (tlv(0x01, b"ALPN1"), tlv(0x02, b"localhost"), tlv(0x05, b"UNIQQ"), tlv(0x30, b"NETNS"), tlv(0xAE, b"12345"))

# Name, line, and the client's address by it.
GOOD = [
    ("v1 tcp4", v1(), SOURCE),
    ("v1 tcp4 edges", v1("255.255.255.255", "0.0.0.0", (65535, 0)), "255.255.255.255"),
    ("v1 tcp6 mixed case", v1("2001:Db8::1", "2001:Db8::2"), _V6),
    ("v1 tcp6 longest", v1(_FULL, _FULL, (65535, 65535)), "2001:db8:1111:2222:3333:4444:5555:6666"),
    ("v1 tcp6 mapped", v1("::ffff:c000:207", "::1"), "192.0.2.7"),
    ("v1 unknown", b"PROXY UNKNOWN\r\n", PROXY),
    ("v1 unknown with more", b"PROXY UNKNOWN 1 2 3 4 5 6\r\n", PROXY),
    ("v1 unknown with addresses", b"PROXY UNKNOWN TCP4 192.0.2.1 192.0.2.2 1234 5678\r\n", PROXY),
    ("v1 unknown longest", b"PROXY UNKNOWN ".ljust(LONGEST_V1 - 2, b"f") + b"\r\n", PROXY),
    ("v2 tcp4", v2(), SOURCE),
    ("v2 tcp6", v2(source=_V6, destination="2001:db8::2"), _V6),
    ("v2 tcp6 mapped", v2(source="::ffff:c000:207", destination="::1"), "192.0.2.7"),
    ("v2 empty tlvs", v2(bytes(9)), SOURCE),
    ("v2 authority", v2(tlv(0x02, b"12345")), SOURCE),
    ("v2 unique id", v2(tlv(0x05, b"12345")), SOURCE),
    ("v2 many tlvs", v2(*_SOUP), SOURCE),
    ("v2 tlvs of clouds", v2(tlv(0xEA, b"\x01vpce-1"), tlv(0xEE, b"\x01LINK"), tlv(0xEC, bytes(range(128)))), SOURCE),
    ("v2 padding", v2(tlv(0x04, bytes(100)), tlv(0x04, b"")), SOURCE),
    ("v2 big tlvs", v2(*(tlv(0xE0 + number, bytes(250)) for number in range(8))), SOURCE),
    ("v2 longest", v2(tlv(0xE0, bytes(4096 - 16 - 12 - 3))), SOURCE),
    ("v2 local", local(), PROXY),
    ("v2 local with addresses", v2(command=0), PROXY),
    ("v2 local with anything", local(b"\xff" * 11), PROXY),
    ("v2 unspecified", header(0x21, 0x00, b""), PROXY),
    ("v2 unspecified family", header(0x21, 0x01, b""), PROXY),
    ("v2 unspecified with anything", header(0x21, 0x00, b"\xff" * 11), PROXY),
    ("v2 unix", header(0x21, 0x31, b"/a".ljust(108, b"\0") + b"/b".ljust(108, b"\0")), PROXY),
    ("v2 udp", header(0x21, 0x12, addresses()), PROXY),
]
