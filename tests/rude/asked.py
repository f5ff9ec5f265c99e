"""What a client may ask, well or badly, and by rules of its own what may become of it on the way.

A recipe is what hypothesis draws and prints; `make` gives the bytes, and the head that the upstream must get for them
(DESIGN 7, written down here a second time on purpose).
"""

import attrs
from hypothesis import strategies as st

from tests.harness import UPGRADE

HOST = b"example.com"
HOPS = b"X-Hop: 1\r\nTE: trailers\r\nUpgrade: h2c\r\nx-forwarded-for: 192.0.2.1\r\nX_Real_IP: 192.0.2.1\r\n"

# Nothing, one byte, some; more than the kernel holds (its buffers are made small), than a read of 64 KiB on top of it,
# than all buffers on the way.
BLOCK = 128
SIZES = st.sampled_from([0, 1, 7, 300, 5_000, 50_000, 120_000, 400_000])


def marked(tag: bytes, size: int) -> bytes:
    """So many bytes that nobody else sends, and of which no stretch comes twice: each block bears its number."""
    blocks = [(b"%b.%d;" % (tag, number)).ljust(BLOCK, b"-") for number in range(size // BLOCK + 1)]
    return b"".join(blocks)[:size]


@attrs.define(eq=False)
class Asked:
    """One message of a client. Offsets are into `data`, and `begin` into all that the client sends."""

    tag: bytes
    data: bytes
    method: bytes = b"GET"
    minor: int = 1
    route: str = "app"
    upgrade: bool = False
    head_size: int = 0
    goes_up: bytes = b""
    """The head that the upstream must get; nothing where nothing may go up."""
    content: bytes = b""
    spans: tuple[tuple[int, int], ...] = ()
    """Where the content lies in `data`: offset and length of each piece."""
    trailers: tuple[tuple[bytes, bytes], ...] = ()
    bodiless: bool = True
    """Whether its framing says that there is no body."""
    whole: bool = True
    """Whether it can be completed at all: a body that breaks its own framing cannot."""
    deserves: frozenset[str] = frozenset()
    """The reasons of the refusals that it brings upon itself; without any it is a good one."""
    begin: int = 0
    late: bool = False
    """Whether time passed after it had begun and before all of it had arrived."""
    headless: bool = False
    """The same for its head: then nobody knows its method."""

    @property
    def end(self) -> int:
        return self.begin + len(self.data)

    @property
    def repeatable(self) -> bool:
        """Whether it may be sent to another server after the first one has hung up (RFC 9110 9.2.2)."""
        return self.method in (b"GET", b"HEAD", b"OPTIONS", b"PUT", b"DELETE") and self.bodiless

    def content_sent(self, sent: int) -> int:
        """How much of the content is in the first `sent` bytes of the client's stream."""
        at = sent - self.begin
        return sum(min(max(at - start, 0), length) for start, length in self.spans)


@attrs.frozen
class Asker:
    """Who asks, as the upstream must get to know it."""

    address: bytes
    secure: bool

    @property
    def fields(self) -> bytes:
        proto = b"https" if self.secure else b"http"
        return (
            b"X-Real-IP: %b\r\nX-Forwarded-For: %b\r\nX-Forwarded-Proto: %b\r\nX-Forwarded-Host: %b\r\n"
            % (self.address, self.address, proto, HOST)
        )  # fmt: skip


@attrs.frozen
class Body:
    """The body of a request: one piece with a length, or chunks."""

    sizes: tuple[int, ...]
    chunked: bool = False
    trailer: bool = False
    broken: bytes = b""
    """For chunks: what comes behind them instead of the end."""

    @property
    def field(self) -> bytes:
        return b"Transfer-Encoding: chunked\r\n" if self.chunked else b"Content-Length: %d\r\n" % sum(self.sizes)


@attrs.frozen
class Plain:
    """An ordinary request."""

    method: bytes = b"GET"
    route: str = "app"
    minor: int = 1
    options: bytes = b""
    hops: bool = False
    """With fields that must not cross."""
    body: Body | None = None
    expects: bool = False

    def make(self, tag: bytes, asker: Asker) -> Asked:
        line = b"%b /%b/%b HTTP/1." % (self.method, self.route.encode(), tag)
        fields = b"X-Tag: %b\r\nCookie: a=1\r\n" % tag
        options = ([self.options] if self.options else []) + ([b"X-Hop"] if self.hops else [])
        sent = fields + (b"Connection: %b\r\n" % b", ".join(options) if options else b"")
        if self.hops:
            sent += HOPS
        expects = b"Expect: 100-continue\r\n" if self.expects and self.body and self.minor else b""
        framing = self.body.field if self.body else b""
        head = line + b"%d\r\nHost: %b\r\n" % (self.minor, HOST) + sent + expects + framing + b"\r\n"
        up = line + b"1\r\nHost: %b\r\n" % HOST + fields + asker.fields + framing + expects + b"\r\n"
        asked = Asked(tag, head, self.method, self.minor, self.route, head_size=len(head))
        asked.goes_up = up if self.route != "own" else b""
        return _with_body(asked, self.body) if self.body else asked


def _with_body(asked: Asked, body: Body) -> Asked:
    pieces, spans, at = [asked.data], [], len(asked.data)
    asked.content = marked(asked.tag, sum(body.sizes))
    asked.bodiless = not (body.chunked or asked.content)
    taken = 0
    for size in body.sizes:
        if body.chunked and not size:
            continue
        before = b"%x;ext=1\r\n" % size if body.chunked else b""
        piece = before + asked.content[taken : taken + size] + (b"\r\n" if body.chunked else b"")
        spans.append((at + len(before), size))
        pieces.append(piece)
        taken += size
        at += len(piece)
    if body.broken:
        asked.whole, asked.deserves = False, frozenset({"bad-body"})
        pieces.append(body.broken)
    elif body.chunked:
        asked.trailers = ((b"x-sum", b"1"),) if body.trailer else ()
        pieces.append(b"0\r\n%b\r\n" % (b"X-Sum: 1\r\nContent-Length: 9\r\n" if body.trailer else b""))
    asked.data, asked.spans = b"".join(pieces), tuple(spans)
    return asked


@attrs.frozen
class Upgrade:
    """A right request for a WebSocket."""

    route: str = "app"

    def make(self, tag: bytes, asker: Asker) -> Asked:
        target = b"/%b/%b" % (self.route.encode(), tag)
        data = UPGRADE.replace(b"/chat", target)
        key = b"Sec-WebSocket-Key: x3JJHMbDL1EzLkh9GBhXDw==\r\nSec-WebSocket-Version: 13\r\n"
        asked = Asked(tag, data, route=self.route, upgrade=True, head_size=len(data))
        asked.goes_up = b"GET %b HTTP/1.1\r\nHost: %b\r\n%b" % (target, HOST, key + asker.fields)
        asked.goes_up += b"Connection: upgrade\r\nUpgrade: websocket\r\n\r\n"
        return asked


KEY = b"Sec-WebSocket-Key: x3JJHMbDL1EzLkh9GBhXDw==\r\n"
GET = b"GET /app/bad HTTP/1.1\r\nHost: example.com\r\n"
BAD = {
    "no host": (b"GET /app/bad HTTP/1.1\r\n\r\n", "bad-host"),
    "two hosts": (GET + b"Host: example.com\r\n\r\n", "bad-host"),
    "space before colon": (GET + b"X : y\r\n\r\n", "malformed-head"),
    "folded": (GET + b"X: y\r\n z\r\n\r\n", "malformed-head"),
    "lone LF": (b"GET /app/bad HTTP/1.1\nHost: example.com\n\n", "malformed-head"),
    "control": (GET + b"X: \x00\r\n\r\n", "malformed-head"),
    "fragment": (GET.replace(b"bad", b"bad#x") + b"\r\n", "bad-target"),
    "connect": (b"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n", "connect-method"),
    "preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "http-version"),
    "two framings": (GET + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "bad-framing"),
    "signed length": (GET + b"Content-Length: +3\r\n\r\nabc", "bad-framing"),
    "unknown coding": (GET + b"Transfer-Encoding: gzip\r\n\r\n", "unknown-transfer-coding"),
    "beer": (GET + b"Content-Length: 1\r\nExpect: beer\r\n\r\nx", "unknown-expectation"),
    "no route": (GET.replace(b"app", b"nowhere") + b"\r\n", "no-route"),
    "large": (GET + b"X: " + b"x" * 40_000 + b"\r\n\r\n", "head-too-large"),
    "many": (GET + b"X: y\r\n" * 200 + b"\r\n", "head-too-large"),
    "tls": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "malformed-head"),
    "posted upgrade": (UPGRADE.replace(b"GET", b"POST"), "bad-upgrade"),
    "upgrade without key": (UPGRADE.replace(KEY, b""), "bad-upgrade"),
    "upgrade with body": (UPGRADE[:-2] + b"Content-Length: 3\r\n\r\nabc", "bad-upgrade"),
    "upgrade of version 8": (UPGRADE.replace(b"Version: 13", b"Version: 8"), "websocket-version"),
}


@attrs.frozen
class Bad:
    """A request that is refused whatever comes after it."""

    how: str

    def make(self, tag: bytes, asker: Asker) -> Asked:
        data, reason = BAD[self.how]
        return Asked(tag, data, route="", deserves=frozenset({reason}))


@attrs.frozen
class Frames:
    """Bytes of another protocol: right in a tunnel, and nowhere else."""

    size: int

    def make(self, tag: bytes, asker: Asker) -> Asked:
        return Asked(tag, (b"\x81\xfe" + marked(tag, self.size))[: self.size], deserves=frozenset({"malformed-head"}))


METHODS = st.sampled_from([b"GET", b"GET", b"HEAD", b"OPTIONS", b"DELETE"])
ROUTES = st.sampled_from(["app"] * 12 + ["own", "own", "gone", "hole"])
OPTIONS = st.sampled_from([b""] * 6 + [b"close", b"keep-alive"])
MINORS = st.sampled_from([1] * 6 + [0])
LENGTHS = st.builds(lambda size: Body((size,)), SIZES)
CHUNKS = st.builds(
    Body,
    st.lists(SIZES, max_size=3).map(tuple),
    chunked=st.just(True),
    trailer=st.booleans(),
    broken=st.sampled_from([b""] * 6 + [b"nonsense\r\n", b"-1\r\n", b"3\nabc"]),
)
BODILESS = st.builds(Plain, METHODS, ROUTES, MINORS, OPTIONS, st.booleans())
WITH_LENGTH = st.builds(
    Plain, st.sampled_from([b"POST", b"PUT"]), ROUTES, MINORS, OPTIONS, st.booleans(), LENGTHS, st.booleans()
)
WITH_CHUNKS = st.builds(
    Plain, st.sampled_from([b"POST", b"PUT"]), ROUTES, st.just(1), OPTIONS, st.booleans(), CHUNKS, st.booleans()
)
GOOD = st.one_of(BODILESS, WITH_LENGTH, WITH_CHUNKS)
UPGRADES = st.builds(Upgrade, ROUTES)
BADS = st.builds(Bad, st.sampled_from(sorted(BAD)))
FRAMES = st.builds(Frames, SIZES.filter(bool))
ASKED = st.one_of(BODILESS, BODILESS, WITH_LENGTH, WITH_CHUNKS, UPGRADES, UPGRADES, BADS, FRAMES)
Recipe = Plain | Upgrade | Bad | Frames
