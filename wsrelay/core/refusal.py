"""The two ways in which a connection's life is cut short on purpose: a `Refusal`, or a leg that is `Lost`.

Anything else that is raised is a bug (DESIGN 'Errors'). Knows nothing of sockets.
"""

from http import HTTPStatus

from wsrelay.core.outcomes import Loss, Side
from wsrelay.core.reasons import Reason

Fields = tuple[tuple[bytes, bytes], ...]

# Retry-After for 503, in seconds: long enough to leave the burst, short enough that a person does not notice.
_RETRY_AFTER = b"5"


class Refusal(Exception):
    """An answer of our own, with a reason from the closed list.

    Attributes:
        reason: Why; it implies the status.
        detail: One sentence for a person: what was expected and what was seen. Never raw bytes of the client.
        fields: Extra response fields, such as `Sec-WebSocket-Version` with 426 (RFC 6455 4.4).
    """

    def __init__(self, reason: Reason, detail: str, fields: Fields = ()) -> None:
        super().__init__(f"{reason.word}: {detail}")
        self.reason = reason
        self.detail = detail
        self.fields = fields

    def response(self, session_id: str, *, with_body: bool) -> bytes:
        """The whole answer; the connection is to be closed after it.

        Args:
            session_id: Named in the body, so that a user's report finds the line in the log.
            with_body: False for an answer to HEAD, which has a length but no body (RFC 9110 9.3.2).
        """
        status = HTTPStatus(self.reason.status)
        text = f"{status.value} {status.phrase}\n{self.reason.word}: {self.detail}\nsession {session_id}\n".encode()
        fields = [
            (b"Content-Type", b"text/plain; charset=utf-8"),
            (b"Content-Length", b"%d" % len(text)),
            (b"Cache-Control", b"no-store"),
            (b"X-Wsrelay-Reason", self.reason.word.encode()),
            *self.fields,
            (b"Connection", _connection_options(self.fields)),
        ]
        if status == HTTPStatus.SERVICE_UNAVAILABLE:
            fields.append((b"Retry-After", _RETRY_AFTER))
        head = b"HTTP/1.1 %d %s\r\n" % (status.value, status.phrase.encode())
        head += b"".join(b"%s: %s\r\n" % field for field in fields) + b"\r\n"
        return head + (text if with_body else b"")


class Lost(Exception):
    """A leg went away, or ended where more bytes were owed.

    Attributes:
        side: Whose connection it was.
        loss: How, or None when it ended in order but too early.
    """

    def __init__(self, side: Side, loss: Loss | None) -> None:
        super().__init__(f"{side.value} {loss.value if loss else 'ended early'}")
        self.side = side
        self.loss = loss


def _connection_options(fields: Fields) -> bytes:
    # RFC 9110 7.8: whoever sends Upgrade also names it in Connection; 426 must carry Upgrade (15.5.22).
    return b"close, upgrade" if any(name == b"Upgrade" for name, _ in fields) else b"close"
