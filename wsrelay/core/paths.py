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
        Refusal: BAD_TARGET for a dot segment, however it is spelled, an escaped NUL, a backslash, or a `%` without
            its two digits.
    """
    if not _SUSPECT.search(path):
        return Path(path)
    text = comparable(path)
    # RFC 3986 2.1, and IIS reads %u002e as a dot. NUL ends the path in C. A backslash is a slash to some; RFC 3986
    # knows it in escaped form only.
    if any(not escape for escape in _ESCAPE.findall(path)):
        raise Refusal(Reason.BAD_TARGET, "the path has a % that two hexadecimal digits do not follow (RFC 3986 2.1)")
    if b"%00" in text:
        raise Refusal(Reason.BAD_TARGET, "the path has a NUL in it")
    if b"\\" in path:
        raise Refusal(Reason.BAD_TARGET, "the path has a backslash in it")
    others = _others(text)
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
    byte = int(digits, 16)
    return b"%%%02X" % byte if byte in _KEPT else bytes((byte,))


def _others(text: bytes) -> tuple[bytes, ...]:
    """Every combination of: decoded twice, slashes decoded, parameters cut (RFC 3986 3.3), slashes merged."""
    readings = [text]
    if b"%25" in text:
        readings.append(comparable(text.replace(b"%25", b"%")))
    readings += [reading.replace(b"%2F", b"/").replace(b"%5C", b"/") for reading in readings]
    readings += [_PARAMETERS.sub(b"", reading) for reading in readings]
    readings += [_SLASHES.sub(b"/", reading) for reading in readings]
    return tuple(reading for reading in dict.fromkeys(readings) if reading != text)
