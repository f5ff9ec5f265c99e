"""How a request path may be read by whoever gets it, so that no reading leads past a route. Knows nothing of routes.

Upstreams differ: one decodes `%2F`, one merges slashes, one cuts `;x=1` off each segment, one resolves `..` late. A
proxy that matches one reading and forwards to another reading is a way around its own rules (CVE-2021-29492,
CVE-2025-66490, CVE-2026-27587, CVE-2026-127060). So: what no honest client sends is refused; what some do send is
read in every way, and routing refuses it only if that would change the route. Bytes are forwarded as they came.
"""

import re

import attrs

from wsrelay.core.reasons import Reason
from wsrelay.core.refusal import Refusal

# Anything that needs a second look; a path without it is its own only reading.
_SUSPECT = re.compile(rb"[%\\;]|//|/\.")
_ESCAPE = re.compile(rb"%(?:([0-9A-Fa-f]{2}))?")
_DOT_SEGMENT = re.compile(rb"/\.\.?(?:/|$)")
_PARAMETERS = re.compile(rb";[^/]*")
_SLASHES = re.compile(rb"//+")
_OVERLONG = re.compile(rb"(?:[\xC0\xC1]|\xE0[\x80\x81]|\xF0\x80[\x80\x81])[\x80-\xBF]")
_LINE_ENDS = re.compile(rb"%0[9AD]")
_CONTROL = re.compile(rb"%[01][0-9A-F]")
_AFTER_PATH = re.compile(rb"[?#].*", re.DOTALL)
_NETWORK = re.compile(rb"\A//+[^/]*")

# A file name of 255 bytes is 765 in escapes. Nobody else is served while a path is read in every way.
_MOST_SUSPECT = 4 * 1024

# An honest path has a few. 4 KiB in 32 ways are 3 ms.
_MOST_READINGS = 32

# What stays escaped in the compared text. Slashes, or they would become separators. The percent sign, or a second
# decoding would be hidden. Controls: a pattern's `$` matches before a newline, so `/admin%0A` would pass for /admin.
_KEPT = frozenset((*range(0x20), 0x7F, *b"/\\%"))


@attrs.frozen
class Path:
    """A request path, ready to be compared with routes."""

    text: bytes
    """Escapes decoded once, except for slash, backslash, percent and control characters (those in upper case)."""
    others: tuple[bytes, ...] = ()
    """What else an upstream may read in it."""


def read(path: bytes) -> Path:
    """Read a request path, given as it was sent and without its query.

    Raises:
        Refusal: BAD_TARGET for a dot segment, however it is spelled, an escaped NUL, a backslash, a `%` without
            its two digits, or one that is too long, or can be read in too many ways.
    """
    if not _SUSPECT.search(path):
        return Path(path)
    if len(path) > _MOST_SUSPECT:
        raise Refusal(Reason.BAD_TARGET, f"the path has escapes, // or ; and more than {_MOST_SUSPECT} bytes")
    text = comparable(path)
    # RFC 3986 2.1, and IIS reads %u002e as a dot. NUL ends the path in C. A backslash is a slash to some; RFC 3986
    # knows it in escaped form only.
    if any(not escape for escape in _ESCAPE.findall(path)):
        raise Refusal(Reason.BAD_TARGET, "the path has a % that two hexadecimal digits do not follow (RFC 3986 2.1)")
    if b"\\" in path:
        raise Refusal(Reason.BAD_TARGET, "the path has a backslash in it")
    others = _others(text)
    if any(b"%00" in reading for reading in (text, *others)):
        raise Refusal(Reason.BAD_TARGET, "the path has a NUL in it")
    # RFC 3986 6.2.2.3: clients remove these before they send, so one that arrives is meant for somebody's file system.
    if any(_DOT_SEGMENT.search(reading) for reading in (text, *others)):
        raise Refusal(Reason.BAD_TARGET, "the path has a . or .. segment, which clients resolve before they send it")
    return Path(text, others)


def comparable(path: bytes) -> bytes:
    """The form in which paths are compared, for requests and for the configuration alike; bytes above 0x7F raw.

    Decodes more than the unreserved characters of RFC 3986 6.2.2.2: upstreams route on wholly decoded paths, and
    `/a%40b` must not be a way around a route for `/a@b`.
    """
    return _ESCAPE.sub(_decode, path) if b"%" in path else path


def _decode(escape: re.Match[bytes]) -> bytes:
    digits = escape[1]
    if digits is None:
        return escape[0]
    return _shown(int(digits, 16))


def _shown(byte: int) -> bytes:
    return b"%%%02X" % byte if byte in _KEPT else bytes((byte,))


def _others(text: bytes) -> tuple[bytes, ...]:
    """What any combination of `_STEPS` makes of it. Raises a Refusal where that is too much."""
    readings = {text: None}
    for step in _STEPS:
        readings |= dict.fromkeys([step(reading) for reading in readings])
        if len(readings) > _MOST_READINGS:
            raise Refusal(Reason.BAD_TARGET, f"the path can be read in more than {_MOST_READINGS} ways")
    del readings[text]
    return tuple(readings)


def _decoded_twice(text: bytes) -> bytes:
    return comparable(text.replace(b"%25", b"%")) if b"%25" in text else text


def _overlong_decoded(text: bytes) -> bytes:
    """RFC 3629 10: lenient decoders make ASCII of two, three or four bytes (CVE-2000-0884, CVE-2008-2938)."""
    return _OVERLONG.sub(lambda long: _shown(((long[0][-2] & 1) << 6) | (long[0][-1] & 0x3F)), text)


def _line_ends_removed(text: bytes) -> bytes:
    """URL Standard 4.4: with tabs. And a pattern's `$` matches before a newline."""
    return _LINE_ENDS.sub(b"", text)


def _end_trimmed(text: bytes) -> bytes:
    """URL Standard 4.4: spaces and controls at the end go before anything is looked at."""
    end = len(text)
    # Backwards: a pattern that ends in `\Z` begins anew at each space, and 1,300 of them took it 30 ms.
    while True:
        if text[end - 1 : end] == b" ":
            end -= 1
        elif _CONTROL.fullmatch(text, end - 3, end):
            end -= 3
        else:
            return text[:end]


def _slashes_decoded(text: bytes) -> bytes:
    return text.replace(b"%2F", b"/").replace(b"%5C", b"/")


def _cut(text: bytes) -> bytes:
    """Decoded text that is made a URL again ends at `?` and `#` (CVE-2024-38474)."""
    return _AFTER_PATH.sub(b"", text)


def _parameters_cut(text: bytes) -> bytes:
    return _PARAMETERS.sub(b"", text)


def _host_cut(text: bytes) -> bytes:
    """RFC 3986 4.2: who resolves it as a reference takes `//x/admin` for a host and a path."""
    return _NETWORK.sub(b"", text) or b"/"


def _slashes_merged(text: bytes) -> bytes:
    return _SLASHES.sub(b"/", text)


_STEPS = (
    _decoded_twice,
    _overlong_decoded,
    _line_ends_removed,
    _end_trimmed,
    _slashes_decoded,
    _cut,
    _parameters_cut,
    _host_cut,
    _slashes_merged,
)
"""What upstreams do to a path, in the order in which they do it; each does some."""
