"""What of a session its client got, against what the upstreams had answered. Part of the target `exchange`."""

import itertools

import attrs
import h11

from fuzz import oracle
from fuzz.crossing import passing_trailers
from fuzz.expected import All, Asked
from fuzz.inputs import fed, tried
from fuzz.played import HEADS, Played
from fuzz.wires import Wire
from wsrelay.core import body
from wsrelay.core.body import Framing, response_framing
from wsrelay.core.head import ResponseHead, ResponseReader
from wsrelay.core.outcomes import Side
from wsrelay.core.refusal import Fields, Refusal

# RFC 9110 15.2 sets no bound; DESIGN 7 does.
_MOST_INTERIM = 16
_VISIBLE = frozenset(range(0x21, 0x7F))
_REASON = b"x-wsrelay-reason"


@attrs.frozen
class Reply:
    """A final answer that an upstream has given."""

    status: int
    phrase: bytes
    content: bytes
    trailers: Fields
    """Those that may pass."""
    complete: bool


def replies_of(wire: Wire) -> list[Reply]:
    """What an upstream has answered on one connection, up to the first answer that is wrong, or that nobody asked for.

    What follows an answer before the next request is there is none: taken for one it would be an answer to a stranger.
    """
    found: list[Reply] = []
    asked_for, data = bytes(wire.got), bytes(wire.sent)
    while (request := oracle.request(asked_for)) is not None:
        if found and _heard(wire, len(wire.sent) - len(data)) <= len(wire.got) - len(asked_for):
            break
        head, data = fed(ResponseReader(HEADS), [data])
        if not isinstance(head, ResponseHead) or head.status == 101:
            break
        if head.status < 200:
            continue
        framing = tried(lambda: response_framing(request.head.method, head))  # noqa: B023  # called before it goes on
        if isinstance(framing, Refusal):
            break
        reply, data = _content(head, framing, data, ended=wire.finished)
        found.append(reply)
        if not (reply.complete and request.complete):
            break
        asked_for = request.rest
    return found


def _heard(wire: Wire, at: int) -> int:
    """How much the upstream had received when it sent the byte at this place."""
    return max((heard for begun, heard in wire.heard if begun <= at), default=0)


def _content(head: ResponseHead, framing: Framing, data: bytes, *, ended: bool) -> tuple[Reply, bytes]:
    """An answer's content as far as it is right, and what follows a complete one."""
    reader, content, at = body.reader(framing, Side.UPSTREAM), b"", 0
    while at < len(data) and not reader.done:
        piece = tried(lambda: reader.feed(data[at : at + 1]))  # noqa: B023  # called before the loop goes on
        if isinstance(piece, Refusal):
            return Reply(head.status, head.phrase, content, (), complete=False), b""
        content += piece
        at += 1
    trailers = passing_trailers(reader.trailers, head.fields)
    complete = reader.done or (ended and reader.end())
    return Reply(head.status, head.phrase, content, trailers, complete), data[at:]


def check_client(played: Played, found: All, replies: list[Reply]) -> None:
    """Whole answers, one for each request in its order, and one refusal at most, which is the last."""
    client, data = played.client, bytes(played.client.got)
    orderly = client.ended and not client.aborted
    for number in itertools.count():
        if not data:
            break
        interim, final = _final(found.method(number), data, ended=orderly)
        assert not interim or (number < len(found.requests) and found.requests[number].head.minor), "1xx to HTTP/1.0"
        assert interim <= _MOST_INTERIM
        if final is None:
            assert not orderly, "half a head, and then an orderly end"
            break
        if final.head.status_code == 101:
            assert played.told.opened
            assert final.rest == _behind_101(bytes(played.dialled.wires[-1].sent))[: len(final.rest)]
            break
        assert number <= len(found.requests), "more answers than requests"
        assert final.complete or not orderly, "half an answer, and then an orderly end"
        refused = _REASON in dict(final.head.headers)
        assert refused or number < len(found.requests), "an answer to no request"
        # An upstream that has answered before it took the whole request is right, and there is no telling which it was.
        sure = not any(wire.narrow for wire in played.dialled.wires)
        if sure and not refused and found.requests[number].target is not None:
            replies = _check_reply(final, replies)
        if not refused and found.requests[number].target is None:
            _check_own(final, found.requests[number])
        if refused and final.complete:
            assert final.rest == b"", "bytes behind a refusal"
        if not final.complete:
            break
        data = final.rest


def _check_own(final: oracle.Message, one: Asked) -> None:
    """An answer of the configuration has the configuration's text, and nothing of the client's outside its place."""
    location = dict(final.head.headers).get(b"location")
    assert (final.head.status_code, location is not None) in ((200, False), (308, True))
    if location is not None:
        assert location.startswith(b"https://")
        assert set(location) <= _VISIBLE
        # A target that is no path has no place in a URL.
        assert location.endswith(one.head.target if one.head.target[:1] == b"/" else b"/")
    elif final.complete and one.head.method not in (b"HEAD", b"OPTIONS"):
        assert final.content == b"hello\n"


def _check_reply(final: oracle.Message, replies: list[Reply]) -> list[Reply]:
    """An answer is that of an upstream, with all its content if it ends in order; what is left are later ones."""
    for number, reply in enumerate(replies):
        same = (reply.status, reply.phrase) == (final.head.status_code, final.head.reason)
        whole = reply.complete and reply.content == final.content
        if same and (whole or not final.complete) and reply.content.startswith(final.content):
            # HTTP/1.0 has no place for them.
            assert final.trailers in ((), reply.trailers)
            return replies[number + 1 :]
    raise AssertionError(f"no upstream has given {final}")


def _final(method: bytes, data: bytes, *, ended: bool) -> tuple[int, oracle.Message | None]:
    """How many interim answers there are, and the one behind them that is none; a 101 counts as final."""
    for interim in itertools.count():
        message = oracle.response(method, data, ended=ended)
        if message is None or not isinstance(message.head, h11.InformationalResponse):
            if message is not None and (_REASON, b"head-timeout") in message.head.headers:
                # The relay has not seen the whole head, and so not its method.
                message = oracle.response(b"GET", data, ended=ended)
            return interim, message
        if message.head.status_code == 101:
            return interim, message
        data = message.rest
    raise AssertionError("no end")


def _behind_101(sent: bytes) -> bytes:
    while True:
        head, sent = fed(ResponseReader(HEADS), [sent])
        assert isinstance(head, ResponseHead)
        if head.status == 101:
            return sent
