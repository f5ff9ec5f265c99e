"""What may go upstream of the bytes that a client sends, read without any connection: the model of `exchange`."""

import attrs

from fuzz.inputs import fed, tried
from fuzz.played import HEADS, LIMITS, ROUTES
from wsrelay.config.settings import ToUpstream
from wsrelay.core import admission, body, hopbyhop, upgrade
from wsrelay.core.body import Length, NoBody
from wsrelay.core.forwarded import ClientFacts, real_ip
from wsrelay.core.head import RequestHead, RequestReader
from wsrelay.core.outcomes import Side
from wsrelay.core.refusal import Fields, Refusal


@attrs.frozen
class Asked:
    """One request of a client that is no refused one."""

    head: RequestHead
    target: bytes | None
    """What the upstream gets for a target; None where the relay answers by itself."""
    content: bytes
    """Of its body, as far as it came and was right."""
    trailers: Fields
    complete: bool
    switches: bool
    rest: bytes
    """What the client sent behind it."""

    @property
    def may_repeat(self) -> bool:
        """RFC 9110 9.2.2."""
        return self.head.method in (b"GET", b"HEAD", b"OPTIONS", b"PUT", b"DELETE") and not self.content


@attrs.frozen
class All:
    """What a client has asked for."""

    requests: tuple[Asked, ...]
    """Up to the one that is refused, or after which nothing is read."""
    refused: bytes
    """The method of the one that is refused; GET where it has none."""

    def method(self, number: int) -> bytes:
        """Of the request with this number."""
        return self.requests[number].head.method if number < len(self.requests) else self.refused


def asked(sent: bytes, facts: ClientFacts, *, to_https: bool) -> All:
    """The requests in these bytes."""
    found: list[Asked] = []
    while True:
        head, sent = fed(RequestReader(HEADS), [sent])
        if not isinstance(head, RequestHead):
            return All(tuple(found), b"GET")
        one = tried(lambda: _one(head, sent, facts, to_https))  # noqa: B023  # called before the loop goes on
        if isinstance(one, Refusal):
            return All(tuple(found), head.method)
        found.append(one)
        options = head.tokens(b"connection")
        if one.switches or not one.complete or b"close" in options or not (head.minor or b"keep-alive" in options):
            return All(tuple(found), b"GET")
        sent = one.rest


def _one(head: RequestHead, sent: bytes, facts: ClientFacts, to_https: bool) -> Asked:
    framing = body.request_framing(head, LIMITS.body_bytes)
    kind = upgrade.classify(head)
    hopbyhop.check_expectation(head)
    switches = isinstance(kind, upgrade.Upgrade)
    target = None
    if not to_https:
        match = ROUTES.resolve(head)
        admission.admit(match.route, kind, head, real_ip(head, facts))
        goes_up = isinstance(match.route.action, ToUpstream) and hopbyhop.hops_left(head) != 0
        target = match.target if goes_up else None
    if target is None:
        # A body that would have to be skipped ends the connection, and so does what may be meant for a tunnel.
        return Asked(head, None, b"", (), framing in (NoBody(), Length(0)) and not switches, False, sent)
    reader = body.reader(NoBody() if switches else framing, Side.CLIENT, LIMITS.body_bytes)
    content = b""
    for at in range(len(sent)):
        if reader.done:
            return Asked(head, target, content, reader.trailers, True, switches, sent[at:])
        piece = tried(lambda: reader.feed(sent[at : at + 1]))  # noqa: B023  # called before the loop goes on
        if isinstance(piece, Refusal):
            return Asked(head, target, content, (), False, False, b"")
        content += piece
    return Asked(head, target, content, reader.trailers, reader.done, switches, b"")
