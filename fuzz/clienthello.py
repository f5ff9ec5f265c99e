"""Target: the ClientHello. The message is what a connection begins with, or a part of a hello that is right elsewhere.

OpenSSL's server is asked too: what it reads in a hello that is not passed on must be what we have read.
"""

import contextlib

import attrs
from OpenSSL import SSL

from fuzz.inputs import Input, check_reason, pieces_of, tried
from wsrelay.core import clienthello
from wsrelay.core.clienthello import MOST_BYTES, ClientHello
from wsrelay.core.reasons import Reason
from wsrelay.core.refusal import Refusal

_ALLOWED = frozenset({Reason.CLIENT_HELLO})
_LETTERS = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_")
# As many records, extensions and protocols are read (clienthello.py), and no more.
_MOST = 128
# The dearest way to cut a hello costs 22 (tests/core/test_clienthello.py).
_MOST_LOOKS = 25


def _vector(content: bytes, width: int = 2) -> bytes:
    return len(content).to_bytes(width) + content


def _extension(kind: int, content: bytes) -> bytes:
    return kind.to_bytes(2) + _vector(content)


def _body(extensions: bytes) -> bytes:
    # Two suites of TLS 1.2 and one of 1.3, the null compression.
    return b"\3\3" + bytes(32) + _vector(b"", 1) + b"\0\6\xc0\x2b\xc0\x2f\x13\1" + b"\1\0" + _vector(extensions)


def _record(fragment: bytes) -> bytes:
    return b"\x16\3\1" + _vector(fragment)


def _named(name: bytes) -> bytes:
    return _extension(0, _vector(b"\0" + _vector(name)))


_OFFER = _extension(16, _vector(b"\2h2\x08http/1.1"))
_TICKET = _extension(35, b"ticket")
_HELLO = _named(b"www.Example.com.") + _OFFER + _TICKET
_MESSAGE = b"\1" + _vector(_body(_HELLO), 3)


def _part(kind: int, part: bytes, cuts: bytes = b"\0\0") -> bytes:
    """A seed of this part alone: the second choice says where it ends, and what a case puts behind it is left out."""
    return bytes([kind, len(part)]) + cuts + part


SEEDS = ((b"\0\0\0\0", "send"), (b"\0\0\0\0" + _record(_MESSAGE), "send"), (b"\7\0\0\0", "send"))
RARE = tuple(
    (beginning, "send")
    for beginning in (
        b"\0\0\0\0" + _record(_MESSAGE[:2]) + _record(_MESSAGE[2:77]) + _record(_MESSAGE[77:]),
        b"\0\0\0\0" + _record(_MESSAGE[:70]),
        _part(1, _MESSAGE, b"\7\5"),
        _part(9, _MESSAGE),
        _part(2, _body(_HELLO)),
        _part(3, _HELLO, b"\x50\3"),
        _part(3, _TICKET + _named(b"a") + _named(b"b")),
        _part(4, _vector(b"\0" + _vector(b"a.example") + b"\0" + _vector(b"b.example"))),
        _part(5, b"a.example."),
        _part(5, b"::1"),
        _part(5, b"a\0.example"),
        _part(6, _vector(b"\2h2\0")),
        _part(6, _vector(b"\2h2") + b"\0"),
    )
)


def check(data: bytes) -> None:
    """What a connection begins with."""
    given = Input.of(data)
    if given is None:
        return
    written = _written(given)
    seen = tried(lambda: clienthello.read(written))
    check_reason(seen, _ALLOWED)
    assert (seen if isinstance(seen, ClientHello) else None) == _simply(written)
    if isinstance(seen, int):
        assert len(written) < seen <= MOST_BYTES
    _check_looks(written, seen)
    _check_against(written, seen)


def _written(given: Input) -> bytes:
    """The connection's first bytes: the message, and around it what is right."""
    part, kind = given.message[: given.limits or None], given.kind % 8
    if kind == 7:
        part, kind = b".".join(part.split()), 5
    if kind == 6:
        part, kind = _extension(16, part), 3
    if kind == 5:
        part, kind = _vector(b"\0" + _vector(part)), 4
    if kind == 4:
        part, kind = _extension(0, part), 3
    if kind == 3:
        part, kind = _body(part), 2
    if kind == 2:
        part, kind = b"\1" + _vector(part, 3), 1
    if kind == 1:
        _, cut, each = pieces_of(part, given.cuts)
        part = b"".join([_record(piece) for piece in (each if given.kind & 8 else cut) if piece])
    return part


def _check_looks(written: bytes, seen: object) -> None:
    """Who waits for as many bytes as it is told to ends with the same, soon, and never waits for what does not come."""
    have, looks, found = 0, 0, tried(lambda: clienthello.read(b""))
    while isinstance(found, int) and found <= len(written):
        assert found > have
        have, looks = found, looks + 1
        found = tried(lambda: clienthello.read(written[:have]))  # noqa: B023  # called before the loop goes on
    assert looks <= _MOST_LOOKS
    if not isinstance(found, int):
        assert _kind(found) == _kind(seen), (found, seen)
    else:
        # It waits for what never comes: for the rest of a hello, or to see more of what is none.
        assert not isinstance(seen, ClientHello)
    for end in range(0, have, 1 + have // 16):
        before = tried(lambda: clienthello.read(written[:end]))  # noqa: B023  # called before the loop goes on
        assert isinstance(before, int) or _kind(before) == _kind(seen)
        assert not isinstance(before, int) or isinstance(seen, Refusal) or end < before <= max(have, MOST_BYTES)
    if isinstance(seen, ClientHello):
        assert clienthello.read(written[:have]) == clienthello.read(written + b"GET / HTTP/1.1\r\n") == seen


def _kind(seen: object) -> object:
    return seen.reason if isinstance(seen, Refusal) else seen


def _simply(data: bytes) -> ClientHello | None:
    """The same hello, read for nothing but to be understood; None where there is none, or not all of it."""
    message, records = b"", 0
    try:
        while len(message) < 4 or len(message) < 4 + int.from_bytes(message[1:4]):
            kind, major, rest = data[0], data[1], data[3:]
            fragment, data = _cut(rest, 2)
            message, records = message + fragment, records + 1
            if kind != 22 or major != 3 or not fragment or message[0] != 1:
                return None
        body, behind = _cut(message[1:], 3)
        right = not behind and records <= _MOST and len(message) + 5 * records <= MOST_BYTES
        return _body_simply(body) if right else None
    except (IndexError, ValueError):
        return None


def _cut(data: bytes, width: int) -> tuple[bytes, bytes]:
    """A vector at the front, and what is behind it."""
    end = width + int.from_bytes(data[:width])
    if len(data) < max(width, end):
        raise ValueError("too short")
    return data[width:end], data[end:]


def _body_simply(body: bytes) -> ClientHello | None:
    session, rest = _cut(body[34:], 1)
    suites, rest = _cut(rest, 2)
    methods, rest = _cut(rest, 1)
    extensions, rest = _cut(rest, 2) if rest else (b"", b"")
    name = ""
    kinds: list[bytes] = []
    protocols: list[bytes] = []
    while extensions:
        kinds.append(extensions[:2])
        content, extensions = _cut(extensions[2:], 2)
        if kinds[-1] == b"\0\0":
            name = _name_simply(content)
        if kinds[-1] == b"\0\x10":
            offer, behind = _cut(content, 2)
            while offer or not protocols:
                protocol, offer = _cut(offer, 1)
                protocols.append(protocol)
            rest += behind
    right = len(session) <= 32 and suites and len(suites) % 2 == 0 and methods and not rest and all(protocols)
    right = right and len(set(kinds)) == len(kinds) <= _MOST and len(protocols) <= _MOST
    return ClientHello(name, tuple(protocols)) if right else None


def _name_simply(content: bytes) -> str:
    name, behind = _cut(content[3:], 2)
    labels = name.removesuffix(b".").split(b".")
    plain = all(label and set(label) <= _LETTERS for label in labels)
    address = name.count(b":") > 1 and b":" in name[:5] and set(name) <= set(b"0123456789abcdefABCDEF:.")
    if content != _vector(b"\0" + _vector(name)) or behind or len(name) > 255 or not (plain or address):
        raise ValueError("no name")
    return (name.removesuffix(b".") if plain else name).decode().lower()


@attrs.define
class _Server:
    """What OpenSSL's server read in a hello."""

    asked: bool = False
    """Whether it got as far as to ask whom to be."""
    name: bytes | None = None


def _asked(connection: SSL.Connection) -> None:
    server = connection.get_app_data()
    server.asked, server.name = True, connection.get_servername()


_CONTEXT = SSL.Context(SSL.TLS_SERVER_METHOD)
_CONTEXT.set_tlsext_servername_callback(_asked)


def _check_against(written: bytes, seen: object) -> None:
    if not isinstance(seen, ClientHello | int) or not written:
        return
    server = _Server()
    connection = SSL.Connection(_CONTEXT, None)
    connection.set_app_data(server)
    connection.set_accept_state()
    connection.bio_write(written)
    with contextlib.suppress(SSL.Error):
        connection.do_handshake()
    assert isinstance(seen, ClientHello) or not server.asked, "OpenSSL has all that it needs"
    if isinstance(seen, ClientHello) and server.asked:
        name = (server.name or b"").decode().lower()
        assert seen.server_name in (name, name.removesuffix(".")), (seen, server)
