"""Target: the readers of request and response heads."""

from fuzz import oracle
from fuzz.inputs import Input, check_reason, check_same, fed
from wsrelay.core.body import Chunked, Length, request_framing, response_framing
from wsrelay.core.head import HeadLimits, RequestHead, RequestReader, ResponseHead, ResponseReader
from wsrelay.core.reasons import Reason
from wsrelay.core.refusal import Refusal

SEEDS = ((b"\0\0\5\3", "send"), (b"\0\1\x60\x20", "send"), (b"\1\0\5\3", "upstream"))
RARE: tuple[tuple[bytes, str], ...] = ()

# As configured by default, bounds that small inputs meet, and bounds that none does.
LIMITS = (HeadLimits(32 * 1024, 128), HeadLimits(256, 128), HeadLimits(1024, 6), HeadLimits(64 * 1024, 1000))

_CLIENTS = frozenset(
    {
        Reason.MALFORMED_HEAD,
        Reason.BAD_TARGET,
        Reason.BAD_HOST,
        Reason.HEAD_TOO_LARGE,
        Reason.HTTP_VERSION,
        Reason.CONNECT_METHOD,
        Reason.TRACE_METHOD,
        Reason.TARGET_TOO_LONG,
    }
)
_UPSTREAMS = frozenset({Reason.UPSTREAM_BAD_HEAD})
# RFC 9110 5.6.2, 5.5 and RFC 3986 2: what may stand in a name, in a value and in a target.
_TOKEN = frozenset(b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
_TEXT = frozenset((9, *range(0x20, 0x7F), *range(0x80, 0x100)))
_VISIBLE = frozenset(range(0x21, 0x7F))


def check(data: bytes) -> None:
    """One head: a request's or a response's."""
    given = Input.of(data)
    if given is None:
        return
    limits = LIMITS[given.limits % len(LIMITS)]
    if given.kind % 2:
        _check_response(given, limits)
    else:
        _check_request(given, limits)


def _check_request(given: Input, limits: HeadLimits) -> None:
    verdicts = [fed(RequestReader(limits), pieces) for pieces in given.pieces()]
    check_same(verdicts)
    head, rest = verdicts[0]
    check_reason(head, _CLIENTS)
    if not isinstance(head, RequestHead):
        return
    assert given.message.endswith(rest)
    _check_bounds(len(given.message) - len(rest), head.fields, limits, 2)
    assert set(head.method) <= _TOKEN
    assert head.method not in (b"CONNECT", b"TRACE")
    assert set(head.target) <= _VISIBLE
    assert head.target == head.path + head.query
    assert head.path[:1] == b"/" or (head.method, head.target) == (b"OPTIONS", b"*")
    assert head.query[:1] in (b"", b"?")
    assert b"?" not in head.path
    assert len(head.values(b"host")) <= 1
    assert head.minor == 0 or head.values(b"host") == (head.value(b"host"),)
    assert set(head.host) | set(head.authority) <= _VISIBLE
    assert head.host == head.host.lower()
    try:
        framing = request_framing(head, 0)
    except Refusal:
        return
    message = oracle.request(given.message[: len(given.message) - len(rest)])
    assert message is not None, "h11 waits for more of this head"
    assert message.head.method == head.method
    assert message.head.http_version == b"1.%d" % head.minor
    sent = message.head.target
    assert sent == head.target or _shortened(sent, head), (sent, head.target)
    assert message.fields == oracle.as_h11(head.fields)
    expected = "chunked" if isinstance(framing, Chunked) else framing.count if isinstance(framing, Length) else None
    assert message.framing == expected, (message.framing, framing)


def _shortened(sent: bytes, head: RequestHead) -> bool:
    """Whether the target is what is left of this absolute-form (RFC 9112 3.2.1, 3.2.4)."""
    scheme, _, after = sent.partition(b"://")
    authority = after.split(b"/", 1)[0].split(b"?", 1)[0]
    rest = after[len(authority) :]
    if scheme.lower() not in (b"http", b"https", b"ws", b"wss"):
        return False
    if not rest:
        return head.target == (b"*" if head.method == b"OPTIONS" else b"/")
    return head.target in (rest, b"/" + rest if rest[:1] == b"?" else rest)


def _check_response(given: Input, limits: HeadLimits) -> None:
    verdicts = [fed(ResponseReader(limits), pieces) for pieces in given.pieces()]
    check_same(verdicts)
    head, rest = verdicts[0]
    check_reason(head, _UPSTREAMS)
    if not isinstance(head, ResponseHead):
        return
    assert given.message.endswith(rest)
    _check_bounds(len(given.message) - len(rest), head.fields, limits, 0)
    assert 100 <= head.status <= 999
    assert set(head.phrase) <= _TEXT
    try:
        response_framing(b"GET", head)
    except Refusal:
        return
    message = oracle.response(b"GET", given.message[: len(given.message) - len(rest)])
    assert message is not None, "h11 waits for more of this head"
    assert (message.head.status_code, message.head.http_version) == (head.status, b"1.%d" % head.minor)
    assert message.head.reason == head.phrase
    assert message.fields == oracle.as_h11(head.fields)


def _check_bounds(size: int, fields: tuple[tuple[bytes, bytes], ...], limits: HeadLimits, before: int) -> None:
    """Within the limits; `before` is the empty line that a request may have before it and that does not count."""
    assert size <= limits.max_bytes + before
    assert len(fields) <= limits.max_fields
    for name, value in fields:
        assert name, "a field without a name"
        assert set(name) <= _TOKEN
        assert set(value) <= _TEXT
        assert value == value.strip(b" \t")
