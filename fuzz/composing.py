"""Scripts put together from whole messages and marks: nearly all of them get somewhere, which few mutated ones do.

Every choice is one of the given generator, so that a seed makes the same script each time.
"""

import random

from fuzz.seeds import SWITCHED, UPGRADE

_GET = b" HTTP/1.1\r\nHost: h\r\n"
_SWITCHED, _UPGRADE = SWITCHED.encode(), UPGRADE.encode()

CLIENT = (
    b"GET /" + _GET + b"\r\n",
    b"HEAD /x" + _GET + b"\r\n",
    b"POST /" + _GET + b"Content-Length: 5\r\n\r\nhello",
    b"POST /p" + _GET + b"Content-Length: 500\r\n\r\npart",
    b"PUT /c" + _GET + b"Transfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n",
    b"5\r\nhello\r\n",
    b"0\r\nX: y\r\n\r\n",
    b"zz\r\n",
    b"GET / HTTP/1.0\r\n\r\n",
    b"GET /k HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    b"GET /c" + _GET + b"Connection: close, X-A\r\nX-A: 1\r\n\r\n",
    b"GET /hello" + _GET + b"\r\n",
    b"GET /moved/%0D%0AX:%20y?{host}" + _GET + b"\r\n",
    b"POST /hello" + _GET + b"Content-Length: 3\r\n\r\nabc",
    b"OPTIONS *" + _GET + b"Max-Forwards: 0\r\n\r\n",
    b"GET  /\r\n\r\n",
    b"GET / HT",
    b"\r\n",
    _UPGRADE,
    _UPGRADE.replace(b"/ws", b"/no-ws"),
    b"\x81\x82frame",
)
UPSTREAM = (
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\npart",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"3\r\nabc\r\n",
    b"0\r\n\r\n",
    b"0\r\nA: b\r\n\r\n",
    b"HTTP/1.0 200 OK\r\n\r\nrest",
    b"HTTP/1.1 200 OK\r\n\r\nuntil",
    b"HTTP/1.1 100 Continue\r\n\r\n",
    b"HTTP/1.1 103 Early Hints\r\n\r\n",
    b"HTTP/1.1 204 No Content\r\n\r\n",
    b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n",
    b"HTTP/1.1 413 No\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc",
    b"HTTP/1.1 426 No\r\nUpgrade: websocket\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 2",
    b"junk",
    b"data" * 30,
    _SWITCHED,
)
_WINDOWS = (0, 1, 5, 20, 60, 100, 255, 255)


def composed(chooser: random.Random) -> bytes:
    """A whole input for `exchange`."""
    choices = bytes(
        (chooser.randrange(4), chooser.choice((0, 1, 0, 1, 12, 16)), *chooser.choices((0, 0, 0, 1, 7), k=2))
    )
    script = _some(chooser, CLIENT)
    for _ in range(chooser.randrange(5)):
        script += b"\xfeU" + _some(chooser, UPSTREAM)
    if chooser.random() < 0.3:
        script += b"\xfeC" + _some(chooser, CLIENT)
    return choices + script


def changed(data: bytes, chooser: random.Random) -> bytes:
    """The same input with a mark or a message put in somewhere behind its choices."""
    at = chooser.randrange(4, len(data) + 1) if len(data) > 4 else len(data)
    piece = _mark(chooser) if chooser.random() < 0.6 else chooser.choice(CLIENT + UPSTREAM)
    return data[:at] + piece + data[at:]


def _some(chooser: random.Random, messages: tuple[bytes, ...]) -> bytes:
    """Some messages, with marks between them, and here and there inside."""
    made = b""
    for _ in range(chooser.choice((1, 1, 2, 3, 4))):
        message = chooser.choice(messages)
        if chooser.random() < 0.2:
            at = chooser.randrange(len(message) + 1)
            message = message[:at] + _mark(chooser) + message[at:]
        made += message
        if chooser.random() < 0.45:
            made += _mark(chooser)
    return made


def _mark(chooser: random.Random) -> bytes:
    kind = chooser.choices("|TWERDXu", (35, 15, 15, 10, 7, 4, 6, 4))[0]
    mark = b"\xfe" + kind.encode()
    match kind:
        case "T":
            return mark + bytes((chooser.randrange(8),))
        case "W":
            return mark + bytes((chooser.choice(_WINDOWS),))
        case "X":
            return mark + bytes((chooser.randrange(16),))
        case "u":
            return mark + chooser.choice(UPSTREAM) + b"\xfeC"
    return mark
