"""What an upstream may say, right or wrong, and how much of it a client may get to see."""

import attrs
from hypothesis import strategies as st

from tests.harness import SWITCHED
from tests.rude.asked import SIZES, Asked, marked


@attrs.define(eq=False)
class Said:
    """One answer of an upstream. Offsets are into `data`, and `begin` into all that the upstream sends."""

    tag: bytes
    data: bytes
    status: int
    asked: Asked | None
    """The request that it answers; None for an answer that nobody has asked for."""
    content: bytes = b""
    spans: tuple[tuple[int, int], ...] = ()
    complete_at: int | None = None
    """What has to be sent for the answer to be complete; None where it never is."""
    until_close: bool = False
    spoils: bool = False
    """Whether the connection is of no use after it, by what was said."""
    reasons: frozenset[str] = frozenset()
    """Why the client gets an answer of the relay's in place of this one; without any it gets this one."""
    perhaps: frozenset[str] = frozenset()
    """The same, where it depends on how much has come at once."""
    begin: int = 0

    @property
    def switches(self) -> bool:
        return self.status == 101 and not self.reasons

    @property
    def interim(self) -> bool:
        return 100 <= self.status < 200 and self.status != 101

    def content_sent(self, sent: int) -> int:
        at = sent - self.begin
        return sum(min(max(at - start, 0), length) for start, length in self.spans)

    def is_sent(self, sent: int) -> bool:
        """Whether all of it has been sent, what may follow it not counted."""
        return self.complete_at is not None and sent - self.begin >= self.complete_at


@attrs.frozen
class Final:
    """A right answer."""

    status: int = 200
    framing: str = "length"
    sizes: tuple[int, ...] = (5,)
    minor: int = 1
    closes: bool = False
    surplus: bool = False

    def make(self, tag: bytes, asked: Asked | None) -> Said:
        bodiless = self.status in (204, 304) or (asked is not None and asked.method == b"HEAD")
        framing = "length" if self.framing == "chunked" and not self.minor else self.framing
        total = sum(self.sizes)
        head = b"HTTP/1.%d %d Fine\r\nX-Tag: %b\r\n" % (self.minor, self.status, tag)
        if self.closes:
            head += b"Connection: close\r\n"
        if framing == "length" and self.status != 204:
            head += b"Content-Length: %d\r\n" % total
        elif framing == "chunked" and self.status != 204:
            head += b"Transfer-Encoding: chunked\r\n"
        said = Said(tag, head + b"\r\n", self.status, asked)
        if bodiless:
            said.complete_at = len(said.data)
        else:
            _add_body(said, framing, self.sizes)
        said.spoils = self.closes or not self.minor or said.until_close or self.surplus
        if self.surplus and not said.until_close:
            said.data += b"HTTP/1.1 200 OK\r\nX-Tag: surplus\r\nContent-Length: 6\r\n\r\npoison"
        return said


def _add_body(said: Said, framing: str, sizes: tuple[int, ...]) -> None:
    said.content = marked(said.tag, sum(sizes))
    said.until_close = framing == "until close"
    pieces, spans, at, taken = [said.data], [], len(said.data), 0
    for size in sizes if framing == "chunked" else (sum(sizes),):
        if framing == "chunked" and not size:
            continue
        before = b"%x\r\n" % size if framing == "chunked" else b""
        pieces.append(before + said.content[taken : taken + size] + (b"\r\n" if before else b""))
        spans.append((at + len(before), size))
        taken += size
        at += len(pieces[-1])
    said.data = b"".join(pieces) + (b"0\r\n\r\n" if framing == "chunked" else b"")
    said.spans, said.complete_at = tuple(spans), len(said.data)


@attrs.frozen
class Interim:
    """A 1xx other than 101."""

    status: int
    size: int = 0

    def make(self, tag: bytes, asked: Asked | None) -> Said:
        head = b"HTTP/1.1 %d Wait\r\nX-Tag: %b\r\nX-Fill: %b\r\n\r\n" % (self.status, tag, b"f" * self.size)
        return Said(tag, head, self.status, asked, complete_at=len(head))


WRONG_SWITCHES = {
    "accept": SWITCHED.replace(b"HSmr", b"XXXX"),
    "protocol": SWITCHED.replace(b"websocket", b"h2c"),
    "length": SWITCHED[:-2] + b"Content-Length: 0\r\n\r\n",
}


@attrs.frozen
class Switch:
    """A 101, right for an upgrade unless `wrong` names what is wrong with it."""

    wrong: str = ""

    def make(self, tag: bytes, asked: Asked | None) -> Said:
        head = WRONG_SWITCHES[self.wrong] if self.wrong else SWITCHED
        right = asked is not None and asked.upgrade and not self.wrong
        reasons = frozenset() if right else frozenset({"upstream-bad-switch"})
        return Said(tag, head, 101, asked, complete_at=len(head), spoils=True, reasons=reasons)


NONSENSE = {
    "ssh": (b"SSH-2.0-OpenSSH_9.2\r\n", "upstream-bad-head"),
    "smtp": (b"220 mail.example.com ESMTP\r\n", "upstream-bad-head"),
    "bad status": (b"HTTP/1.1 2000 OK\r\n\r\n", "upstream-bad-head"),
    "folded": (b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n", "upstream-bad-head"),
    "two framings": (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n",
                     "upstream-bad-framing"),
    "two lengths": (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok", "upstream-bad-framing"),
    "too large": (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 40_000 + b"\r\n\r\n", "upstream-bad-head"),
}  # fmt: skip


@attrs.frozen
class Nonsense:
    """Something that is no answer."""

    how: str

    def make(self, tag: bytes, asked: Asked | None) -> Said:
        data, reason = NONSENSE[self.how]
        return Said(tag, data, 0, asked, spoils=True, reasons=frozenset({reason}))


@attrs.frozen
class BrokenChunks:
    """An answer whose body breaks its framing after some content."""

    size: int

    def make(self, tag: bytes, asked: Asked | None) -> Said:
        said = Final(framing="chunked", sizes=(self.size,)).make(tag, asked)
        if said.content:
            said.data = said.data.removesuffix(b"0\r\n\r\n") + b"nonsense\r\n"
            said.complete_at, said.spoils, said.perhaps = None, True, frozenset({"upstream-bad-body"})
        return said


FINALS = st.builds(
    Final,
    st.sampled_from([200] * 6 + [204, 304, 403, 500]),
    st.sampled_from(["length", "length", "chunked", "until close"]),
    st.lists(SIZES, max_size=3).map(tuple),
    st.sampled_from([1] * 5 + [0]),
    st.sampled_from([False] * 5 + [True]),
    st.sampled_from([False] * 7 + [True]),
)
INTERIMS = st.builds(Interim, st.sampled_from([100, 102, 103, 199]), st.sampled_from([0, 0, 100, 30_000]))
SWITCHES = st.builds(Switch, st.sampled_from([""] * 6 + sorted(WRONG_SWITCHES)))
WRONG = st.one_of(st.builds(Nonsense, st.sampled_from(sorted(NONSENSE))), st.builds(BrokenChunks, SIZES))
TO_PLAIN = st.one_of(FINALS, FINALS, FINALS, INTERIMS, WRONG, SWITCHES)
TO_UPGRADE = st.one_of(SWITCHES, SWITCHES, SWITCHES, FINALS, INTERIMS, WRONG)
Recipe = Final | Interim | Switch | Nonsense | BrokenChunks
