"""Where a search begins: the corpus of tests/corpus, and some messages of our own. Knows nothing of wsrelay."""

import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import attrs

from fuzz.targets import Target

CASES = Path(__file__).resolve().parent.parent / "tests" / "corpus" / "cases"

# What is repeated in the corpus to pass a limit is cut here: a search that mutates 40 KiB finds nothing in it.
_MOST_REPEATED = 300
_MOST_BYTES = 4096

_OK = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
SWITCHED = (
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Accept: {accept}\r\n\r\n"
)
UPGRADE = (
    "GET /ws HTTP/1.1\r\nHost: app.example\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
_TRUSTED = "X-Forwarded-For: 192.0.2.1, 127.0.0.2\r\nX-Forwarded-Proto: wss\r\nX_Real_IP: 1\r\n\r\n"
_OWN: list[dict[str, Any]] = [
    {"send": ["GET / HTTP/1.1\r\nHost: app.example\r\n\r\n"]},
    {"send": ["GET http://app.example:80?q HTTP/1.0\r\nHost: app.example\r\nConnection: keep-alive\r\n\r\n"]},
    {"send": ["OPTIONS * HTTP/1.1\r\nHost: [2001:db8::1]:80\r\nConnection: X-A, close\r\nX-A: b\r\n\r\n"]},
    {"send": ["HEAD /api/a%2Fb?c HTTP/1.1\r\nHost: a.wild.example\r\nTE: trailers\r\n" + _TRUSTED]},
    {
        "send": ["POST /re/1 HTTP/1.1\r\nHost: app.example\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n"
                 "Trailer: X-Sum\r\n\r\n", "5;a=b\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\nGET /exact HTTP/1.1\r\n"
                 "Host: tenant.example\r\n\r\n"],
        "upstream": [["HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 200 \r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"
                      "0\r\nX: y\r\n\r\n"], "HTTP/1.0 200 OK\r\nX: y\r\n\r\nto the end"],
    },
    {"send": ["PUT /api HTTP/1.1\r\nHost: app.example\r\nContent-Length: 5\r\n\r\n", "hello"],
     "upstream": ["HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\nUpgrade: h2c\r\nConnection: Upgrade, X-A\r\n"
                  "X-A: 1\r\n\r\n"]},
    {"send": [UPGRADE, "\x81\x82abcdef"], "upstream": [[SWITCHED, "\x81\x02hi"]]},
    {"send": [UPGRADE], "upstream": ["HTTP/1.1 426 Upgrade Required\r\nUpgrade: websocket\r\nConnection: upgrade\r\n"
                                     "Content-Length: 0\r\n\r\n"]},
]  # fmt: skip
_GET = "GET / HTTP/1.1\r\nHost: app.example\r\n\r\n"
_POST = "POST /api HTTP/1.1\r\nHost: app.example\r\nContent-Length: 40\r\n\r\n"
_LONG = "HTTP/1.1 200 OK\r\nContent-Length: 30\r\n\r\n0123456789"
# Ends, resets, time and narrow windows, as `script` writes them; to the other targets these are odd bytes.
_SCRIPTS: list[dict[str, Any]] = [
    {"send": [_POST, "half", "\xfeT\x05rest"], "upstream": ["HTTP/1.1 413 No\r\nContent-Length: 0\r\n\r\n\xfeE"]},
    {"send": [_POST + "\xfeu\xfeW\x08\xfeC0123456789012345678901234567890123456789\xfeT\x05"]},
    {"send": ["\xfeW\x20" + _GET + "\xfeT\x04\xfeW\xff"], "upstream": [_LONG + "\xfe|0123456789\xfe|0123456789"]},
    {"send": ["\xfeW\x40GET / HTTP/1.0\r\n\r\n"], "upstream": ["HTTP/1.1 200 OK\r\n\r\nas long as it lasts\xfeE"]},
    {"send": [_GET + _GET + "\xfeD" + _GET], "upstream": [_OK, _OK]},
    {"send": ["\xfeX\x08" + _GET]},
    {"send": ["\xfeX\x05" + _GET + "\xfeT\x06"], "upstream": [_OK]},
    {"send": [_GET + "\xfe|\xfeR"], "upstream": [_LONG]},
    {"send": [_GET + _GET], "upstream": [_OK + "\xfeE", _LONG + "\xfeR"]},
    {"send": [_GET + "\xfeT\x04"], "upstream": [_OK[:20]]},
    {"send": [_GET + "\xfe|\xfeT\x06" + _GET], "upstream": [_OK, _OK + _OK]},
    {"send": [UPGRADE, "\x81\x82abcdef", "\xfeE"], "upstream": [[SWITCHED, "\x81\x02hi", "\xfeE"]]},
    {"send": [UPGRADE + "early\xfe|\xfeW\x08late\xfeT\x05"], "upstream": [SWITCHED + "0123456789\xfe|0123\xfeR"]},
    {"send": [UPGRADE + "\xfe|\xfeT\x07\xfeD"], "upstream": [[SWITCHED, "\xfeW\x02", "\xfeT\x05"]]},
]


@attrs.frozen
class Case:
    """One case, in the forms that targets want it in."""

    send: bytes
    """What the client sends."""
    upstream: bytes
    """What the upstream answers."""
    script: bytes
    """Both in turn, with the marks that `script` understands."""

    @property
    def both(self) -> bytes:
        """The client's bytes, and behind them the upstream's."""
        return self.send + self.upstream


def own() -> list[dict[str, Any]]:
    """The cases that are ours, as the corpus would have them."""
    return [*_OWN, *_SCRIPTS]


def cases() -> Iterator[Case]:
    """Our own, and those of the corpus that is there."""
    tables = own()
    for file in sorted(CASES.glob("*.toml")):
        tables += tomllib.loads(file.read_text()).get("case", [])
    for table in tables:
        sent = table["send"]
        switching = any("upgrade: websocket" in str(piece).lower() for piece in sent)
        answers = table.get("upstream", [SWITCHED if switching else _OK])
        yield Case(_bytes(sent), _bytes(answers), _script(sent, answers))


def inputs(target: Target) -> Iterator[bytes]:
    """The seeds of one target: every case, and ours with the rarer choices too."""
    for number, case in enumerate(cases()):
        for choices, part in (*target.SEEDS, *(target.RARE if number < len(own()) else ())):
            yield choices + getattr(case, part)[:_MOST_BYTES]


def _bytes(pieces: Any) -> bytes:
    return b"".join(_piece(piece, marks=False) for piece in _flat(pieces))


def _script(sent: Any, answers: Any) -> bytes:
    """The client's pieces with a pause between them; then the upstream's answers, one for each request it gets."""
    return _joined(sent) + b"\xfeU" + b"\xfeU".join(_joined(_flat([answer])) for answer in answers)


def _joined(pieces: Iterable[Any]) -> bytes:
    """Pieces with a pause between two strings."""
    joined, before = b"", None
    for piece in pieces:
        pause = isinstance(before, str) and isinstance(piece, str)
        joined, before = joined + (b"\xfe|" if pause else b"") + _piece(piece, marks=True), piece
    return joined


def _flat(pieces: Any) -> Iterator[Any]:
    for piece in pieces:
        if isinstance(piece, list):
            yield from _flat(piece)
        else:
            yield piece


def _piece(piece: Any, *, marks: bool) -> bytes:
    if isinstance(piece, str):
        return piece.encode("latin-1")
    if "repeat" in piece:
        times = min(int(piece["times"]), max(1, _MOST_REPEATED // max(1, len(piece["repeat"]))))
        return str(piece["repeat"]).encode("latin-1") * times
    if not marks:
        return b""
    if "reset" in piece:
        return b"\xfeR"
    return b"\xfeE" if "end" in piece or "close" in piece else b"\xfe|"
