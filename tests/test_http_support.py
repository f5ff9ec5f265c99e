"""docs/http-support.md against the core: its examples are run, its lists tried, links of all pages lead somewhere."""

import re
from ipaddress import ip_network
from pathlib import Path

import attrs
import pytest

from tests.core.readers import Reader, T
from wsrelay.config.networks import NOWHERE, Networks
from wsrelay.config.settings import (
    ClientFact,
    Listener,
    PathKind,
    PathPattern,
    Route,
    TcpAddress,
    TlsPolicy,
    ToUpstream,
)
from wsrelay.core import admission, body, hopbyhop, proxyline, upgrade
from wsrelay.core.body import Chunked, Framing, UntilClose
from wsrelay.core.forwarded import ClientFacts
from wsrelay.core.head import HeadLimits, RequestReader, ResponseReader
from wsrelay.core.outcomes import Side
from wsrelay.core.reasons import Reason
from wsrelay.core.refusal import Refusal
from wsrelay.core.routing import RouteTable
from wsrelay.core.upgrade import Declined, Switched, Upgrade
from wsrelay.net import client_certificate

DOCS = Path(__file__).resolve().parent.parent / "docs"
TEXT = (DOCS / "http-support.md").read_text("utf-8")

# What the page calls the limits of its examples.
LIMITS, BODY_BYTES = HeadLimits(32 * 1024, 128), 64 * 1024

# Of RFC 6455 1.3.
KEY, ACCEPT = b"dGhlIHNhbXBsZSBub25jZQ==", b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
SHORT = {
    "{host}": "Host: a.example",
    "{handshake}": "Connection: Upgrade\\r\\nUpgrade: websocket\\r\\nSec-WebSocket-Version: 13\\r\\nSec-WebSocket-Key: "
    + KEY.decode(),
    "{accept}": f"Sec-WebSocket-Accept: {ACCEPT.decode()}",
}

# Reasons that are about no byte of HTTP: TLS, what the configuration says, how a connect went, what we are doing.
NOT_ABOUT_HTTP = {reason for reason in Reason if not reason.status} | {
    Reason.PROXY_UNTRUSTED,
    Reason.ADDRESS_DENIED,
    Reason.WEBSOCKET_REFUSED,
    Reason.TLS_REQUIRED,
    Reason.WEBSOCKET_REQUIRED,
    Reason.UPSTREAM_NAME,
    Reason.UPSTREAM_REFUSED,
    Reason.UPSTREAM_UNREACHABLE,
    Reason.UPSTREAM_TLS,
    Reason.UPSTREAM_CERTIFICATE,
    Reason.UPSTREAM_CONNECT_TIMEOUT,
    Reason.BUG,
    Reason.NO_DESCRIPTORS,
    Reason.CONNECTION_LIMIT,
    Reason.ADDRESS_LIMIT,
    Reason.CONNECTION_RATE,
}
# These need a clock, a socket, TLS or a configuration, so no line can show them.
NOT_OF_THE_READERS = {
    Reason.PROXY_TIMEOUT,
    Reason.PLAIN_HTTP,
    Reason.HEAD_TIMEOUT,
    Reason.BODY_TIMEOUT,
    Reason.ORIGIN_REFUSED,
    Reason.UPSTREAM_CLOSED,
    Reason.UPSTREAM_TIMEOUT,
}


@attrs.frozen
class Example:
    """One line of a block: what is sent, and what the page says of it."""

    sent: bytes
    verdict: str


def unescaped(text: str) -> bytes:
    """The bytes that a text means which has escapes and the page's own short forms."""
    for short, long in SHORT.items():
        text = text.replace(short, long)
    text = re.sub(r"\{(.)\*(\d+)\}", lambda match: match[1] * int(match[2]), text)
    return text.encode("latin-1").decode("unicode_escape").encode("latin-1")


def examples(kind: str) -> list[Example]:
    """The lines of all blocks of one kind."""
    found = []
    for block in re.findall(rf"^```{kind}\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL):
        for line in block.splitlines():
            sent, arrow, verdict = line.partition("→")
            assert arrow, line
            found.append(Example(unescaped(sent.rstrip(" ")), verdict.strip()))
    return found


def is_complete(sent: bytes) -> bytes:
    """A head as sent, with the empty line where the page has left it out."""
    return sent if b"\r\n\r\n" in sent[2:] else sent + b"\r\n\r\n"


def route(path: bytes) -> Route:
    return Route(path=PathPattern(PathKind.PREFIX, path), action=ToUpstream("app"), name=path.decode())


ROUTES = RouteTable((route(b"/"), route(b"/admin")), "public")


def facts(*, trusted: bool) -> ClientFacts:
    proxies = Networks.of([ip_network("192.0.2.1")]) if trusted else NOWHERE
    return ClientFacts.of("192.0.2.1", secure=False, proxies=proxies)


# What happens to an example, in the page's words.


def cuts(data: bytes) -> list[list[bytes]]:
    return [[data], [data[at : at + 1] for at in range(len(data))]]


def refused(refusal: Refusal) -> str:
    return f"{refusal.reason.status} {refusal.reason.word}"


def read_body(framing: Framing, side: Side, data: bytes, limit: int = 0) -> None:
    """Read a body, where the example has one; a part of it is no fault."""
    reader = body.reader(framing, side, limit)
    if data:
        reader.feed(data)
        assert reader.done or reader.end(), "the example's body is not complete"


def read_head(reader: Reader[T], pieces: list[bytes]) -> tuple[T, bytes]:
    """The head, and what follows it."""
    for at, piece in enumerate(pieces, start=1):
        if (head := reader.feed(piece)) is not None:
            return head, reader.rest + b"".join(pieces[at:])
    pytest.fail("the example is no complete head")


def request_verdict(pieces: list[bytes]) -> str:
    """What becomes of a request, by the steps of `net.session`."""
    try:
        head, rest = read_head(RequestReader(LIMITS), pieces)
        framing = body.request_framing(head, BODY_BYTES)
        kind = upgrade.classify(head)
        hopbyhop.check_expectation(head)
        match = ROUTES.resolve(head)
        admission.admit(match.route, kind, head, "192.0.2.1")
        read_body(framing, Side.CLIENT, rest, BODY_BYTES)
    except Refusal as refusal:
        return refused(refusal)
    upgrading = isinstance(kind, Upgrade)
    written = hopbyhop.request(
        head, facts(trusted=False), target=match.target, host=head.authority, framing=framing, upgrade=upgrading
    )
    assert (b"websocket" in written.lower()) is upgrading
    if upgrading:
        return "opens a WebSocket"
    return f"goes on as {written.partition(b' HTTP/1.1')[0].decode()}"


def answer_verdict(pieces: list[bytes], offer: Upgrade | None) -> str:
    """What becomes of an upstream's answer."""
    try:
        head, rest = read_head(ResponseReader(LIMITS), pieces)
        if offer is None:
            upgrade.expect_final(head)
        elif isinstance(said := upgrade.check_reply(offer, head), Switched):
            return "opens the tunnel" + ", with a warning" * bool(said.warnings)
        else:
            assert isinstance(said, Declined)
        framing = body.response_framing(b"GET", head)
        read_body(framing, Side.UPSTREAM, rest)
    except Refusal as refusal:
        return refused(refusal)
    close = isinstance(framing, UntilClose)
    written = hopbyhop.response(head, framing=Chunked() if close else framing, minor=1, close=False)
    assert written.startswith(b"HTTP/1.1 %d " % head.status)
    return "goes back"


def lines_upstream(fields: bytes, who: ClientFacts) -> list[bytes]:
    data = b"GET / HTTP/1.1\r\nHost: a.example\r\n" + (fields and fields + b"\r\n") + b"\r\n"
    head, _ = read_head(RequestReader(LIMITS), [data])
    written = hopbyhop.request(
        head,
        who,
        target=head.target,
        host=head.authority,
        framing=body.request_framing(head, BODY_BYTES),
        upgrade=False,
    )
    return written.split(b"\r\n")[1:-2]


def field_verdict(fields: bytes, *, trusted: bool) -> list[bytes]:
    """The lines that stand in the upstream's request because of `fields`."""
    always = lines_upstream(b"", facts(trusted=trusted))
    found = lines_upstream(fields, facts(trusted=trusted))
    names = [line.partition(b":")[0] for line in found]
    for line in always:
        assert names.count(line.partition(b":")[0]) == 1, "a field that is always there once is not"
    return [line for line in found if line not in always]


def certified(*, trusted: bool) -> ClientFacts:
    """A client with a certificate, where `client_headers` has what the page says."""
    listener = Listener(
        "public",
        TcpAddress("192.0.2.2", 443),
        policy=TlsPolicy(
            client_headers=((b"X-Client-Subject", ClientFact.SUBJECT), (b"Client-Cert", ClientFact.CERTIFICATE))
        ),
    )
    return attrs.evolve(
        facts(trusted=trusted),
        reserved=client_certificate.reserved([listener]),
        certified=(b"X-Client-Subject: CN=till-7", b"Client-Cert: :MIIB:"),
    )


def proxy_line_verdict(sent: bytes) -> str:
    """Whom a PROXY line names."""
    try:
        read = proxyline.read(sent)
    except Refusal as refusal:
        return refused(refusal)
    assert not isinstance(read, int), "the example's line is not complete"
    line, size = read
    assert size == len(sent)
    return line.source.host if line.source else "the connection itself"


@pytest.mark.parametrize("example", examples("request"), ids=lambda example: repr(example.sent[:70]))
def test_a_request_ends_as_the_page_says_however_it_is_cut(example: Example) -> None:
    for pieces in cuts(is_complete(example.sent)):
        found = request_verdict(pieces)
        if example.verdict == "goes on":
            first = example.sent.lstrip().split(b" ", 2)
            assert found == f"goes on as {(first[0] + b' ' + first[1]).decode()}"
        else:
            assert found == example.verdict


@pytest.mark.parametrize(
    ("example", "upgrading"),
    [(example, False) for example in examples("answer")]
    + [(example, True) for example in examples("answer-to-an-upgrade")],
    ids=lambda value: repr(value.sent[:70]) if isinstance(value, Example) else "",
)
def test_an_answer_ends_as_the_page_says_however_it_is_cut(example: Example, upgrading: bool) -> None:
    offer = Upgrade(KEY, ACCEPT) if upgrading else None
    for pieces in cuts(is_complete(example.sent)):
        assert answer_verdict(pieces, offer) == example.verdict


@pytest.mark.parametrize("example", examples("field"), ids=lambda example: repr(example.sent))
def test_a_field_crosses_as_the_page_says(example: Example) -> None:
    stranger, differs, proxy = example.verdict.partition("‖")
    for trusted, said in ((False, stranger), (True, proxy if differs else stranger)):
        expected = [] if said.strip() == "–" else unescaped(said.strip()).split(b"\r\n")
        assert field_verdict(example.sent, trusted=trusted) == expected


@pytest.mark.parametrize("trusted", [False, True])
@pytest.mark.parametrize("example", examples("field-with-a-certificate"), ids=lambda example: repr(example.sent))
def test_a_field_about_a_certificate_is_the_relays_alone(example: Example, trusted: bool) -> None:
    usual = lines_upstream(b"", facts(trusted=trusted))
    found = lines_upstream(example.sent, certified(trusted=trusted))
    assert [line for line in found if line not in usual] == unescaped(example.verdict).split(b"\r\n")


@pytest.mark.parametrize("example", examples("proxy-line"), ids=lambda example: repr(example.sent[:70]))
def test_a_proxy_line_names_whom_the_page_says(example: Example) -> None:
    assert proxy_line_verdict(example.sent) == example.verdict


def named(begin: str, end: str) -> list[bytes]:
    """The field names in backticks of one passage. One that ends in a hyphen means all that begin so."""
    passage = re.search(rf"{re.escape(begin)}(.*?){re.escape(end)}", TEXT, re.DOTALL)
    assert passage, begin
    found = [name.encode() for name in re.findall(r"`([A-Za-z0-9*-]+)`", passage[1])]
    assert len(found) > 8
    return [name.rstrip(b"*") + b"Any" if name.endswith((b"-", b"*")) else name for name in found]


def test_every_trailer_that_the_page_names_is_dropped() -> None:
    for name in named("That is `Host`", "and what `Connection` names"):
        assert body.safe_trailers(((name, b"a"), (b"X-Sum", b"b"))) == ((b"X-Sum", b"b"),), name


def test_what_the_page_leaves_to_trusted_proxies_is_dropped_from_others() -> None:
    for name in named("Only a trusted proxy's pass:", "Everybody's:"):
        assert field_verdict(name + b": a", trusted=False) == [], name
        assert field_verdict(name + b": a", trusted=True) == [name + b": a"]


def test_what_cannot_be_named_away_is_not() -> None:
    names = named("Ignored are nominations of", "framing and `X-Real-IP`")
    for name in names:
        # Of a list such as "`Content-Type`, `-Encoding`", and of the families of the relay's own.
        name = b"Content" + name if name.startswith(b"-") else name
        if name not in (b"X-Forwarded-Any", b"Sec-WebSocket-Any", b"Host"):
            trusted = name == b"Forwarded"
            field = name + b": a"
            assert field_verdict(b"Connection: " + name + b"\r\n" + field, trusted=trusted) == [field]


def test_the_page_has_examples_of_every_kind_and_of_every_reason_that_bytes_alone_can_have() -> None:
    requests, fields = examples("request"), examples("field")
    answers = examples("answer") + examples("answer-to-an-upgrade")
    assert min(len(requests), len(fields), len(answers)) > 15
    shown = {example.verdict for example in requests + answers + examples("proxy-line")}
    assert {"goes back", "opens a WebSocket", "opens the tunnel, with a warning"} <= shown
    expected = {f"{one.status} {one.word}" for one in set(Reason) - NOT_ABOUT_HTTP - NOT_OF_THE_READERS}
    assert expected <= shown


def test_every_block_of_the_page_is_run() -> None:
    kinds = re.findall(r"^```(.*)\n", TEXT, re.MULTILINE)[::2]
    assert set(kinds) == {
        "request", "answer", "answer-to-an-upgrade", "field", "field-with-a-certificate", "proxy-line",
    }  # fmt: skip


def test_every_reason_that_is_about_http_is_explained_with_its_status() -> None:
    linked = set(re.findall(r"(\d{3}) \[`([a-z-]+)`\]\(reasons\.md#([a-z-]+-\d{3})\)", TEXT))
    known = {(str(one.status), one.word, f"{one.word}-{one.status}") for one in Reason}
    assert linked <= known
    missing = {one.word for one in set(Reason) - NOT_ABOUT_HTTP} - {word for _, word, _ in linked}
    assert not missing


def test_every_status_beside_a_reason_is_that_reasons() -> None:
    """Also where the reason stands without a link, since its first mention has it."""
    words = {one.word: str(one.status) for one in Reason}
    for status, word in re.findall(r"\b([1-5]\d\d) \[?`([a-z]+-[a-z-]+)`", TEXT):
        assert words.get(word) == status, word


def anchors(page: Path) -> set[str]:
    """As common renderers make them of headings: lower case, punctuation dropped, spaces to hyphens."""
    text = re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", sorted(DOCS.glob("*.md")), ids=lambda page: page.name)
def test_every_link_of_a_page_leads_to_a_file_and_a_heading_that_exist(page: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", link):
            continue
        place, _, anchor = link.partition("#")
        target = (page.parent / place).resolve() if place else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link
