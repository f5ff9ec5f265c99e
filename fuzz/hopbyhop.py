"""Target: the heads that go over the hop. A request head, then the upstream's head; both are rewritten."""

from ipaddress import ip_network

from fuzz import oracle
from fuzz.crossing import FRAMING, check_crossing, check_identity, check_reply_fields
from fuzz.inputs import Input, fed, tried
from wsrelay.config.networks import Networks
from wsrelay.core import hopbyhop, upgrade
from wsrelay.core.body import NO_BODY, Chunked, Framing, Length, NoBody, UntilClose, request_framing, response_framing
from wsrelay.core.forwarded import ClientFacts
from wsrelay.core.head import HeadLimits, RequestHead, RequestReader, ResponseHead, ResponseReader
from wsrelay.core.refusal import Refusal
from wsrelay.core.upgrade import Switched, Upgrade

SEEDS = ((b"\0\0\0\0", "both"), (b"\0\1\0\0", "both"), (b"\1\2\0\0", "both"))
RARE: tuple[tuple[bytes, str], ...] = ()

_LIMITS = HeadLimits(32 * 1024, 128)
# What is written may be larger than what came by the fields that are ours.
_WRITTEN = HeadLimits(64 * 1024, 200)
_NETWORKS = (ip_network("127.0.0.2/32"), ip_network("10.0.0.0/8"), ip_network("2001:db8::/32"))
CLIENTS = (
    ClientFacts.of("198.51.100.7", secure=False, proxies=Networks(_NETWORKS)),
    ClientFacts.of("127.0.0.2", secure=True, proxies=Networks(_NETWORKS)),
    ClientFacts.of("2001:db8::7", secure=False, proxies=Networks(_NETWORKS)),
    ClientFacts.of("unix:", secure=True, proxies=Networks(_NETWORKS)),
    ClientFacts.of("unix:", secure=True, proxies=Networks(_NETWORKS, unix=True)),
)


def check(data: bytes) -> None:
    """A request over the hop, and the answer back."""
    given = Input.of(data)
    if given is None:
        return
    head, rest = fed(RequestReader(_LIMITS), [given.message])
    if not isinstance(head, RequestHead):
        return
    framing = tried(lambda: request_framing(head, 0))
    kind = tried(lambda: upgrade.classify(head))
    expectation = tried(lambda: hopbyhop.check_expectation(head))
    if isinstance(framing, Refusal) or isinstance(kind, Refusal) or isinstance(expectation, Refusal):
        return
    if hopbyhop.hops_left(head) == 0:  # it goes nowhere
        return
    facts = CLIENTS[given.limits % len(CLIENTS)]
    host = b"up.example:8080" if given.kind & 2 else head.authority or b"localhost"
    _check_request(head, framing, kind, facts, host)
    offer = kind if isinstance(kind, Upgrade) else None
    if offer:
        rest = rest.replace(b"{accept}", offer.accept)
    reply, _ = fed(ResponseReader(_LIMITS), [rest])
    if isinstance(reply, ResponseHead):
        _check_reply(reply, head, offer, keep=bool(given.kind & 1))


def _check_request(
    head: RequestHead, framing: Framing, kind: upgrade.Plain | Upgrade, facts: ClientFacts, host: bytes
) -> None:
    switches = isinstance(kind, Upgrade)
    expected = NO_BODY if switches else framing
    written = hopbyhop.request(head, facts, target=head.target, host=host, framing=expected, upgrade=switches)
    again, rest = fed(RequestReader(_WRITTEN), [written])
    assert isinstance(again, RequestHead), f"we refuse what we wrote: {again}"
    assert (rest, again.minor, again.method, again.target) == (b"", 1, head.method, head.target)
    assert again.authority == host
    assert again.fields[0] == (b"Host", host)
    assert request_framing(again, 0) == expected
    assert upgrade.classify(again) == kind
    hopbyhop.check_expectation(again)
    message = oracle.request(written)
    assert message is not None
    assert (message.head.method, message.head.target, message.head.http_version) == (head.method, head.target, b"1.1")
    assert message.fields == again.fields
    assert message.framing == _in_h11(expected)
    assert message.rest == b""
    check_crossing(again.fields, head, switches=switches)
    check_identity(again.fields, head, facts)
    expects = list(again.values(b"expect"))
    assert expects in ([], [b"100-continue"])
    assert not expects or (head.minor == 1 and isinstance(framing, Length | Chunked))


def _in_h11(framing: Framing) -> object:
    return "chunked" if isinstance(framing, Chunked) else framing.count if isinstance(framing, Length) else None


def _check_reply(reply: ResponseHead, head: RequestHead, offer: Upgrade | None, *, keep: bool) -> None:
    if reply.status == 101:
        verdict = tried(lambda: upgrade.check_reply(offer, reply)) if offer else None
        if offer and isinstance(verdict, Switched):
            again = _written_reply(b"GET", hopbyhop.switching(reply), reply)
            assert upgrade.check_reply(offer, again) == Switched()
            check_reply_fields(again.fields, reply.fields, {b"connection", b"upgrade"})
        return
    if reply.status < 200:
        again = _written_reply(head.method, hopbyhop.interim(reply), reply)
        check_reply_fields(again.fields, reply.fields, set())
        return
    framing = tried(lambda: response_framing(head.method, reply))
    if isinstance(framing, Refusal):
        return
    towards = _towards(head.minor, framing)
    close = not keep or isinstance(towards, UntilClose)
    written = hopbyhop.response(reply, framing=towards, minor=head.minor, close=close)
    again = _written_reply(head.method, written, reply)
    assert response_framing(head.method, again) == towards
    assert (b"close" in again.tokens(b"connection")) is close
    ours = FRAMING | {b"connection"} | ({b"upgrade"} if reply.status == 426 else set())
    check_reply_fields(again.fields, reply.fields, ours)
    message = oracle.response(head.method, written)
    assert message is not None
    assert isinstance(towards, NoBody) or message.framing == _in_h11(towards)


def _towards(minor: int, framing: Framing) -> Framing:
    """RFC 9112 6.1 and 6.3: HTTP/1.0 knows no chunks, and whoever knows them need not lose its connection."""
    if isinstance(framing, Chunked) and not minor:
        return UntilClose()
    return Chunked() if isinstance(framing, UntilClose) and minor else framing


def _written_reply(method: bytes, written: bytes, reply: ResponseHead) -> ResponseHead:
    """Read it with both readers: it is one head, with the upstream's status and phrase."""
    again, rest = fed(ResponseReader(_WRITTEN), [written])
    assert isinstance(again, ResponseHead), f"we refuse what we wrote: {again}"
    assert (rest, again.minor, again.status, again.phrase) == (b"", 1, reply.status, reply.phrase)
    message = oracle.response(method, written)
    assert message is not None
    assert (message.head.status_code, message.head.reason) == (reply.status, reply.phrase)
    assert message.fields == again.fields
    assert message.rest == b""
    return again
