"""The answers that the configuration itself gives: redirects and fixed texts. Knows nothing of refusals' wording.

No decoded text of the client is ever put into a field, so that no `%0d%0a` becomes a line of its own.
"""

import functools
import re
from http import HTTPStatus
from urllib.parse import quote

from wsrelay.config.settings import RedirectTo, Respond
from wsrelay.core.head import RequestHead
from wsrelay.core.reasons import Reason
from wsrelay.core.refusal import Fields, Refusal
from wsrelay.core.upgrade import Plain, Upgrade

_PLACEHOLDER = re.compile(rb"\{(uri|host)\}")
# Every visible ASCII character: what is left to quote are controls, spaces and what lies beyond ASCII (RFC 3986 2.1).
_VISIBLE = "".join(map(chr, range(0x21, 0x7F)))
_TEXT: Fields = ((b"Content-Type", b"text/plain; charset=utf-8"),)
# RFC 9110 15.5.22 demands Upgrade with 426; RFC 2817 gives TLS its name there.
_TLS_OFFER: Fields = ((b"Upgrade", b"TLS/1.2, HTTP/1.1"),)


def answer(action: RedirectTo | Respond, head: RequestHead, *, close: bool) -> bytes:
    """The complete response of a route that answers by itself; without the body for HEAD (RFC 9110 9.3.2).

    Args:
        action: The route's.
        head: The request's.
        close: Whether the connection ends after this answer.

    Raises:
        Refusal: BAD_HOST for a redirect that repeats the host to a client which sent none (HTTP/1.0).
    """
    if isinstance(action, Respond):
        return _response(head, action.status, _TEXT, action.body, close=close)
    return _redirect(head, action.status, _location(_template(action.to), head), close=close)


def options(head: RequestHead, *, close: bool) -> bytes:
    """The answer to an OPTIONS that may go no further (RFC 9110 7.6.2): we are here, and that is all."""
    return _response(head, 200, (), b"", close=close)


def https_redirect(head: RequestHead, kind: Plain | Upgrade, *, close: bool) -> bytes:
    """The 308 to the same URL under https, default port; 308 keeps method and body (RFC 9110 15.4.9).

    Raises:
        Refusal: TLS_REQUIRED for an upgrade, for browsers follow no redirect when they open a WebSocket (RFC 6455 4.1
            leaves it to them); BAD_HOST where the client sent no Host.
    """
    if isinstance(kind, Upgrade):
        raise Refusal(Reason.TLS_REQUIRED, "WebSockets are served over TLS only here: use wss://", _TLS_OFFER)
    return _redirect(head, 308, _location(b"https://{host}{uri}", head), close=close)


def with_hsts(answer: bytes, value: bytes) -> bytes:
    """An answer of our own that tells the client to come back by https only (RFC 6797 6.1); `b""` changes nothing."""
    if not value:
        return answer
    status_line, _, rest = answer.partition(b"\r\n")
    return b"%b\r\nStrict-Transport-Security: %b\r\n%b" % (status_line, value, rest)


@functools.lru_cache(maxsize=1024)  # One entry per redirect of the configuration.
def _template(to: str) -> bytes:
    """The configured URL with everything escaped that a field value or a URL cannot hold; placeholders survive."""
    return quote(to, safe=_VISIBLE).encode("ascii")


def _location(template: bytes, head: RequestHead) -> bytes:
    if b"{host}" in template and not head.host:
        raise Refusal(Reason.BAD_HOST, "the answer is a redirect to the same host, and the request names none")
    # The target of OPTIONS * is no path; appended to a host it would make another host name.
    uri = head.target if head.target.startswith(b"/") else b"/"
    values = {b"uri": uri, b"host": head.host}
    # One pass: braces that the client sent are not placeholders. The parser has let no control character in.
    return _PLACEHOLDER.sub(lambda match: values[match[1]], template)


def _redirect(head: RequestHead, status: int, location: bytes, *, close: bool) -> bytes:
    # The body does not repeat the URL: nothing of the client's is echoed, and programs read Location.
    body = b"%d %b\n" % (status, _phrase(status))
    return _response(head, status, (*_TEXT, (b"Location", location)), body, close=close)


def _response(head: RequestHead, status: int, fields: Fields, body: bytes, *, close: bool) -> bytes:
    # RFC 9110 15.3.5, 15.4.5: these two have no body; a 204 has no length either (8.6).
    if status in (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED):
        fields, body = (), b""
    else:
        fields = (*fields, (b"Content-Length", b"%d" % len(body)))
    if close:
        fields = (*fields, (b"Connection", b"close"))
    elif not head.minor:
        fields = (*fields, (b"Connection", b"keep-alive"))
    written = b"HTTP/1.1 %d %b\r\n" % (status, _phrase(status))
    written += b"".join(b"%b: %b\r\n" % field for field in fields) + b"\r\n"
    return written if head.method == b"HEAD" else written + body


def _phrase(status: int) -> bytes:
    # RFC 9112 4: a client should ignore it, and it may be empty; an operator may choose a number that has no name.
    try:
        return HTTPStatus(status).phrase.encode("ascii")
    except ValueError:
        return b""
